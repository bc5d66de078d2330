"""``bridge ide``: the files with which an IDE starts a program in the cluster's place, under its debugger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.options import Context, Exposes, Format, Kubeconfig, Namespace, Output, Swap, Verbose

if TYPE_CHECKING:
    from collections.abc import Callable

IDES = {"vscode": "VS Code", "pycharm": "PyCharm"}

app = typer.Typer(
    no_args_is_help=True, help="Write into this folder what an IDE needs to debug a program in the cluster's place."
)


def _writing(ide: str) -> Callable[..., None]:
    def write(
        program: Annotated[
            list[str] | None,
            typer.Argument(metavar="[PROGRAM] [ARG]...", help="What to start (in VS Code else the file that is open)."),
        ] = None,
        swap: Swap = None,
        expose: Exposes = None,
        module: Annotated[
            str | None,
            typer.Option("--module", "-m", metavar="NAME", help="Start this module with the ARGs, as python -m does."),
        ] = None,
        name: Annotated[
            str | None, typer.Option("--name", metavar="NAME", help="What the IDE shows (bridge: and the target).")
        ] = None,
        context: Context = None,
        namespace: Namespace = None,
        kubeconfig: Kubeconfig = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
        output: Output = Format.TEXT,
        verbose: Verbose = False,
    ) -> None:
        from bridge.cli.console import Console
        from bridge.cli.top import finish, show

        def act() -> int:
            from pathlib import Path

            from bridge.cli import results
            from bridge.laptop.command import working_directory
            from bridge.plan.ide import Start, run_options
            from bridge.plan.ports import Expose
            from bridge.plan.target import TargetSpec
            from bridge.session.ide import Ide, prepare

            target = None if swap is None else TargetSpec.parse(swap)
            project = Path(working_directory())
            start = Start.of(
                program or [],
                module=module or "",
                name=name,
                target=target,
                options=run_options(
                    target,
                    [Expose.parse(each) for each in expose or ()],
                    context=context,
                    namespace=namespace,
                    kubeconfig=kubeconfig and str(Path(kubeconfig).absolute()),
                ),
            )
            done = prepare(Ide(ide), start, project, dry_run=dry_run)
            show(results.as_json(done=done) if output is Format.JSON else "\n".join(done))
            return 0

        finish(act, Console(), verbose=verbose)

    return write


for _name, _title in IDES.items():
    app.command(
        _name,
        help=f"Write what {_title} needs to debug a program in the cluster's place.",
        context_settings={"allow_interspersed_args": False},
        epilog=f"Example: bridge ide {_name} --swap tasks app.py",
    )(_writing(_name))

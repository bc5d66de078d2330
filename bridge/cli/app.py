"""The commands and their flags."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # typer reads the annotations when the program runs
from typing import Annotated

import typer

from bridge import __version__
from bridge.cli.ide import app as ide
from bridge.cli.manage import add_to
from bridge.cli.options import Context, Kubeconfig, Namespace, Timeout, Verbose, cluster_choice

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Swap a Kubernetes workload for a process on this laptop: its traffic, environment and DNS, without root.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bridge {__version__}")
        raise typer.Exit


@app.callback()
def bridge(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version and end.")
    ] = False,
) -> None:
    """Swap a Kubernetes workload for a process on this laptop."""


@app.command(
    context_settings={"allow_interspersed_args": False},
    epilog="Example: bridge run --swap tasks -- python app.py",
)
def run(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND [ARG]...", help="What to run on this laptop.")],
    swap: Annotated[
        str | None,
        typer.Option(
            "--swap",
            "-s",
            metavar="[KIND/]NAME[:CONTAINER]",
            help="The workload whose place the command takes; without it the command just joins the cluster.",
        ),
    ] = None,
    expose: Annotated[
        list[str] | None,
        typer.Option("--expose", "-e", metavar="[LAPTOP:]POD", help="A port of the pod, to a port on the laptop."),
    ] = None,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    env_file: Annotated[
        Path | None,
        typer.Option("--env-file", metavar="FILE", help="Write the pod's environment there (dotenv)."),
    ] = None,
    env_json: Annotated[
        Path | None,
        typer.Option("--env-json", metavar="FILE", help="Write the pod's environment there (JSON)."),
    ] = None,
    image: Annotated[str | None, typer.Option("--image", metavar="REF", help="The proxy image.")] = None,
    run_init_containers: Annotated[
        bool,
        typer.Option("--run-init-containers", help="Run the target's init containers again in the proxy pod."),
    ] = False,
    grace: Annotated[
        float | None,
        typer.Option("--grace", metavar="S", min=3, help="Put the original back S s after this laptop is gone (30)."),
    ] = None,
    hold: Annotated[
        float | None,
        typer.Option("--hold", metavar="S", min=0, help="Let connections wait S s for a process that restarts (10)."),
    ] = None,
    keep_original: Annotated[
        bool, typer.Option("--keep-original", help="Swap the traffic only; the original keeps running.")
    ] = False,
    fallback: Annotated[
        bool,
        typer.Option("--fallback", help="Keep one replica, which answers what the process does not within --hold."),
    ] = False,
    takeover: Annotated[
        bool, typer.Option("--takeover", help="Take a target whose session is dead, or whose holder allows it.")
    ] = False,
    allow_takeover: Annotated[
        bool, typer.Option("--allow-takeover", help="Let others take the target from this session.")
    ] = False,
    timeout: Timeout = None,
    verbose: Verbose = False,
) -> None:
    """Run a command as if it ran in the cluster, with --swap in the place of a workload."""
    from bridge.cli.console import Console
    from bridge.cli.top import finish

    console = Console()

    def act() -> int:
        from bridge.config import Config
        from bridge.plan.ports import Expose
        from bridge.plan.target import TargetSpec
        from bridge.session.request import RunRequest
        from bridge.session.run import run as run_session

        config = Config.load()
        request = RunRequest(
            command=tuple(command),
            where=cluster_choice(kubeconfig, context, namespace),
            target=None if swap is None else TargetSpec.parse(swap),
            exposes=tuple(Expose.parse(each) for each in expose or ()),
            env_file=env_file,
            env_json=env_json,
            image=image or config.image,
            timeout=timeout or config.timeout,
            run_init_containers=run_init_containers,
            grace=config.grace if grace is None else grace,
            hold=config.hold if hold is None else hold,
            keep_original=keep_original,
            fallback=fallback,
            takeover=takeover,
            allow_takeover=allow_takeover,
        )
        return run_session(request, console)

    finish(act, console, verbose=verbose)


add_to(app)
app.add_typer(ide, name="ide")

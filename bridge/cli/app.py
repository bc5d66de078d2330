"""The commands and their flags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bridge import __version__
from bridge.cli.ide import app as ide
from bridge.cli.manage import add_to
from bridge.cli.options import Format, SessionOptions, with_session_options

if TYPE_CHECKING:
    from collections.abc import Sequence

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
@with_session_options
def run(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND [ARG]...", help="What to run on this laptop.")],
    options: SessionOptions,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start it again whenever a source file below this folder changes.")
    ] = False,
    reload_on: Annotated[
        list[str] | None,
        typer.Option("--reload-on", metavar="GLOB", help="The same for these files, instead of the usual ones."),
    ] = None,
    linger: Annotated[
        str | None,
        typer.Option("--linger", metavar="TIME", help="Keep the proxy pod for 10m, say: the command starts at once."),
    ] = None,
) -> None:
    """Run a command as if it ran in the cluster, with --swap in the place of a workload."""
    _session(command, options, reload=tuple(reload_on or ()) if reload or reload_on else None, linger=linger)


@app.command(epilog="Example: bridge up --swap tasks")
@with_session_options
def up(options: SessionOptions) -> None:
    """Take a workload's place without a command: what listens on this laptop's ports answers, from an IDE too."""
    _session((), options)


def _session(
    command: Sequence[str],
    options: SessionOptions,
    *,
    reload: tuple[str, ...] | None = None,
    linger: str | None = None,
) -> None:
    from bridge.cli.console import Console, JsonLines
    from bridge.cli.top import finish

    console = JsonLines() if options.output is Format.JSON else Console()

    def act() -> int:
        request = options.request(command, reload=reload, linger=linger)
        if request.linger:
            from bridge.session.front import run as run_session
        else:
            from bridge.session.run import run as run_session
        return run_session(request, console)

    finish(act, console, verbose=options.verbose)


add_to(app)
app.add_typer(ide, name="ide")

"""``bridge exec [SESSION] -- COMMAND``: what comes after ``--`` is the command's own, every word of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from bridge.cli.options import Verbose  # noqa: TC001  # typer reads the annotations when the program runs

_COMMAND = "bridge.command"


class WithCommand(TyperCommand):
    """A command line with another one after ``--``, which is found in the context as it is.

    The context's class is private to typer.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take off the other command."""
        dashes = args.index("--") if "--" in args else len(args)
        ctx.meta[_COMMAND] = tuple(args[dashes + 1 :])
        return super().parse_args(ctx, args[:dashes])

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Say that it is wanted."""
        return [*super().collect_usage_pieces(ctx), "--", "COMMAND [ARG]..."]


def exec_(
    context: typer.Context,
    session: Annotated[
        str | None,
        typer.Argument(metavar="[SESSION]", help="Its workload, or its id; not needed where there is only one."),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Run one more program in a session of this laptop: same network, names, files and environment."""
    from bridge.cli.console import Console
    from bridge.cli.top import finish

    command: tuple[str, ...] = context.meta[_COMMAND]
    if not command:
        raise typer.BadParameter("there is no command. Write: bridge exec [SESSION] -- COMMAND [ARG]...")

    def act() -> int:
        from bridge.session.enter import enter

        enter(session, command)

    finish(act, Console(), verbose=verbose)

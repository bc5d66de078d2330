"""The commands beside ``run``: enter a session, who holds what, how it is, end it, put it back, prepare a namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.enter import WithCommand, exec_
from bridge.cli.options import (
    Context,
    Format,
    Kubeconfig,
    Namespace,
    Output,
    Timeout,
    Verbose,
    cluster_choice,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("exec", cls=WithCommand, epilog="Example: bridge exec tasks -- bash")(exec_)
    app.command("list")(list_)
    app.command()(status)
    app.command()(leave)
    app.command()(restore)
    app.command()(install)


def list_(
    context: Context = None,
    namespace: Namespace = None,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")] = False,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.TEXT,
    verbose: Verbose = False,
) -> None:
    """List who has swapped what: everybody's sessions, from any machine."""

    def result() -> str:
        from bridge.cli import results
        from bridge.session.look import list_sessions

        found, now = list_sessions(cluster_choice(kubeconfig, context, namespace), everywhere=everywhere)
        if output is Format.JSON:
            return results.sessions_json(found)
        return results.sessions_text(found, now=now)

    _print(result, verbose=verbose)


def status(output: Output = Format.TEXT, verbose: Verbose = False) -> None:
    """Show how this laptop's sessions are: tunnel, traffic, protection."""

    def result() -> str:
        from bridge.cli import results
        from bridge.session.look import local_status

        sessions = local_status()
        return results.as_json(sessions=sessions) if output is Format.JSON else results.status_text(sessions)

    _print(result, verbose=verbose)


def leave(
    name: Annotated[str, typer.Argument(metavar="[KIND/]NAME", help="The workload, or the session's id.")],
    output: Output = Format.TEXT,
    timeout: Timeout = None,
    verbose: Verbose = False,
) -> None:
    """End a session of this laptop from another terminal, and wait until everything is back."""

    def result() -> str:
        from bridge.config import Config
        from bridge.session.look import leave as leave_session

        return _done([leave_session(name, timeout=timeout or Config.load().timeout)], output)

    _print(result, verbose=verbose)


def restore(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[KIND/]NAME", help="The workload (default: all that dead sessions left)."),
    ] = None,
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.TEXT,
    timeout: Timeout = None,
    verbose: Verbose = False,
) -> None:
    """Put back what a killed session left swapped; needs nothing from the machine that it ran on."""
    from bridge.cli.console import Console

    console = Console()

    def result() -> str:
        from bridge.config import Config
        from bridge.session.request import RestoreRequest
        from bridge.session.restore import restore as restore_sessions

        request = RestoreRequest(
            where=cluster_choice(kubeconfig, context, namespace), name=name, timeout=timeout or Config.load().timeout
        )
        return _done(restore_sessions(request, console), output)

    _print(result, verbose=verbose)


def install(
    context: Context = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    apply: Annotated[bool, typer.Option("--apply", help="Apply it, instead of writing the manifest.")] = False,
    output: Output = Format.TEXT,
    verbose: Verbose = False,
) -> None:
    """Prepare a namespace, as its administrator: the keeper restores also for who may not create roles."""

    def result() -> str:
        from bridge.plan.protection import render_manifest
        from bridge.session import install as installing

        where = cluster_choice(kubeconfig, context, namespace)
        if apply:
            return _done(installing.install(where), output)
        return render_manifest(installing.manifest(where)).rstrip("\n")

    _print(result, verbose=verbose)


def _done(lines: list[str], output: Format) -> str:
    from bridge.cli import results

    return results.as_json(done=lines) if output is Format.JSON else "\n".join(lines)


def _print(result: Callable[[], str], *, verbose: bool) -> None:
    from bridge.cli.console import Console
    from bridge.cli.top import finish, show

    def act() -> int:
        show(result())
        return 0

    finish(act, Console(), verbose=verbose)

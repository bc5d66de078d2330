"""What commands end with: their result, or an error, which becomes a sentence, its next step and an exit code."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

import typer

from bridge.errors import BridgeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.cli.console import Account


def finish(act: Callable[[], int], console: Account, *, verbose: bool) -> NoReturn:
    """Do what a command does, and end the program with its exit code."""
    from bridge.logs import configure
    from bridge.session.signals import SignalReceived

    configure(verbose=verbose)
    try:
        code = act()
    except BridgeError as error:
        console.fail(error.message, error.hint)
        code = error.exit_code
    except SignalReceived as received:
        code = 128 + received.number
    except Exception as error:  # the top: what was open has been put back on the way here
        if verbose:
            raise
        console.fail(
            f"something that bridge did not expect: {type(error).__name__}: {error}",
            "This is a bug. Run it again with --verbose and report what it prints.",
        )
        code = 1
    sys.exit(code)


def show(result: str) -> None:
    """Write what a command has done, or found, to stdout. BridgeError where that can't be written.

    That nobody reads it (`bridge restore | true`) is no failure: it was done.
    """
    try:
        typer.echo(result)
    except OSError as error:
        # Python writes what is left of it once more, at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise BridgeError(f"the result can't be written: {error.strerror}") from error

"""The one place where errors end: each becomes a sentence, its next step and an exit code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

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

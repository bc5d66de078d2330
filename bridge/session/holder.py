"""The process that holds a session which is kept after its command has ended (`bridge run --linger`).

It is forked by the bridge at the terminal, before that has any thread: so it costs no second start of Python. It is in
a session of its own, with nothing of the terminal: what there is to be said goes over the line (``facing``), and while
nobody is at its other end into ``kept.log``, beside the undo records.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bridge.errors import BridgeError
from bridge.paths import state_directory
from bridge.session.signals import SignalReceived
from bridge.session.store import TO_WRITE

if TYPE_CHECKING:
    from typing import NoReturn

    from bridge.session.facing import Facing
    from bridge.session.request import RunRequest


log = logging.getLogger(__name__)


def fork(request: RunRequest, *, key: str, at_terminal: bool) -> socket.socket:
    """Begin a session in a process of its own; return the line to it. For a process with one thread.

    Raises BridgeError where its log can't be written, OSError where there can be no more processes.
    """
    kept_log = _kept_log()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        _hold(request, theirs, kept_log, key=key, at_terminal=at_terminal)
    os.close(kept_log)
    theirs.close()
    return ours


def _kept_log() -> int:
    path = state_directory(os.environ) / "kept.log"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BridgeError(f"{path} can't be written: {error.strerror}", hint=TO_WRITE) from error


def _hold(request: RunRequest, line: socket.socket, kept_log: int, *, key: str, at_terminal: bool) -> NoReturn:
    """In the child."""
    code = 1
    try:
        os.setsid()
        _leave_terminal(kept_log, line.fileno())
        from bridge.session.aftermath import Log
        from bridge.session.facing import Facing

        facing = Facing(line, key=key, at_terminal=at_terminal, log=Log())
        over = _run(request, facing)
        facing.say(over)
        code = over["over"]
    except BaseException:  # the top of this process
        log.exception("the session could not be held")
    finally:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


def _leave_terminal(kept_log: int, line: int) -> None:
    """Let go of everything that the shell has given, which is for the command; but the line."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor, standard in ((null, 0), (kept_log, 1), (kept_log, 2)):
        os.dup2(descriptor, standard)
    os.closerange(3, line)
    os.closerange(line + 1, os.sysconf("SC_OPEN_MAX"))


def _run(request: RunRequest, facing: Facing) -> dict[str, Any]:
    """Have the session; return how it ended, as it is said to the bridge at the terminal."""
    from bridge.session.run import run

    try:
        return {"over": run(request, facing, facing)}
    except BridgeError as error:
        return {"over": error.exit_code, "message": error.message, "hint": error.hint}
    except SignalReceived as received:
        return {"over": 128 + received.number}
    except Exception as error:  # as ``cli.top``, whose words these are
        log.exception("the session has ended unexpectedly")
        told = f"something that bridge did not expect: {type(error).__name__}: {error}"
        return {"over": 1, "message": told, "hint": "This is a bug. Report it with the end of kept.log."}

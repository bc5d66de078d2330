"""What the main thread waits for while the process runs: one queue of what happened, whoever noticed it.

Other threads and signal handlers only put; the main thread only gets. ``SimpleQueue`` is reentrant: a handler may put
while the main thread is in the middle of a get.
"""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import signal


@dataclass(frozen=True)
class Exited:
    """The process ended: its exit code, or 128 + the signal that ended it (as a shell says it)."""

    code: int


@dataclass(frozen=True)
class Ready:
    """The proxy pod's readiness probe was answered with yes, through the whole path: the process accepts."""


@dataclass(frozen=True)
class SessionOver:
    """The session has ended in the cluster: it was restored, or its target was taken."""

    reason: str
    session: str = ""
    """Which one: a word about an earlier one may come late."""
    again: bool = True
    """Whether it is to be begun anew."""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """Another run of a session that is kept: the command, for how long it is kept after it, and whether it has a
    terminal, in whose foreground it is."""

    command: tuple[str, ...]
    linger: float
    at_terminal: bool


@dataclass(frozen=True)
class Unusable:
    """The session that is kept is of no use to another run."""

    reason: str


@dataclass(frozen=True)
class SignalCame:
    """bridge itself received a signal."""

    number: signal.Signals


Happened: TypeAlias = Exited | Ready | SessionOver | SignalCame | Begun | Unusable


class Inbox:
    """The queue, with a deadline on each wait."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Happened] = queue.SimpleQueue()

    def put(self, what: Happened) -> None:
        """Add what happened; from any thread, also from a signal handler."""
        self._queue.put(what)

    def get(self, deadline: float | None = None) -> Happened | None:
        """Wait for the next; None when ``deadline`` (time.monotonic) passes first."""
        try:
            return self._queue.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return None

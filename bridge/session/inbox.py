"""What the main thread waits for while the process runs: what happened, whoever noticed it, in order.

Other threads and signal handlers only put; the main thread only gets. It sleeps on a pipe, into which CPython itself
writes when a signal comes (``signal.set_wakeup_fd``). On a lock, as ``queue`` has it, a signal that comes after the
last bytecode and before the sleep would be forgotten until the next event: its handler can't run, and the sleep has not
begun that it would end. That is no rare moment, as a thread gives up the GIL there, which may mean to wait for another.
"""

from __future__ import annotations

import os
import select
import time
import weakref
from collections import deque
from contextlib import suppress
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
    """The queue, with a deadline on each wait. ``wake`` is the descriptor for ``signal.set_wakeup_fd``."""

    def __init__(self) -> None:
        self._happened: deque[Happened] = deque()
        self._woken, self.wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for each in (self._woken, self.wake):
            weakref.finalize(self, os.close, each)  # not sooner than that nobody can put any more

    def put(self, what: Happened) -> None:
        """Add what happened; from any thread, also from a signal handler."""
        self._happened.append(what)
        with suppress(BlockingIOError):  # full of wake-ups: one is enough
            os.write(self.wake, b"\0")

    def get(self, deadline: float | None = None) -> Happened | None:
        """Wait for the next; None when ``deadline`` (time.monotonic) passes first."""
        waiting = select.poll()
        waiting.register(self._woken, select.POLLIN)
        while not self._happened:
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            if not waiting.poll(left):
                return None
            with suppress(BlockingIOError):
                os.read(self._woken, 4096)
        return self._happened.popleft()

    def take(self, *kinds: type[Happened]) -> Happened | None:
        """Take out the first of these kinds, None where there is none, and leave the rest in order; without waiting."""
        for at, each in enumerate(self._happened.copy()):  # others only add, and at the end
            if isinstance(each, kinds):
                del self._happened[at]
                return each
        return None

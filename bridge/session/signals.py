"""Signals, made safe: they interrupt only where a wait says that it may be interrupted.

A session's steps change a cluster; an exception between "created" and "noted that it was created" would leave things
behind. So a handler raises only inside ``interruptible()``, which is put around waits, never around changes; elsewhere
the signal is remembered, and raised at the next such wait. While the process runs, signals go to ``inbox`` instead:
the process got a terminal's Ctrl-C by itself (it is in the same foreground process group), and what another program
sends to bridge alone is passed on.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Self

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class SignalReceived(BaseException):
    """A signal came while an interruptible wait was going on. Not an ``Exception``: nobody handles it by accident."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


class Signals:
    """Installs the handlers for its ``with`` block, and puts back what was there."""

    def __init__(self) -> None:
        self._pending: SimpleQueue[signal.Signals] = SimpleQueue()
        self._raising = False
        self._deliver: Callable[[signal.Signals], None] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in HANDLED:
            before = signal.signal(number, self._received)
            self._before[number] = before
            if before is signal.SIG_IGN:  # nohup, or a shell's background job: stays ignored, as for any program
                signal.signal(number, signal.SIG_IGN)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before if before is not None else signal.SIG_DFL)

    def _received(self, number: int, _frame: FrameType | None) -> None:
        which = signal.Signals(number)
        if self._deliver is not None:
            self._deliver(which)
        elif self._raising:
            self._raising = False  # once: the exception is on its way, and what handles it must not be hit again
            raise SignalReceived(which)
        else:
            self._pending.put(which)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A wait that a signal ends with SignalReceived; one that came since the last such wait ends it at once."""
        if not self._pending.empty():
            raise SignalReceived(self._pending.get())
        self._raising = True
        try:
            yield
        finally:
            self._raising = False

    @contextmanager
    def delivered_to(self, deliver: Callable[[signal.Signals], None]) -> Iterator[None]:
        """Hand each signal to ``deliver`` (called in the main thread, between bytecodes), also one that came before."""
        self._deliver = deliver
        try:
            while not self._pending.empty():
                deliver(self._pending.get())
            yield
        finally:
            self._deliver = None

    def forget(self) -> None:
        """Drop what came and was not yet acted on: the session is ending already, which is what it asked for."""
        while not self._pending.empty():
            self._pending.get()

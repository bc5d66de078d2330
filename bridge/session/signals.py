"""Signals, made safe: they interrupt only where a wait says that it may be interrupted.

A session's steps change a cluster; an exception between "created" and "noted that it was created" would leave things
behind. So a handler raises only inside ``interruptible()``, which is put around waits, never around changes; elsewhere
the signal is remembered, and raised at the next such wait. While the process runs, signals go to ``inbox`` instead:
the process got a terminal's Ctrl-C by itself (it is in the same foreground process group), and what another program
sends to bridge alone is passed on. Then an interruptible wait is ended not by the signal, which the process may
outlive, but by what comes of it: who waits looks at the inbox, between two requests.

SIGQUIT (Ctrl-\\) asks the process for something, its threads mostly, and bridge for nothing: it counts only while it
can be delivered. It has a handler all the same, as bridge would die of it; not SIG_IGN, which whatever is started
would inherit.

What a handler raises does not always arrive. CPython drops what is raised in a finalizer, in silence for one of the io
module's (iobase_finalize in Modules/_io/iobase.c), and each answer of urllib3 has one, written in Python. So a signal
counts as noticed only when its wait has ended with it; until then whoever waits for long looks for it now and then.
"""

from __future__ import annotations

import signal
import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Self

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class SignalReceived(BaseException):
    """A signal came while an interruptible wait was going on. Not an ``Exception``: nobody handles it by accident."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


class Signals:
    """Installs the handlers for its ``with`` block, and puts back what was there."""

    def __init__(self) -> None:
        self._pending: deque[signal.Signals] = deque()
        self._raising = False
        """Whether a wait goes on that may be interrupted."""
        self._raised: signal.Signals | None = None
        """What was raised in the wait that goes on: it is on its way, or was swallowed."""
        self._deliver: Callable[[signal.Signals], None] | None = None
        self._look: Callable[[], object] = lambda: None
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
        elif which is signal.SIGQUIT:
            return
        elif self._raising:
            self._raising = False  # once: the exception is on its way, and what handles it must not be hit again
            self._raised = which
            raise SignalReceived(which)
        else:
            self._pending.append(which)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A wait that a signal ends with SignalReceived; one that came since the last such wait ends it at once."""
        try:
            self._raising, self._raised = True, None  # before it looks: between the two a signal would be lost
            if self._pending:
                self._raising = False
                raise SignalReceived(self._pending.popleft())
            yield
            self._remember_swallowed()
        finally:
            self._raising, self._raised = False, None

    def _remember_swallowed(self) -> None:
        if self._raised is not None:
            self._pending.append(self._raised)

    def look(self) -> None:
        """Raise what ends the wait that goes on: what has come and was swallowed, or what ``delivered_to`` looks for.

        For the main thread: in others, nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        if self._raised is not None:
            raise SignalReceived(self._raised)
        if self._raising:
            self._look()

    @contextmanager
    def delivered_to(
        self, deliver: Callable[[signal.Signals], None], *, wake: int, look: Callable[[], object] = lambda: None
    ) -> Iterator[None]:
        """Hand each signal to ``deliver`` (called in the main thread, between bytecodes), also one that came before.

        ``wake`` is the descriptor of a pipe that whoever waits in the main thread reads: see ``inbox``.
        Interruptible waits are not ended by signals meanwhile, but by what ``look`` raises: it is called now and then.
        """
        self._deliver, self._look = deliver, look
        former = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        try:
            while self._pending:
                deliver(self._pending.popleft())
            yield
        finally:
            signal.set_wakeup_fd(former)
            self._deliver, self._look = None, lambda: None

    def forget(self) -> None:
        """Drop what came and was not yet acted on: the session is ending already, which is what it asked for."""
        self._pending.clear()

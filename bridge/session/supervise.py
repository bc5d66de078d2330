"""What to do when something happens while the process runs: a pure table, and the loop that applies it.

happened                       done
SIGINT, at a terminal          nothing: the terminal sent it to the process as well; it is the process's business
SIGINT, no terminal            passed on
SIGINT, 3 within 2 s           the process is ended: the user means it
SIGQUIT, at a terminal         nothing, as above: a JVM tells what its threads do, and goes on
SIGQUIT, no terminal           passed on
SIGTERM, SIGHUP                passed on; what has not ended after the grace time is killed
the session is over            it is begun anew; where that can't be, the process is ended with SIGTERM, as above;
                               nothing while the process ends already
the process accepts            the original is taken out; nothing while the process ends already
the process ended              the end, with its exit code

While the main thread waits for the cluster (traffic is taken, the session begun anew) it looks between two steps of the
wait: signals and the process's end are not put off. A wait for a process that ends is over.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

from bridge.session.inbox import Exited, Happened, Ready, SessionOver, SignalCame

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.session.inbox import Inbox
    from bridge.session.narrator import Narrator

GRACE = 10.0  # seconds between a passed-on SIGTERM and the kill: Kubernetes gives a container 30, a person less
MASHED = 3
MASHED_WITHIN = 2.0
AGAIN_AFTER = 1.0


@dataclass(frozen=True)
class PassOn:
    """Send this signal to the process."""

    number: signal.Signals


@dataclass(frozen=True)
class LeaveToIt:
    """Let the process do with the terminal's Ctrl-C what it wants."""


@dataclass(frozen=True)
class Kill:
    """End the process and all that it started, now."""


Action: TypeAlias = PassOn | LeaveToIt | Kill | None


@dataclass(frozen=True)
class Watch:
    """What is remembered between two events. ``interrupts`` are the times of the last SIGINTs (seconds, monotonic)."""

    at_terminal: bool
    interrupts: tuple[float, ...] = ()
    kill_at: float | None = None
    killed: bool = False

    @property
    def is_ending(self) -> bool:
        """Whether the process was told to end: nothing new is begun for it."""
        return self.killed or self.kill_at is not None

    def after(self, happened: Happened | None, now: float) -> tuple[Watch, Action]:
        """Decide: the next state and what to do. ``None`` means that ``kill_at`` has passed."""
        match happened:
            case None:
                return self._killing()
            case SignalCame(signal.SIGINT):
                return self._interrupted(now)
            case SignalCame(signal.SIGQUIT):
                return self, None if self.at_terminal else PassOn(signal.SIGQUIT)
            case SignalCame(number):
                return self._ending(now, number)
            case SessionOver():  # told twice (restoring, restored) it is no reason to kill
                return (self, None) if self.is_ending else self._ending(now, signal.SIGTERM)
            case _:
                return self, None

    def _interrupted(self, now: float) -> tuple[Watch, Action]:
        recent = (*(t for t in self.interrupts if now - t < MASHED_WITHIN), now)
        if len(recent) >= MASHED:
            return self._ending(now, signal.SIGTERM)
        return replace(self, interrupts=recent), LeaveToIt() if self.at_terminal else PassOn(signal.SIGINT)

    def _ending(self, now: float, number: signal.Signals) -> tuple[Watch, Action]:
        if self.killed:
            return self._killing()
        if self.kill_at is not None:
            asked = self.kill_at - GRACE
            return self._killing() if now - asked >= AGAIN_AFTER else (self, None)
        return replace(self, interrupts=(), kill_at=now + GRACE), PassOn(number)

    def _killing(self) -> tuple[Watch, Action]:
        return replace(self, kill_at=None, killed=True), Kill()


class Running(Protocol):
    """The process, as far as it matters here."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""

    def interrupted(self) -> None:
        """Note that the terminal has sent it a SIGINT."""

    def end(self) -> None:
        """End the process and everything that it started, now: it was asked before, and had its time."""


class ProcessEnding(BaseException):
    """The process has ended, or was told to: what is waited for in the cluster is of no use any more.

    Not an ``Exception``: nobody handles it by accident.
    """


class Supervision:
    """Applies the table to a process, from its start to its end. For the main thread.

    ``renew`` gets why the session is over, and says whether it could be begun anew.
    """

    def __init__(
        self,
        process: Running,
        inbox: Inbox,
        narrator: Narrator,
        *,
        at_terminal: bool,
        renew: Callable[[SessionOver], bool],
    ) -> None:
        self._process = process
        self._inbox = inbox
        self._narrator = narrator
        self._renew = renew
        self._watch = Watch(at_terminal=at_terminal)
        self._code: int | None = None

    def wait_until_ready(self, *, patience: float | None, remark: Callable[[], str]) -> int | None:
        """Wait until the process accepts (None) or has ended (its exit code); remark after ``patience`` seconds."""
        say_at = None if patience is None else time.monotonic() + patience
        while self._code is None:
            deadlines = [t for t in (self._watch.kill_at, say_at) if t is not None]
            happened = self._inbox.get(deadline=min(deadlines, default=None))
            if isinstance(happened, Ready) and not self._is_ending:
                return None
            if happened is None and say_at is not None and time.monotonic() >= say_at:
                say_at = None
                self._narrator.warn(remark())
                continue
            self._handle(happened)
        return self._code

    def wait_until_ended(self) -> int:
        """Wait until the process has ended; return its exit code."""
        while self._code is None:
            self._handle(self._inbox.get(deadline=self._watch.kill_at))
        return self._code

    def look(self) -> None:
        """Do, between two steps of a wait for the cluster, what the table says to signals and to the process's end.

        All else stays in the inbox for when the wait is over. Raise ProcessEnding if that is now.
        """
        while happened := self._inbox.take(Exited, SignalCame):
            self._handle(happened)
        if self._is_ending:
            raise ProcessEnding

    @property
    def _is_ending(self) -> bool:
        return self._code is not None or self._watch.is_ending

    def _handle(self, happened: Happened | None) -> None:
        if isinstance(happened, Exited):
            self._code = happened.code
        elif not (isinstance(happened, SessionOver) and not self._is_ending and self._renewed(happened)):
            self._watch, action = self._watch.after(happened, time.monotonic())
            act(action, self._process, self._narrator)

    def _renewed(self, over: SessionOver) -> bool:
        try:
            return self._renew(over)
        except ProcessEnding:
            return True  # there is nobody to be told to end


def act(action: Action, process: Running, narrator: Narrator) -> None:
    """Do to the process what was decided."""
    match action:
        case PassOn(number):
            process.signal(number)
        case LeaveToIt():
            process.interrupted()
        case Kill():
            narrator.note("the process did not end in time: it is killed")
            process.end()
        case None:
            pass

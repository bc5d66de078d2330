"""What stands in the original's place on this laptop: a process that bridge starts, or whatever the user starts.

OwnProcess   `bridge run`: the command, started in the sandbox; it ends, and with it the session
Reloaded     `bridge run --reload`: the same, started again when its files change (``reload``)
NoProcess    `bridge up`: programs in the sandbox (`bridge exec`) or outside of it; the session ends when it is told to

The rest of a session does not know which of them it has. What ends it puts Exited into the inbox.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from bridge.errors import KILLED, BridgeError
from bridge.laptop.command import working_directory
from bridge.plan.names import one_of
from bridge.session.inbox import Exited
from bridge.session.supervise import Running

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence

    from bridge.laptop.process import Process
    from bridge.laptop.sandbox import Sandbox
    from bridge.session.inbox import Inbox
    from bridge.session.narrator import Narrator
    from bridge.session.wanted import Wanted
    from bridge.tunnel.loop import EventLoop


class Answering(Running, Protocol):
    """See the module's docstring. For the main thread."""

    own: bool
    """Whether it is a process of bridge's own, in the foreground with it: a terminal's Ctrl-C reaches both."""

    @property
    def pid(self) -> int:
        """The process's; 0: there is none."""

    def begin(self, environment: Mapping[bytes, bytes]) -> None:
        """Start it; ``environment`` is all of the process's."""


class OwnProcess:
    """See the module's docstring."""

    own = True

    def __init__(self, command: Sequence[str], box: Sandbox, loop: EventLoop, inbox: Inbox, narrator: Narrator) -> None:
        self._command = command
        self._box = box
        self._loop = loop
        self._inbox = inbox
        self._narrator = narrator
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """The process's; 0: it is not started."""
        return self._process.pid if self._process else 0

    def begin(self, environment: Mapping[bytes, bytes]) -> None:
        """Start the command. Raises CommandError."""
        self._process = self._box.start(self._command, environment, working_directory())
        self._loop.submit(self._watch(self._process))
        self._narrator.done(f"started {self._command[0]} (pid {self.pid})", event="started", pid=self.pid)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        if self._process is not None:
            self._process.signal(number)

    def interrupted(self) -> None:
        """Leave it to the process."""

    def end(self) -> None:
        """End the process and everything that it started, now."""
        self._box.end(grace=0, entered=False)

    async def _watch(self, process: Process) -> None:
        try:
            code = (await process.exited()).exit_code
            trouble = ""
        except BridgeError as error:
            code, trouble = KILLED, error.message
        tell_ended(code, trouble, self._inbox, self._narrator)


def tell_ended(code: int, trouble: str, inbox: Inbox, narrator: Narrator) -> None:
    """Say that the process has ended; put it into the inbox, whatever becomes of the saying."""
    try:
        if trouble:
            narrator.warn(trouble)
        narrator.done(f"the process has ended (exit code {code})", event="exited", code=code)
    finally:
        inbox.put(Exited(code))


class NoProcess:
    """See the module's docstring."""

    own = False
    pid = 0

    def __init__(self, wanted: Wanted, inbox: Inbox, narrator: Narrator) -> None:
        self._wanted = wanted
        self._inbox = inbox
        self._narrator = narrator

    def begin(self, environment: Mapping[bytes, bytes]) -> None:  # noqa: ARG002  # who comes in makes one of its own
        """Say what is waited for; nothing is started."""
        where = "here, or in the session (bridge exec -- COMMAND)"
        if ports := self._wanted.maps:
            self._narrator.done(
                f"up: waiting for a program that listens on {one_of([str(each.laptop) for each in ports])}, {where}"
            )
        else:
            self._narrator.done("up: start programs in the session with bridge exec -- COMMAND")

    def signal(self, number: signal.Signals) -> None:  # noqa: ARG002  # whichever it is
        """End the session, which is what a signal asks for."""
        self._inbox.put(Exited(0))

    def interrupted(self) -> None:
        """End the session."""
        self._inbox.put(Exited(0))

    def end(self) -> None:
        """End the session."""
        self._inbox.put(Exited(0))

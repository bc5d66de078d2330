"""What stands in the original's place when the bridge at the terminal starts it: a process that enters the sandbox.

So it has its terminal, its working directory, its parent, while the session belongs to another process (``keeping``).
One of these for each run.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from bridge.errors import KILLED
from bridge.session.inbox import Exited, SignalCame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from bridge.laptop.sandbox import Sandbox
    from bridge.session.facing import Facing
    from bridge.session.inbox import Inbox
    from bridge.tunnel.loop import EventLoop


class Entered:
    """See the module's docstring. For the main thread, but for `heard`."""

    own = True

    def __init__(
        self,
        name: str,
        facing: Facing,
        way_in: Callable[[], Awaitable[list[int]]],
        *,
        box: Sandbox,
        loop: EventLoop,
        inbox: Inbox,
    ) -> None:
        self._name = name
        self._facing = facing
        self._way_in = way_in
        self._box = box
        self._loop = loop
        self._inbox = inbox
        self._ended = False
        self.pid = 0
        self.started: Callable[[], object] = lambda: None
        """Called on the loop when there is a process."""

    def begin(self, environment: Mapping[bytes, bytes]) -> None:  # noqa: ARG002  # the terminal's side makes its own
        """Have the bridge at the terminal start the command. Raises BridgeError."""
        self._loop.run(self._let_in())

    async def _let_in(self) -> None:
        descriptors = await self._way_in()
        try:
            told = self._facing.say({"enter": True}, descriptors)
        finally:
            for each in descriptors:
                os.close(each)
        if not told:  # it may have gone before this run could hear that
            self._exited(KILLED, "the bridge at the terminal can't be told to start the process")

    def signal(self, number: signal.Signals) -> None:
        """Have a signal sent to the process."""
        self._facing.say({"signal": int(number)})

    def interrupted(self) -> None:
        """Leave it to the process."""

    def end(self) -> None:
        """End the process and everything else in the sandbox, now."""
        self._box.end(grace=0)
        # Told here, too: the bridge at the terminal may be stopped (Ctrl-Z), and tell nobody.
        self._loop.call(self._exited, KILLED, f"the process was killed (exit code {KILLED})")

    def heard(self, message: dict[str, Any] | None) -> None:
        """Take what the bridge at the terminal says; on the loop."""
        match message:
            case None:
                self._exited(KILLED, "the bridge at the terminal is gone: the process is ended")
            case {"started": int(pid)}:
                self.pid = pid
                self._facing.done(f"started {self._name} (pid {pid})", event="started", pid=pid)
                self.started()
            case {"exited": int(code)}:
                self._exited(code, f"the process has ended (exit code {code})")
            case {"signal": int(number)}:
                self._inbox.put(SignalCame(signal.Signals(number)))

    def _exited(self, code: int, told: str) -> None:
        if not self._ended:
            self._ended = True
            self.pid = 0
            try:
                self._facing.done(told, event="exited", code=code)
            finally:  # it is told once only
                self._inbox.put(Exited(code))

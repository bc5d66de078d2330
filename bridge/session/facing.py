"""The bridge at the terminal, as the one that holds a session has it: the line between the two, from this end.

One message a packet (``laptop.messages``). What is said

    there   {"tell": ["done", text, event, facts]}   the session's account, as to a Narrator
            {"enter": true}                          with the way in (see ``door``): start the command, there
            {"signal": 15}                           for the command
            {"kept": 600.0, "name": ...}             the run is over, the original answers; the session is kept
            {"over": 0}                              the session is over: the exit code; "message", "hint" if it failed
    here    {"begin": {...}}                         the first word of a run of a session that was kept (``Begun``)
            {"started": 4711}                        the command's pid
            {"exited": 0}                            its exit code
            {"signal": 2}                            one came there, for the command, or before there is one

The line's end without ``exited`` means that the terminal's bridge was killed: that ends the run.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bridge.laptop import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.session.narrator import Fact, Narrator

    Message = dict[str, Any]


class Facing:
    """The line to the bridge at the terminal, and the session's Narrator: without one, to ``log``.

    ``key``: what the session is kept for. Says from any thread; hears on the event loop.
    """

    def __init__(self, line: socket.socket, *, key: str, at_terminal: bool, log: Narrator) -> None:
        self.key = key
        self.at_terminal = at_terminal
        """Whether the first run is in the foreground of a terminal."""
        self._log = log
        self._lock = threading.Lock()
        line.setblocking(False)  # a bridge that is stopped (Ctrl-Z) holds up nobody
        self._line: socket.socket | None = line
        self._hears: Callable[[Message | None], object] = _end_of_a_start

    # ---- what is said ---------------------------------------------------------------------------------------------
    def doing(self, text: str) -> None:
        """Say what is being waited for."""
        self._tell("doing", text, "", {})

    def done(self, text: str, event: str = "", **facts: Fact) -> None:
        """Say what has been reached."""
        self._tell("done", text, event, facts)

    def note(self, text: str, event: str = "", **facts: Fact) -> None:
        """Say something to know."""
        self._tell("note", text, event, facts)

    def warn(self, text: str, event: str = "", **facts: Fact) -> None:
        """Say something that is not as it should be."""
        self._tell("warn", text, event, facts)

    def _tell(self, how: str, text: str, event: str, facts: dict[str, Fact]) -> None:
        if not self.say({"tell": [how, text, event, facts]}) and how != "doing":
            getattr(self._log, how)(text, event, **facts)

    def say(self, message: Message, descriptors: Iterable[int] = ()) -> bool:
        """Say something; False where nobody is there, or does not read."""
        with self._lock:
            if self._line is None:
                return False
            try:
                messages.send(self._line, message, descriptors)
            except (messages.Closed, OSError):
                return False
        return True

    # ---- what is heard --------------------------------------------------------------------------------------------
    def listen(self) -> None:
        """Begin to hear; on the loop."""
        if self._line is not None:
            asyncio.get_running_loop().add_reader(self._line.fileno(), self._read)

    def hear(self, hears: Callable[[Message | None], object]) -> None:
        """Have this called with what is said from now on, on the loop; None: nobody is there any more."""
        self._hears = hears

    @property
    def is_there(self) -> bool:
        """Whether there is a bridge at a terminal."""
        return self._line is not None

    def accept(self, hears: Callable[[Message | None], object]) -> socket.socket:
        """Make a line for another bridge at a terminal; return its end. On the loop."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._hears = hears
        with self._lock:
            self._line = ours
        self.listen()
        return theirs

    def leave(self) -> None:
        """Let go of the line; on the loop."""
        with self._lock:
            line, self._line = self._line, None
        if line is not None:
            asyncio.get_running_loop().remove_reader(line.fileno())
            line.close()

    def _read(self) -> None:
        assert self._line is not None
        try:
            message, _ = messages.receive(self._line)
        except BlockingIOError:
            return
        except (messages.Closed, OSError):
            self.leave()
            self._hears(None)
        else:
            self._hears(message)


def _end_of_a_start(message: Message | None) -> None:
    """While the session is being made, a signal there is one here, where it ends what is waited for."""
    number = signal.SIGTERM if message is None else message.get("signal", 0)
    ident = threading.main_thread().ident
    if number and ident:
        with suppress(ProcessLookupError):
            signal.pthread_kill(ident, number)

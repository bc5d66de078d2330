"""`bridge run --reload`: the command is started again whenever a file of the project has changed.

What stands in the original's place, as `answering` has it; its life is one task on the event loop:

    it runs, a file changes      nothing new reaches it; what is under way gets its answer, DRAIN seconds at most;
                                 it is ended, with all that it started; another one is started
    it ends by itself            it is said; what comes is held as for any process that does not accept
    it can't be started          the same
    it has ended, a file changes another one is started
    a signal                     passed on, to the next process if that just starts; the session ends with it
    SIGQUIT                      passed on, no more

Programs that came into the sandbox by themselves (`bridge exec`) go on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass
from signal import SIGINT, SIGKILL, SIGQUIT, Signals
from typing import TYPE_CHECKING, TypeAlias

from bridge.errors import KILLED, BridgeError, CommandError, unexpected
from bridge.laptop.command import working_directory
from bridge.laptop.edits import edits
from bridge.session.answering import tell_ended
from bridge.tunnel.rejoin import relayed, until_at_rest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence

    from bridge.laptop.process import Exit, Process
    from bridge.laptop.sandbox import Sandbox
    from bridge.plan.sources import Sources
    from bridge.session.inbox import Inbox
    from bridge.session.narrator import Narrator
    from bridge.session.requests import Requests
    from bridge.tunnel.inbound import Inbound
    from bridge.tunnel.loop import EventLoop
    from bridge.tunnel.reading import Pause
    from bridge.tunnel.rejoin import Relayed

log = logging.getLogger(__name__)

DRAIN = 5.0
"""Seconds that what is under way may take to its answer, before the process is told to end."""
GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL, for a process that is replaced."""
BY_CTRL_C = 10.0
"""Seconds within which a process that ends after a Ctrl-C has ended because of it."""
SHOWN = 3
"""Requests that are shown after each start, and files that are named."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What is around the process, and goes on when it is replaced. On the event loop.

    ``inbound`` gives the relays of what comes to it; ``pause`` is theirs. ``accepting`` returns when it accepts.
    """

    inbound: Callable[[], Iterable[Inbound]]
    pause: Pause
    accepting: Callable[[], Awaitable[None]]
    requests: Requests


@dataclass(frozen=True)
class _Gone:
    process: Process
    exit: Exit


@dataclass(frozen=True)
class _Edited:
    files: list[str]


@dataclass(frozen=True)
class _Told:
    number: Signals
    sent_to: Process | None
    """Who has it already."""


_Happened: TypeAlias = _Gone | _Edited | _Told | BridgeError


class Reloaded:
    """See the module's docstring. The methods are for the main thread."""

    own = True

    def __init__(
        self,
        command: Sequence[str],
        sources: Sources,
        surroundings: Surroundings,
        *,
        box: Sandbox,
        loop: EventLoop,
        inbox: Inbox,
        narrator: Narrator,
    ) -> None:
        self._command = command
        self._sources = sources
        self._around = surroundings
        self._box = box
        self._loop = loop
        self._inbox = inbox
        self._narrator = narrator
        self._process: Process | None = None
        self._runs = False
        self._ends = False
        self._interrupted = -BY_CTRL_C
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pid(self) -> int:
        """The process's; 0: there is none just now."""
        process = self._running
        return process.pid if process else 0

    @property
    def _running(self) -> Process | None:
        return self._process if self._runs else None

    def begin(self, environment: Mapping[bytes, bytes]) -> None:
        """Start the command, and watch its files. Raises CommandError."""
        self._environment = environment
        self._folder = working_directory()
        self._loop.run(self._begin())

    def signal(self, number: Signals) -> None:
        """Send a signal to the process, which ends the session if it ends the process, or if there is none."""
        process = self._running
        if number is not SIGQUIT:
            self._told(number, process)
        if process is not None:
            process.signal(number)

    def interrupted(self) -> None:
        """Note a Ctrl-C, which the terminal has sent to the process as well."""
        self._told(SIGINT, self._running)

    def end(self) -> None:
        """End the process and everything that it started, now, and the session."""
        self._told(SIGKILL, self._running)
        self._box.end(grace=0, entered=False)

    def _told(self, number: Signals, sent_to: Process | None) -> None:
        if number is SIGINT:
            self._interrupted = time.monotonic()
        else:
            self._ends = True
        self._loop.call(self._happened.put_nowait, _Told(number, sent_to))

    # ---- its life, on the event loop ------------------------------------------------------------------------------
    async def _begin(self) -> None:
        self._happened: asyncio.Queue[_Happened] = asyncio.Queue()
        changes = edits(self._sources, self._narrator.warn)
        await anext(changes)
        await self._start()
        self._spawn(self._notice(changes))
        self._spawn(self._live())

    def _spawn(self, what: Awaitable[None]) -> None:
        task = asyncio.ensure_future(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _notice(self, changes: AsyncIterator[list[str]]) -> None:
        try:
            async for files in changes:
                self._happened.put_nowait(_Edited(files))
        except Exception as error:  # whatever it is: nobody else would hear of it
            log.exception("changes of files are not noticed any more")
            self._narrator.warn(f"changes of files are not noticed any more: {error}")

    async def _live(self) -> None:
        trouble = ""
        try:
            code = None
            while code is None:
                code = await self._after(await self._happened.get())
        except BridgeError as error:  # init was killed, and the process with it
            code, trouble = KILLED, error.message
        except Exception as error:  # a bug is no reason that bridge does not end with its process
            log.exception("the process is not looked after any more")
            code, trouble = 1, unexpected(error)
        tell_ended(code, trouble, self._inbox, self._narrator)
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()

    async def _after(self, happened: _Happened) -> int | None:
        """Do what the table says; return the exit code if that was the end."""
        match happened:
            case _Gone(process, ended) if process is self._process and self._runs:
                self._runs = False
                if self._is_to_end():
                    return ended.exit_code
                self._narrator.warn(
                    f"the process has ended ({ended}); a change of a file starts it again, Ctrl-C ends the session",
                    event="exited",
                    code=ended.exit_code,
                )
            case _Edited(files) if not self._ends:
                return await self._replace(files)
            case _Told(number, sent_to):
                if self._running is None:
                    return 128 + number
                if self._running is not sent_to:  # it was just being started
                    self._running.signal(number)
            case BridgeError():
                raise happened
        return None

    def _is_to_end(self) -> bool:
        return self._ends or time.monotonic() - self._interrupted < BY_CTRL_C

    async def _replace(self, files: list[str]) -> int | None:
        began = time.monotonic()
        self._narrator.note(f"{self._named(files)} changed, restarting", event="changed", files=files)
        if self._runs:
            await self._drained()
            ended = await self._ended()
            if self._is_to_end():
                return ended.exit_code
        try:
            await self._start()
        except CommandError as error:
            self._narrator.warn(f"{error.message}. It is tried again when a file changes", event="not started")
        else:
            self._spawn(self._tell_when_accepting(began))
        self._around.pause.end()
        return None

    async def _drained(self) -> None:
        """Let nothing new reach the process, and what is under way come to its answer."""
        self._around.pause.begin()
        for each in self._around.inbound():
            each.part()
        if busy := await until_at_rest(self._relayed, DRAIN):
            self._narrator.warn(f"{busy} requests are still not answered after {DRAIN:g} s, and end with the process")

    def _relayed(self) -> Iterable[Relayed]:
        return () if self._is_to_end() else relayed(self._around.inbound())

    async def _ended(self) -> Exit:
        assert self._process is not None
        killed = await asyncio.to_thread(self._box.end_started, grace=GRACE)
        if killed:
            self._narrator.warn(f"the process did not end within {GRACE:g} s of SIGTERM: it was killed")
        ended = await self._process.exited()
        self._runs = False
        return ended

    async def _start(self) -> None:
        process = await asyncio.to_thread(self._box.start, self._command, self._environment, working_directory())
        before, self._process = self._process, process
        self._runs = True
        self._spawn(self._watch(process))
        if before is not None:
            before.close()
        self._narrator.done(f"started {self._command[0]} (pid {process.pid})", event="started", pid=process.pid)

    async def _watch(self, process: Process) -> None:
        try:
            self._happened.put_nowait(_Gone(process, await process.exited()))
        except BridgeError as error:
            self._happened.put_nowait(error)

    async def _tell_when_accepting(self, began: float) -> None:
        process = self._process
        await self._around.accepting()
        if self._process is process and self._runs:
            took = time.monotonic() - began
            self._around.requests.tell_next(SHOWN)
            self._narrator.done(f"accepting again after {took * 1000:.0f} ms", event="accepting", took=round(took, 3))

    def _named(self, files: Sequence[str]) -> str:
        names = [os.path.relpath(each, self._folder) for each in files[:SHOWN]]
        more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
        return ", ".join(names) + more

"""Keeps the session tied to its proxy pod: notices when the tie is lost, and makes another.

    noticed                                        done
    ---------------------------------------------  ------------------------------------------------------------------
    the stream or SSH ended                        another tie, tried again and again with jittered pauses
    no echo for some seconds                       the same; the old one is taken back if it answers first
    the pod was told to end (deleted, drained)     the same, to its successor; the old one serves until then, and what
                                                   is open there may come to its end, until ``PARTED`` seconds are over
    the session is over in the cluster             told to the main thread, which begins it anew or ends the process

It never gives up by itself: a laptop that sleeps, a cable that is out, an API server that restarts come back. The
process does not notice: what it opens meanwhile waits in the line.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from typing import TYPE_CHECKING, TypeAlias

from bridge.clock import since_boot
from bridge.cluster.errors import Unauthenticated
from bridge.errors import BridgeError, TunnelError, unexpected
from bridge.tunnel.keeper import Refused
from bridge.wire.backoff import delays
from bridge.wire.messages import OVER_REASONS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bridge.session.narrator import Narrator
    from bridge.session.tie import Tie, Trouble
    from bridge.tunnel.line import Line

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
"""Seconds between two tries. Two seconds at the most: when the network is back, somebody waits."""

PARTED = 10.0
"""Seconds after it was told to end that a pod is let go of at the latest: its keeper goes on for 12 (``--drain``)."""

Another: TypeAlias = "Callable[[str], Awaitable[Tie]]"
"""Make a tie; not to the pod of this name (empty: to any). Over, or BridgeError: try again."""


class Over(Exception):
    """The session has ended in the cluster; the text says how."""


class Lifeline:
    """See the module's docstring; on the event loop."""

    def __init__(self, line: Line, another: Another, over: Callable[[str], object], narrator: Narrator) -> None:
        self._line = line
        self._another = another
        self._over = over
        self._narrator = narrator
        self._task: asyncio.Task[None] | None = None
        self._partings: set[asyncio.Task[None]] = set()
        self.tie: Tie | None = None
        self.state = "starting"
        self._asked = False

    def away(self) -> float:
        """Return for how many seconds the keeper has not heard of us, as far as we know; sleep counts."""
        return since_boot() - self.tie.keeper.heard if self.tie else 0.0

    async def hold(self, tie: Tie) -> None:
        """Use this tie from now on, and keep the line up, until `release`."""
        await self._stop()
        await self._part_at_once()
        self._use(tie)
        self._task = asyncio.get_running_loop().create_task(self._keep(tie))

    async def let_be(self) -> None:
        """Mend it no more: the session ends."""
        await self._stop()

    async def drop(self) -> None:
        """Let go of the tie; what is opened meanwhile waits for the next."""
        await self._stop()
        await self._part_at_once()
        self._line.lose()
        tie, self.tie = self.tie, None
        if tie is not None:
            await tie.close()

    async def release(self) -> None:
        """Let go of it for good."""
        await self.drop()
        self._line.close()

    async def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _part(self, tie: Tie, within: float) -> None:
        """Let what is open on it come to its end, and close it then: another has taken its place."""

        async def parting() -> None:
            await tie.rested(within)
            await tie.close()

        def parted(task: asyncio.Task[None]) -> None:
            self._partings.discard(task)
            tie.abort()  # here, because a task that is cancelled early does not even begin

        task = asyncio.get_running_loop().create_task(parting())
        self._partings.add(task)
        task.add_done_callback(parted)

    def _stop_parting(self) -> None:
        for task in self._partings:
            task.cancel()

    async def _part_at_once(self) -> None:
        self._stop_parting()
        await asyncio.gather(*self._partings, return_exceptions=True)

    def _use(self, tie: Tie) -> None:
        self.state = "connected"
        self.tie = tie
        self._line.use(tie.lanes)

    async def _keep(self, tie: Tie) -> None:
        try:
            while trouble := await tie.trouble():
                tie = await self._mended(tie, trouble)
        except Over as over:
            self._ended(str(over))
        except Exception as error:
            log.exception("the tunnel is not looked after any more")
            self._ended(unexpected(error))

    def _ended(self, how: str) -> None:
        self.state = "over"
        self._stop_parting()
        self._line.lose()
        self._over(how)

    async def _mended(self, tie: Tie, trouble: Trouble) -> Tie:
        """Return a tie that works. Over when the session has ended in the cluster."""
        if trouble.refused:
            raise_if_over(trouble.refused)
        began = time.monotonic()
        self._narrator.warn(f"{trouble.reason}; the process goes on, reconnecting")
        self.state = "reconnecting"
        if not trouble.goes_on:
            self._line.lose()
        async with _revival(tie, trouble) as revived:
            new = await self._tried(tie, trouble, revived)
            self._use(new)  # before anything is waited for: from now on `release` closes it
            if new is not tie and trouble.goes_on:
                self._part(tie, began + PARTED - time.monotonic())
            elif new is not tie:
                tie.abort()
        self._asked = False
        took = time.monotonic() - began
        again = "answers again" if new is tie else f"connected again to {new.pod}"
        self._narrator.done(f"{again} after {took:.1f} s")
        return new

    def _tell(self, error: Exception) -> None:
        """Say why not yet; what only the user can mend is said to stay, once."""
        self._narrator.doing(f"reconnecting: {error}")
        if isinstance(error, Unauthenticated) and not self._asked:
            self._asked = True
            self._narrator.warn(f"{error.message}. {error.hint} The session goes on when that is done")

    async def _tried(self, tie: Tie, trouble: Trouble, revived: asyncio.Event) -> Tie:
        for pause in delays(first=FIRST_PAUSE, longest=LONGEST_PAUSE, jitter=random.random):
            try:
                return await self._another(_leaving(tie, trouble))
            except (BridgeError, OSError) as error:
                if isinstance(error, Refused):
                    raise_if_over(error.reason)
                self._tell(error)
            except Over:
                raise
            except Exception as error:  # a bug is no reason to leave the process without a cluster
                log.exception("connecting again failed in a way that was not expected")
                self._narrator.doing(f"reconnecting: {error}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await revived.wait()
            if revived.is_set():
                return tie
        raise AssertionError("pauses do not end")


def _leaving(tie: Tie, trouble: Trouble) -> str:
    """Return the pod that is not to be connected to any more.

    One that was told to end, as long as its end goes on; after that there may be one of the same name: a node that
    boots again has the same pods.
    """
    return tie.pod if trouble.goes_on and not tie.connection.closed.done() else ""


class _revival:  # noqa: N801  # used as a function
    """Watches whether a silent tie answers after all: an event, set then."""

    def __init__(self, tie: Tie, trouble: Trouble) -> None:
        self._tie = tie
        self._wanted = trouble.silent
        self._event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> asyncio.Event:
        if self._wanted:
            self._task = asyncio.get_running_loop().create_task(self._answer())
        return self._event

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _answer(self) -> None:
        with contextlib.suppress(TunnelError):
            await self._tie.keeper.ping()
            self._event.set()


def raise_if_over(reason: str) -> None:
    """Raise Over if the keeper's reason to refuse means that the session has ended."""
    if reason.startswith(OVER_REASONS):
        raise Over(reason)

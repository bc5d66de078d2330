"""A tie: one connection to the proxy pod, with all that hangs on it and goes with it.

    connection    SSH, on a stream through the API server
    keeper        its control connection: report, probes, heartbeats, the guard's word
    inbound       the pod's ports, listened on through this connection
    lanes         this connection, and more of them where one is too little for what the process opens

What outlives it (the process, the sandbox, the relays of outgoing connections) is in ``joined``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from bridge.errors import TunnelError
from bridge.session.leaving import LINGER
from bridge.tunnel.heartbeat import until_silent
from bridge.tunnel.keeper import Keeper, NotThere, Refused, open_keeper
from bridge.tunnel.lanes import Lanes
from bridge.tunnel.rejoin import relayed, until_at_rest
from bridge.tunnel.ssh import Connection, connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from typing import Any

    from bridge.plan.endpoint import Endpoint
    from bridge.tunnel.inbound import Inbound
    from bridge.tunnel.keys import SessionKeys
    from bridge.wire.messages import Guard

T = TypeVar("T")

TRY_EVERY = 0.05
"""Seconds between two tries to reach a keeper that is just starting."""
GOODBYE = 2.0
"""Seconds that the pod may take to close its ports."""


@dataclass(frozen=True, kw_only=True)
class Ends:
    """What the two ends of a tie need: the pod's ports and secrets, and who answers on the laptop."""

    ssh_port: int
    keeper_port: int
    keys: SessionKeys
    token: str
    is_ready: Callable[[], Awaitable[bool]]
    on_guard: Callable[[Guard], object]
    inbound: Callable[[Connection], Sequence[Inbound]]
    another: Callable[[str], Awaitable[Connection]] | None = None
    """Opens one more connection to the pod of this name; None: there is to be none."""


class Tie:
    """See the module's docstring. On the event loop; made by ``tie``."""

    def __init__(self, pod: str, lanes: Lanes, keeper: Keeper, inbound: Sequence[Inbound]) -> None:
        self.pod = pod
        self.lanes = lanes
        self.connection = lanes.first
        self.keeper = keeper
        self.inbound = inbound

    async def trouble(self) -> Trouble | None:
        """Wait until something is wrong with it; None when we have closed it."""
        found = await _first(
            _ended(self.connection.closed),
            _ended(self.keeper.closed),
            self._told_to_end(),
            self._silent(),
        )
        # What the keeper refuses with says most: whether there is anything to come back to.
        return next((each for each in found if each and each.refused), found[0])

    async def rested(self, within: float) -> None:
        """Wait until it rests, for LINGER seconds at least; until it has ended, or for ``within`` seconds, at the most.

        The heartbeats go on: the guard in the pod would miss them, and restore.
        """
        await _first(_ended(self.connection.closed), self._silent(), self._at_rest(within))

    def rests(self, now: float) -> bool:
        """Whether each connection but the keeper's has come to its end, or is read along and rests, at ``now``."""
        if not all(each.rests(now) for each in self.inbound):
            return False
        return self.lanes.connections <= len(relayed(self.inbound)) + 1

    async def close(self) -> None:
        """Say goodbye, and close; what is open is reset."""
        try:
            async with asyncio.timeout(GOODBYE):
                await asyncio.gather(*(inbound.stop() for inbound in self.inbound))
        except TimeoutError:  # nobody is there to answer
            self.connection.abort()
        self.lanes.abort()
        self.connection.close()
        await self.connection.closed

    def abort(self) -> None:
        """Drop it: there is nobody at its other end, or another has taken its place."""
        self.lanes.abort()
        self.connection.abort()

    async def _told_to_end(self) -> Trouble:
        await asyncio.shield(self.keeper.ending)
        return Trouble("the proxy pod was told to end", goes_on=True)

    async def _at_rest(self, within: float) -> None:
        await asyncio.sleep(LINGER)
        await until_at_rest(lambda: [self], within - LINGER)

    async def _silent(self) -> Trouble | None:
        try:
            await until_silent(self.keeper, self._answered)
        except TunnelError as error:
            return Trouble.of(error)
        return Trouble("the proxy pod does not answer any more", silent=True)

    def _answered(self, round_trip: float) -> None:
        self.connection.measured(round_trip)
        self.lanes.look()


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a tie.

    ``silent``: it may still come to life. ``goes_on``: it works for some moments more. ``refused``: the keeper's reason
    for ending it, empty if it was not the keeper.
    """

    reason: str
    silent: bool = False
    goes_on: bool = False
    refused: str = ""

    @classmethod
    def of(cls, error: TunnelError) -> Trouble:
        """Take what ended a connection."""
        return cls(error.message, refused=error.reason if isinstance(error, Refused) else "")


async def _first(*waits: Coroutine[Any, Any, T]) -> list[T]:
    """Wait until one of these is done; return what is found then, and end the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [task.result() for task in tasks if task in done]


async def _ended(closed: asyncio.Future[TunnelError | None]) -> Trouble | None:
    error = await asyncio.shield(closed)
    return None if error is None else Trouble.of(error)


async def tie(pod: str, endpoint: Endpoint, ends: Ends, *, within: float) -> Tie:
    """Tie up to the pod. TunnelError says why not (`StreamError.passing`: try again?)."""
    connection = await connect(endpoint, ends.keys, within=within)
    return await finish(pod, connection, ends, within=within)


async def finish(pod: str, connection: Connection, ends: Ends, *, within: float) -> Tie:
    """Make a connection a tie: the keeper, then the ports."""
    inbound = ends.inbound(connection)
    try:
        keeper = await _in_time(_keeper(connection, ends), within)
        await _in_time(_started(inbound), within)
    except BaseException:
        connection.close()
        raise
    lanes = Lanes(connection, partial(ends.another, pod) if ends.another else None)
    return Tie(pod, lanes, keeper, inbound)


async def _keeper(connection: Connection, ends: Ends) -> Keeper:
    while True:
        try:
            return await open_keeper(
                connection.create_connection,
                ends.keeper_port,
                ends.token,
                is_ready=ends.is_ready,
                on_guard=ends.on_guard,
            )
        except NotThere:  # it starts sshd first; on a busy node its own port comes a moment later
            await asyncio.sleep(TRY_EVERY)


async def _started(inbound: Sequence[Inbound]) -> None:
    for each in inbound:
        await each.start()


async def _in_time(step: Coroutine[Any, Any, Any], within: float) -> Any:
    try:
        async with asyncio.timeout(within):
            return await step
    except TimeoutError as error:
        raise TunnelError(f"the proxy pod's keeper did not answer within {within:g} s") from error

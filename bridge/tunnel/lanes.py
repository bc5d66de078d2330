"""Lanes: the SSH connections to one pod that the process's connections are spread over.

On a short link one is best: what many connections send leaves it in few, large frames. On a long one it is a cap of its
own, because the kernel keeps no more than one send buffer on the way (4 MiB by Linux's default): 42 MB/s at 80 ms. So
each heartbeat looks at what the lanes carry, and when each has `FULL` bytes on the way, one more is opened.

    first    the tie's own connection: keeper, the pod's ports, files; and of the process's connections its share
    more     carry the process's connections only. One that is lost takes them along, and the first goes on

A connection stays on its lane. A new one gets the lane that has the least to do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

from bridge.errors import BridgeError
from bridge.tunnel.heartbeat import until_silent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bridge.tunnel.ssh import Connection, Statistics

log = logging.getLogger(__name__)

MIB = 1024 * 1024
FULL = MIB
"""Bytes on the way: a quarter of Linux's largest send buffer. Only a fast link that is long gets there: 13 MB/s and
80 ms, 52 MB/s and 20 ms."""
MOST = 3
ONE_MORE = 1e6
"""What a new connection counts for, in bytes a second, until it is seen what it carries."""

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Lanes:
    """See the module's docstring. On the event loop. ``another`` opens one more; None: there is never one."""

    def __init__(self, first: Connection, another: Callable[[], Awaitable[Connection]] | None = None) -> None:
        self.first = first
        self._another = another
        self._lanes = [_Lane(first)]
        self._before: Statistics | None = None
        self._looked = time.monotonic()
        self._keeping: set[asyncio.Task[None]] = set()

    async def create_connection(
        self, protocol_factory: Callable[[], P], host: str, port: int
    ) -> tuple[asyncio.Transport, P]:
        """Connect from the pod over the lane that has the least to do. OSError of the kind that connect() has."""
        while True:
            lane = min(
                (lane for lane in self._lanes if not lane.is_lost), key=attrgetter("rate"), default=self._lanes[0]
            )
            lane.rate += ONE_MORE
            try:
                return await lane.connection.create_connection(protocol_factory, host, port)
            except ConnectionError:
                if lane.connection is self.first or not lane.is_lost:
                    raise  # else it was the lane, not the pod, that failed

    def look(self) -> None:
        """See what each lane carries, and open one more if that pays; at each heartbeat."""
        now = time.monotonic()
        seconds, self._looked = now - self._looked, now
        for lane in self._lanes:
            lane.look(seconds)
        full = all(lane.on_the_way >= FULL for lane in self._lanes)
        if self._another is not None and full and len(self._keeping) + 1 < MOST:
            task = asyncio.get_running_loop().create_task(self._keep(self._another))
            self._keeping.add(task)
            task.add_done_callback(self._keeping.discard)

    @property
    def statistics(self) -> Statistics:
        """What was done so far over all lanes, those too that are gone."""
        total = self.first.statistics
        for lane in self._lanes[1:]:
            total = total.plus(lane.connection.statistics)
        return total.plus(self._before) if self._before else total

    @property
    def connections(self) -> int:
        """How many are open now, over all lanes."""
        return sum(lane.connection.connections for lane in self._lanes)

    def abort(self) -> None:
        """Drop all but the first, which is its owner's."""
        self._another = None
        for task in self._keeping:
            task.cancel()

    async def _keep(self, another: Callable[[], Awaitable[Connection]]) -> None:
        """Have one more lane, until it is lost or falls silent."""
        try:
            connection = await another()
        except (BridgeError, OSError) as error:  # one lane fewer: slower, and nothing is lost
            log.debug("no further connection to the pod: %s", error)
            return
        lane = _Lane(connection)
        self._lanes.append(lane)
        log.debug("%d connections to the pod", len(self._lanes))
        try:
            with suppress(BridgeError):
                await until_silent(connection)
        finally:
            connection.abort()
            self._lanes.remove(lane)
            gone = connection.statistics.ended()
            self._before = self._before.plus(gone) if self._before else gone


class _Lane:
    """One connection, and what it has carried lately, in bytes a second."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.rate = 0.0
        self._carried = _carried_by(connection)

    @property
    def is_lost(self) -> bool:
        return self.connection.closed.done()

    @property
    def on_the_way(self) -> float:
        return self.rate * self.connection.shortest_round_trip

    def look(self, seconds: float) -> None:
        carried = _carried_by(self.connection)
        self.rate = (carried - self._carried) / seconds
        self._carried = carried


def _carried_by(connection: Connection) -> int:
    statistics = connection.statistics
    return statistics.bytes_in + statistics.bytes_out

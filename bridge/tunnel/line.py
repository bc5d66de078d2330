"""The line: the tunnel as the relays see it, over one connection after another.

    state    what stands                         create_connection
    -------  ----------------------------------  ---------------------------------------------
    up       a connection                        goes through it
    down     none: lost, being made anew         waits for the next one, ``GAP`` seconds at most
    closed   none: the session ends              fails at once

A connection that gets lost takes what is open on it along, as a failing network would. What is only being opened is
opened again on the next one: the program that waits for it sees a slow connect(), not an error.
"""

from __future__ import annotations

import asyncio
import errno
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.tunnel.lanes import Lanes
    from bridge.tunnel.ssh import Connection, Statistics

GAP = 30.0
"""Seconds that a new connection waits for the tunnel: within the patience of most programs and of kernels."""

P = TypeVar("P", bound=asyncio.BaseProtocol)


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What a session's connections have done together. Bytes are those on the stream; the round trip is in seconds."""

    bytes_in: int = 0
    bytes_out: int = 0
    channels: int = 0
    channels_opened: int = 0
    round_trip: float = 0.0
    reconnects: int = 0

    def plus(self, other: Statistics) -> Totals:
        """Add what one connection has done; what is of the moment is taken from it."""
        return Totals(
            bytes_in=self.bytes_in + other.bytes_in,
            bytes_out=self.bytes_out + other.bytes_out,
            channels=other.channels,
            channels_opened=self.channels_opened + other.channels_opened,
            round_trip=other.round_trip,
            reconnects=self.reconnects,
        )


class Line:
    """One connection after another; everything on its loop."""

    def __init__(self, *, gap: float = GAP) -> None:
        self._gap = gap
        self._lanes: Lanes | None = None
        self._latest: Lanes | None = None  # also while they are lost: they may be used again
        self._before = Totals()
        self._closed = False
        self._changed = asyncio.Event()

    # -- for relays ------------------------------------------------------------------------------------------------

    async def create_connection(
        self, protocol_factory: Callable[[], P], host: str, port: int
    ) -> tuple[asyncio.Transport, P]:
        """Connect from the pod, in the shape of ``loop.create_connection``. OSError; TimeoutError after the gap."""
        deadline = time.monotonic() + self._gap
        while True:
            lanes = await self._standing(deadline)
            try:
                return await lanes.create_connection(protocol_factory, host, port)
            except ConnectionError:
                if not lanes.first.closed.done():
                    raise  # the pod's own answer
                if self._lanes is lanes:
                    self.lose()

    async def _standing(self, deadline: float) -> Lanes:
        while self._lanes is None:
            left = deadline - time.monotonic()
            if self._closed or left <= 0:
                raise TimeoutError(errno.ETIMEDOUT, "the tunnel is down")
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return self._lanes

    # -- for who keeps it ------------------------------------------------------------------------------------------

    @property
    def connection(self) -> Connection | None:
        """The connection that stands, the first of its lanes; None while the line is down."""
        return self._lanes.first if self._lanes else None

    @property
    def totals(self) -> Totals:
        """What was done so far, over all connections."""
        return self._before.plus(self._latest.statistics) if self._latest else self._before

    def use(self, lanes: Lanes) -> None:
        """Go on over these, which may be those that were lost; what waited goes on."""
        if self._latest not in (None, lanes):
            self._before = replace(self.totals, reconnects=self._before.reconnects + 1)
        self._lanes = self._latest = lanes
        self._wake()

    def lose(self) -> None:
        """Note that the connection is no more to be used; what comes now waits."""
        self._lanes = None

    def close(self) -> None:
        """Let nobody wait any more."""
        self.lose()
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

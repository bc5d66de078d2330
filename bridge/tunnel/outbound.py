"""Outbound: connections of the sandbox's programs, relayed to where they were going.

nft sends every connection in the sandbox to one listening socket, whose descriptor bridge has. For each one accepted
the kernel tells where it was going. What was dialled for it while its SYN was held is joined with it at once; else
``route`` says which ways there are, and the first that connects is joined with it. The program's connect() has
succeeded by then, so when no way works it sees a reset.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Self

from bridge.tunnel import sockets
from bridge.tunnel.relay import End

if TYPE_CHECKING:
    import socket

log = logging.getLogger(__name__)

BACKLOG = 4096
"""Connections that the kernel keeps while the loop is busy; more than that are made to try again (a second later)."""

Dial = Callable[[Callable[[], asyncio.Protocol], str, int], Awaitable[tuple[asyncio.Transport, asyncio.Protocol]]]
"""Connect to a host and port: ``loop.create_connection``, ``Connection.create_connection``, ..."""
Route = Callable[[tuple[str, int]], Iterable[Dial]]
"""The ways to a destination, in the order to try them."""
Take = Callable[[tuple[str, int], tuple[str, int]], Callable[[asyncio.Protocol], bool] | None]
"""Of a connection from a source to a destination: what joins a protocol with its other end, if that is at hand.

That returns False when the other end has gone meanwhile.
"""


class Outbound:
    """Accepts on ``listener`` and relays. ``async with Outbound(listener, route): ...``, on the loop.

    ``take`` gives what is connected already. ``destination`` tells where an accepted socket, which has come from an
    address, was going; the default asks netfilter.
    """

    def __init__(
        self,
        listener: socket.socket,
        route: Route,
        *,
        take: Take = lambda *_: None,
        destination: Callable[[Any, str], tuple[str, int]] = sockets.original_destination,
    ) -> None:
        self._listener = listener
        self._route = route
        self._take = take
        self._destination = destination
        self._server: asyncio.Server | None = None
        self._dialling: set[asyncio.Task[None]] = set()
        self._ends: set[_Accepted] = set()

    async def start(self) -> None:
        """Begin to accept."""
        sockets.allow_many_descriptors()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Accepted(self), sock=self._listener, backlog=BACKLOG)

    async def stop(self) -> None:
        """Accept no more, and reset what is open."""
        if self._server is not None:
            self._server.close()
        for task in self._dialling:
            task.cancel()
        for end in list(self._ends):
            end.reset()
        await asyncio.gather(*self._dialling, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # -- for accepted ends -----------------------------------------------------------------------------------------

    def accepted(self, end: _Accepted) -> None:
        """Find a way for a new connection: without any wait, where it was dialled already."""
        self._ends.add(end)
        source = end.transport.get_extra_info("peername")
        if source is None:  # it was reset before it was accepted
            end.reset()
            return
        try:
            destination = self._destination(end.transport.get_extra_info("socket"), source[0])
        except OSError as error:
            log.debug("a connection that was not redirected: %s", error)
            end.reset()
            return
        join_with = self._take(source[:2], destination)
        if join_with is None:
            self._dial(end, destination)
        elif not join_with(End(end)):
            end.reset()

    def ended(self, end: _Accepted) -> None:
        """Forget a connection."""
        self._ends.discard(end)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _dial(self, end: _Accepted, destination: tuple[str, int]) -> None:
        task = asyncio.get_running_loop().create_task(self._connect(end, destination))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)
        end.ended = task.cancel

    async def _connect(self, end: _Accepted, destination: tuple[str, int]) -> None:
        host, port = destination
        for dial in self._route(destination):
            try:
                await dial(lambda: End(end), host, port)
            except OSError as error:
                log.debug("%s:%d: %s", host, port, error)
            else:
                return
        end.reset()


class _Accepted(End):
    """The program's end of a relay."""

    __slots__ = ("_outbound",)

    def __init__(self, outbound: Outbound) -> None:
        super().__init__()
        self._outbound = outbound

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._outbound.accepted(self)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._outbound.ended(self)

"""The sandbox's resolver: a query goes as it is to the pod's nameserver, over TCP through the tunnel.

So names mean what they mean in the pod: nothing is resolved, rewritten or known here. Queries are pipelined on one TCP
connection a nameserver (RFC 7766), answered in any order, told apart by ids of ours. But CoreDNS and NodeLocal DNSCache
(miekg/dns) serve the queries of one connection one after the other, and one name may take seconds: a query is not put
behind one that is late, but on another connection, of a few. A connection that has gone silent is not kept.

    program --UDP--> [rules] --> DnsServer --> Resolver --> _Nameserver === TCP through the tunnel ===> pod's nameserver
                                 AnswerCache

What was answered a moment ago is answered again for as long as its records allow, and what is asked twice at once is
asked once. TCP queries of programs are ordinary outbound connections, not seen here.
"""

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable, Iterable, Sequence
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from bridge.clock import since_boot
from bridge.laptop.dns_cache import AnswerCache
from bridge.laptop.dns_message import Malformed, Query, identifier, with_identifier

if TYPE_CHECKING:
    import socket

log = logging.getLogger(__name__)

Dial = Callable[[Callable[[], asyncio.Protocol], str, int], Awaitable[tuple[asyncio.Transport, asyncio.Protocol]]]
"""``loop.create_connection``, from the pod."""

Reply = Callable[[bytes], None]
"""Takes an answer to where its query came from."""

PORT = 53
ANSWER = 4.0
"""Seconds that a nameserver has. glibc asks again after 5: the failure is told before."""
IN_FLIGHT = 8192
"""Queries at once to one nameserver: ids are 16 bits, and must not run out."""
CONNECTIONS = 8
"""To one nameserver at once: so many slow names hold up no other one."""
OLD = 0.05
"""Seconds beyond a round trip after which an answer is late: its name may be one that takes seconds."""
ROUND_TRIP = 1.0
"""Seconds that a round trip is taken for at most. What the link takes is known from what came quickest."""
SILENT = 1.0
"""Seconds without a byte, before a query is given up, that say its connection is dead. What was asked again just before
its time was over says nothing."""
IDLE = 30.0
"""Seconds that a connection beside the first is kept without a query."""


class Lost(Exception):
    """The connection to a nameserver ended before the answer came."""


class Pipeline:
    """The queries that are on their way over one TCP connection, without I/O.

    ``ask`` gives a query an id of its own and says what to send; ``receive`` takes what came and says which ids have
    which answers (with the queries' own ids again).
    """

    def __init__(self) -> None:
        # Our id -> the query's while its answer is waited for, and when it was asked; the oldest first.
        self._asked: dict[int, tuple[int | None, float]] = {}
        self._next = 0
        self._received = bytearray()

    @property
    def oldest(self) -> float:
        """When the oldest query without an answer was asked, be the answer waited for or not; inf: there is none."""
        return next((asked for _, asked in self._asked.values()), inf)

    def ask(self, query: bytes, now: float) -> tuple[int, bytes]:
        """Our id and the bytes to send, with their length in front (RFC 1035 section 4.2.2). Raises Lost when full."""
        if len(self._asked) >= IN_FLIGHT:
            raise Lost("too many queries at once")
        while self._next in self._asked:
            self._next = (self._next + 1) & 0xFFFF
        number = self._next
        self._next = (number + 1) & 0xFFFF
        self._asked[number] = identifier(query), now
        return number, struct.pack("!H", len(query)) + with_identifier(query, number)

    def receive(self, data: bytes) -> list[tuple[int, bytes]]:
        """Our ids and answers that are complete now. What nobody asked, or waits for any more, is dropped."""
        self._received += data
        answers = []
        while len(self._received) >= 2:
            end = 2 + int.from_bytes(self._received[:2], "big")
            if len(self._received) < end:
                break
            answer = bytes(self._received[2:end])
            del self._received[:end]
            number = identifier(answer)
            original, _ = self._asked.pop(number, (None, 0.0))
            if original is not None and len(answer) >= 12:
                answers.append((number, with_identifier(answer, original)))
        return answers

    def forget(self, number: int) -> None:
        """Nobody waits for this answer any more; the nameserver is at it all the same."""
        if number in self._asked:
            self._asked[number] = None, self._asked[number][1]


def choose(oldest: Sequence[float], *, since: float, room: bool) -> int | None:
    """Which connection takes a query, by when the ``oldest`` on each was asked; None: one that is to be opened.

    The first where none was asked before ``since``, so that the others fall idle. Where all are busy and there is no
    room for more, the one that has been busy for the shortest time.
    """
    for at, asked in enumerate(oldest):
        if asked >= since:
            return at
    return None if room or not oldest else oldest.index(max(oldest))


class _Connection(asyncio.Protocol):
    """Drives a Pipeline on a transport."""

    def __init__(self) -> None:
        self._pipeline = Pipeline()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._transport: asyncio.Transport | None = None
        self._now = asyncio.get_running_loop().time
        self.opened = self._heard = self._used = self._now()

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def oldest(self) -> float:
        """When the oldest query was asked that is not answered; inf without one."""
        return self._pipeline.oldest

    @property
    def used(self) -> float:
        """When it was of use last."""
        return self._now() if self._waiting else self._used

    async def ask(self, query: bytes) -> bytes:
        """Raises Lost."""
        if self._transport is None or self._transport.is_closing():
            raise Lost("closed")
        asked = self._now()
        number, data = self._pipeline.ask(query, asked)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._transport.write(data)
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)
            self._pipeline.forget(number)
            self._used = self._now()
            self._close_if_dead(asked)

    def _close_if_dead(self, asked: float) -> None:
        """After a query: where nothing came since it was asked, or all that is outstanding is what nobody waits for."""
        silent = self._heard <= asked <= self._now() - SILENT
        if silent or (not self._waiting and self.oldest < inf):
            self.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._heard = self._now()
        for number, answer in self._pipeline.receive(data):
            waiting = self._waiting.get(number)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

    def eof_received(self) -> None:
        """Nameservers close idle connections: the next query opens another (returning None closes this one)."""

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Lost(str(error or "closed by the nameserver")))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _Nameserver:
    """One nameserver, and the connections to it: one, and others while it is busy."""

    def __init__(self, dial: Dial, address: str, idle: float) -> None:
        self.address = address
        self._dial = dial
        self._idle = idle
        self._connections: list[_Connection] = []
        self._connecting = asyncio.Lock()
        self._round_trip = ROUND_TRIP

    async def ask(self, query: bytes) -> bytes:
        """Raises Lost, OSError. A connection that closes just then is no reason to fail: once more on a newer one."""
        asked = asyncio.get_running_loop().time()
        try:
            return await self._ask(query, await self.connect())
        except Lost:
            return await self._ask(query, await self.connect(newer_than=asked))

    async def connect(self, *, newer_than: float = -inf) -> _Connection:
        """An open connection that is not busy, or a new one, which all who ask meanwhile wait for. Raises OSError."""
        if connection := self._choose(newer_than):
            return connection
        async with self._connecting:
            return self._choose(newer_than) or await self._open(newer_than)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    async def _ask(self, query: bytes, connection: _Connection) -> bytes:
        asked = asyncio.get_running_loop().time()
        answer = await connection.ask(query)
        self._note_round_trip(asked)
        return answer

    def _choose(self, newer_than: float, *, room: bool = True) -> _Connection | None:
        self._connections = [each for each in self._connections if each.usable]
        oldest = [each.oldest if each.opened >= newer_than else -inf for each in self._connections]
        since = asyncio.get_running_loop().time() - self._round_trip - OLD
        at = choose(oldest, since=since, room=room and len(oldest) < CONNECTIONS)
        return None if at is None else self._connections[at]

    async def _open(self, newer_than: float) -> _Connection:
        """A new connection; where there can't be one, a busy one. Raises OSError."""
        began = asyncio.get_running_loop().time()
        try:
            _, protocol = await self._dial(_Connection, self.address, PORT)
        except OSError:
            if connection := self._choose(newer_than, room=False):
                return connection
            raise
        self._note_round_trip(began)
        connection = cast("_Connection", protocol)
        self._connections.append(connection)
        self._close_when_idle(connection)
        return connection

    def _note_round_trip(self, began: float) -> None:
        self._round_trip = min(self._round_trip, asyncio.get_running_loop().time() - began)

    def _close_when_idle(self, connection: _Connection) -> None:
        """Now, or look again when it may be; the first is kept."""
        if connection not in self._connections[1:]:
            return
        loop = asyncio.get_running_loop()
        left = connection.used + self._idle - loop.time()
        if left > 0:
            loop.call_later(left, self._close_when_idle, connection)
        else:
            connection.close()


class Resolver:
    """Asks the nameservers, in order; the one that answered last is asked first."""

    def __init__(self, dial: Dial, nameservers: Iterable[str], *, timeout: float = ANSWER, idle: float = IDLE) -> None:
        self._nameservers = [_Nameserver(dial, address, idle) for address in nameservers]
        self._timeout = timeout

    async def resolve(self, query: Query) -> bytes | None:
        """The answer, of whatever kind and size; None where no nameserver gives one."""
        for nameserver in list(self._nameservers):
            try:
                async with asyncio.timeout(self._timeout):
                    answer = await nameserver.ask(query.wire)
            except (Lost, OSError, TimeoutError) as error:
                log.debug("nameserver %s: %s", nameserver.address, error or "no answer")
            else:
                self._prefer(nameserver)
                return answer
        return None

    async def connect(self) -> None:
        """Open the first connection ahead of the first query. No error when it fails: the query will tell."""
        for nameserver in self._nameservers[:1]:
            try:
                async with asyncio.timeout(self._timeout):
                    await nameserver.connect()
            except (OSError, TimeoutError) as error:
                log.debug("nameserver %s: %s", nameserver.address, error)

    def close(self) -> None:
        """Close the connections."""
        for nameserver in self._nameservers:
            nameserver.close()

    def _prefer(self, nameserver: _Nameserver) -> None:
        if self._nameservers[0] is not nameserver:
            self._nameservers.remove(nameserver)
            self._nameservers.insert(0, nameserver)


class DnsServer:
    """Answers on the sandbox's DNS sockets: ``async with DnsServer(dial, nameservers, sockets=...)``, on the loop.

    ``tells``: whether a program is told that nobody answers (SERVFAIL). While the tunnel is made anew it is not: it
    asks again by itself, and the answer may be there then.
    """

    def __init__(
        self,
        dial: Dial,
        nameservers: Iterable[str],
        *,
        sockets: "Iterable[socket.socket]",
        timeout: float = ANSWER,
        tells: Callable[[], bool] = lambda: True,
    ) -> None:
        self._resolver = Resolver(dial, nameservers, timeout=timeout)
        self._cache = AnswerCache(since_boot)
        self._asked: dict[
            bytes, list[tuple[Query, Reply]]
        ] = {}  # a query without its id -> all who wait for its answer
        self._sockets = list(sockets)
        self._tells = tells
        self._endpoints: list[asyncio.BaseTransport] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to answer."""
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            endpoint, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self._received), sock=sock.dup())
            self._endpoints.append(endpoint)
        self._go(self._resolver.connect())

    async def stop(self) -> None:
        """Answer no more. The sockets stay open: they are the sandbox's."""
        for endpoint in self._endpoints:
            endpoint.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._resolver.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _received(self, wire: bytes, reply: Reply) -> None:
        try:
            query = Query.parse(wire)
        except Malformed as error:
            log.debug("dropped what is no DNS query: %s", error)
            return
        known = self._cache.get(wire)
        if known is not None:
            reply(query.fit(known))
        elif (waiting := self._asked.get(wire[2:])) is not None:
            waiting.append((query, reply))
        else:
            self._asked[wire[2:]] = [(query, reply)]
            self._go(self._answer(query))

    async def _answer(self, query: Query) -> None:
        try:
            answer = await self._resolver.resolve(query)
        finally:
            waiting = self._asked.pop(query.wire[2:])
        if answer is not None:
            self._cache.put(query.wire, answer)
        for each, reply in waiting:
            if answer is not None:
                reply(each.fit(with_identifier(answer, identifier(each.wire))))
            elif self._tells():
                reply(each.fit(each.servfail()))

    def _go(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Datagrams(asyncio.DatagramProtocol):
    """One UDP socket: hands on each query with the way to answer it."""

    def __init__(self, received: Callable[[bytes, Reply], None]) -> None:
        self._received = received
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._received(data, lambda answer: self._send(answer, address))

    def error_received(self, error: Exception) -> None:
        log.debug("a program did not wait for its answer: %s", error)

    def _send(self, answer: bytes, address: tuple[str, int]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(answer, address)

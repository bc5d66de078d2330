"""The sandbox's resolver: a query goes as it is to the pod's nameserver, over TCP through the tunnel.

So names mean what they mean in the pod: nothing is resolved, rewritten or known here. One TCP connection a nameserver
carries all queries (RFC 7766): pipelined, answered in any order, told apart by ids of ours.

    program --UDP--> [rules] --> DnsServer --> Resolver --> _Nameserver === TCP through the tunnel ===> pod's nameserver
                                 AnswerCache

What was answered a moment ago is answered again for as long as its records allow, and what is asked twice at once is
asked once. TCP queries of programs are ordinary outbound connections, not seen here.
"""

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable, Iterable
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


class Lost(Exception):
    """The connection to a nameserver ended before the answer came."""


class Pipeline:
    """The queries that are on their way over one TCP connection, without I/O.

    ``ask`` gives a query an id of its own and says what to send; ``receive`` takes what came and says which ids have
    which answers (with the queries' own ids again).
    """

    def __init__(self) -> None:
        self._asked: dict[int, int] = {}  # our id -> the query's
        self._next = 0
        self._received = bytearray()

    def ask(self, query: bytes) -> tuple[int, bytes]:
        """Our id and the bytes to send, with their length in front (RFC 1035 section 4.2.2). Raises Lost when full."""
        if len(self._asked) >= IN_FLIGHT:
            raise Lost("too many queries at once")
        while self._next in self._asked:
            self._next = (self._next + 1) & 0xFFFF
        number = self._next
        self._next = (number + 1) & 0xFFFF
        self._asked[number] = identifier(query)
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
            original = self._asked.pop(number, None)
            if original is not None and len(answer) >= 12:
                answers.append((number, with_identifier(answer, original)))
        return answers

    def forget(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        self._asked.pop(number, None)


class _Connection(asyncio.Protocol):
    """Drives a Pipeline on a transport."""

    def __init__(self) -> None:
        self._pipeline = Pipeline()
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._transport: asyncio.Transport | None = None

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, query: bytes) -> bytes:
        """Raises Lost."""
        if self._transport is None or self._transport.is_closing():
            raise Lost("closed")
        number, data = self._pipeline.ask(query)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._transport.write(data)
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)
            self._pipeline.forget(number)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
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
    """One nameserver, and the connection to it while there is one."""

    def __init__(self, dial: Dial, address: str) -> None:
        self.address = address
        self._dial = dial
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()

    async def ask(self, query: bytes) -> bytes:
        """Raises Lost, OSError. A connection that closes just then is no reason to fail: once more on a new one."""
        try:
            return await (await self.connect()).ask(query)
        except Lost:
            return await (await self.connect()).ask(query)

    async def connect(self) -> _Connection:
        """The open connection, or a new one, which all who ask meanwhile wait for. Raises OSError."""
        async with self._connecting:
            if self._connection is None or not self._connection.usable:
                self._connection = None
                _, protocol = await self._dial(_Connection, self.address, PORT)
                self._connection = cast("_Connection", protocol)
            return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class Resolver:
    """Asks the nameservers, in order; the one that answered last is asked first."""

    def __init__(self, dial: Dial, nameservers: Iterable[str], *, timeout: float = ANSWER) -> None:
        self._nameservers = [_Nameserver(dial, address) for address in nameservers]
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

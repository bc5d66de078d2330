"""Exact connect(): a program's SYN is held until it is known whether the destination accepts.

A redirected connection would succeed whatever the pod can reach, and then be reset; `nc -z`, wait-for-it scripts and
every connection pool would be told a lie. So the rules hold new outbound SYNs in a queue (nfnetlink_queue); the gate
asks ``decide``, which dials from the pod, and then has the kernel go on, or refuse as the pod would be:

    ACCEPTED      the SYN goes on, to be redirected to the listener        connect() succeeds
    REFUSED       a RST comes back                                         ECONNREFUSED
    UNREACHABLE   an ICMP host-unreachable comes back                      EHOSTUNREACH
    LOST          nothing comes back                                       the program's own timeout, as in the pod

A SYN that TCP sends again while it is held belongs to the same decision. What was dialled is parked until the
program's connection comes out of the listener (``Parked``).

Message formats: linux/netfilter/nfnetlink_queue.h. Attributes are in the machine's byte order, their values in network
byte order.
"""

import asyncio
import errno
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self, cast

from bridge.laptop.init import nfqueue, nft

log = logging.getLogger(__name__)

Address = tuple[str, int]
Dial = Callable[[Callable[[], asyncio.Protocol], str, int], Awaitable[tuple[asyncio.Transport, asyncio.Protocol]]]

_MSG_PACKET, _MSG_VERDICT = 3 << 8, (3 << 8) | 1
_PACKET_HDR, _VERDICT_HDR, _MARK, _PAYLOAD = 1, 2, 3, 10
_NF_DROP, _NF_ACCEPT = 0, 1
_REQUEST = 1
_TCP = 6
_AT_ONCE = 64  # packets read per turn of the loop
PATIENCE = 10.0
"""Seconds that a dialled connection waits for the program's: microseconds, unless the program has given up."""


class Verdict(Enum):
    """What becomes of a held SYN; the value is the mark by which the rules know it."""

    ACCEPTED = 0
    REFUSED = nft.REFUSED
    UNREACHABLE = nft.UNREACHABLE
    LOST = nft.LOST


def verdict_of(error: OSError) -> Verdict:
    """What the pod's failure to connect is for the program."""
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return Verdict.LOST
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return Verdict.UNREACHABLE
    return Verdict.REFUSED


# ---- the kernel's messages -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Held:
    """A packet that waits in the queue: its number there, and the connection that it would open."""

    number: int
    source: Address
    destination: Address


def parse(data: bytes) -> Iterator[Held]:
    """The held TCP packets in what was read from the queue's socket."""
    at = 0
    while at + 20 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if length < 20:
            return
        if kind == _MSG_PACKET:
            attributes = dict(_attributes(data, at + 20, at + length))
            if _PACKET_HDR in attributes and _PAYLOAD in attributes:
                number = struct.unpack_from("!I", attributes[_PACKET_HDR])[0]
                source, destination = _ends(attributes[_PAYLOAD])
                yield Held(number, source, destination)
        at += (length + 3) & ~3


def _attributes(data: bytes, at: int, end: int) -> Iterator[tuple[int, bytes]]:
    while at + 4 <= end:
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3


def _ends(packet: bytes) -> tuple[Address, Address]:
    """Source and destination from the IP and TCP headers. A SYN of our own kernel's has no IPv6 extension headers."""
    if packet[0] >> 4 == 4:
        start = (packet[0] & 0xF) * 4
        source, destination = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
    else:
        start = 40
        source = socket.inet_ntop(socket.AF_INET6, packet[8:24])
        destination = socket.inet_ntop(socket.AF_INET6, packet[24:40])
    ports = struct.unpack_from("!HH", packet, start)
    return (source, ports[0]), (destination, ports[1])


def render(number: int, verdict: Verdict | None) -> bytes:
    """The message that lets a held packet go on, with the verdict's mark; or drops it, with None."""
    action = _NF_DROP if verdict is None else _NF_ACCEPT
    mark = 0 if verdict is None else verdict.value
    body = struct.pack("!BBH", socket.AF_UNSPEC, 0, nfqueue.QUEUE)
    body += struct.pack("=HH", 12, _VERDICT_HDR) + struct.pack("!II", action, number)
    body += struct.pack("=HH", 8, _MARK) + struct.pack("!I", mark)
    return struct.pack("=IHHII", 16 + len(body), _MSG_VERDICT, _REQUEST, 0, 0) + body


class Gate:
    """Asks ``decide(source, destination)`` about each held connection. ``start`` and ``stop`` on the loop."""

    def __init__(self, queue: socket.socket, decide: Callable[[Address, Address], Awaitable[Verdict]]) -> None:
        self._queue = queue
        self._decide = decide
        self._deciding: dict[tuple[Address, Address], asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Begin to hold connections, and to decide."""
        nfqueue.bind(self._queue)
        asyncio.get_running_loop().add_reader(self._queue, self._readable)

    async def stop(self) -> None:
        """Hold no more: what comes now passes."""
        asyncio.get_running_loop().remove_reader(self._queue)
        nfqueue.unbind(self._queue)
        tasks = list(self._deciding.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _readable(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data = self._queue.recv(65536)
            except BlockingIOError:
                return
            for held in parse(data):
                self._hold(held)

    def _hold(self, held: Held) -> None:
        connection = held.source, held.destination
        if connection in self._deciding:
            self._send(held, None)  # the same SYN again: one is enough
            return
        task = asyncio.get_running_loop().create_task(self._settle(held))
        self._deciding[connection] = task
        task.add_done_callback(lambda _: self._deciding.pop(connection, None))

    async def _settle(self, held: Held) -> None:
        try:
            verdict = await self._decide(held.source, held.destination)
        except OSError as error:
            verdict = verdict_of(error)
        self._send(held, verdict)

    def _send(self, held: Held, verdict: Verdict | None) -> None:
        try:
            self._queue.send(render(held.number, verdict))
        except OSError as error:
            log.debug("verdict on %s: %s", held.destination, error)


# ---- what was dialled for a held connection --------------------------------------------------------------------------
class Flow(tuple[str, int]):
    """A destination, as (host, port), that also knows the source of the connection."""

    source: Address

    @classmethod
    def of(cls, source: Address, destination: Address) -> Self:
        """The flow from ``source`` to ``destination``."""
        flow = cls(destination)
        flow.source = source
        return flow


class Parking:
    """Connections dialled while a program's SYN was held, until the listener gives the program's.

    It stands between the relay and its routes: ``decide`` is for the Gate, ``where`` and ``route`` are for the relay
    instead of ``destination_of`` (which tells where an accepted socket was going) and ``route``.
    """

    def __init__(
        self,
        route: Callable[[Address], Iterable[Dial]],
        destination_of: Callable[[Any], Address],
        *,
        patience: float = PATIENCE,
    ) -> None:
        self._ordinary = route
        self._destination_of = destination_of
        self._patience = patience
        self._parked: dict[tuple[int, Address], _Parked] = {}

    async def decide(self, source: Address, destination: Address) -> Verdict:
        """Dial, and park what answers."""
        key = source[1], destination
        if key in self._parked:
            return Verdict.ACCEPTED
        verdict = Verdict.REFUSED
        for dial in self._ordinary(destination):
            try:
                _, protocol = await dial(_Parked, *destination)
            except OSError as error:
                verdict = verdict_of(error)
            else:
                self._park(key, cast("_Parked", protocol))
                return Verdict.ACCEPTED
        return verdict

    def where(self, sock: Any) -> Flow:
        """Where an accepted connection was going, and from where."""
        return Flow.of(sock.getpeername()[:2], self._destination_of(sock))

    def route(self, destination: Address) -> Iterable[Dial]:
        """The ways to a destination: what was dialled for this very connection, else the ordinary ones."""
        if isinstance(destination, Flow):
            parked = self._parked.pop((destination.source[1], (destination[0], destination[1])), None)
            if parked is not None:
                return [parked.hand_over]
        return self._ordinary(destination)

    def close(self) -> None:
        """Drop what nobody came for."""
        for parked in self._parked.values():
            parked.abort()
        self._parked.clear()

    def _park(self, key: tuple[int, Address], parked: "_Parked") -> None:
        self._parked[key] = parked
        asyncio.get_running_loop().call_later(self._patience, self._give_up, key, parked)

    def _give_up(self, key: tuple[int, Address], parked: "_Parked") -> None:
        if self._parked.get(key) is parked:
            del self._parked[key]
            parked.abort()


class _Parked(asyncio.Protocol):
    """A connection without its other end yet: what comes meanwhile is kept, and reading stops."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._early = b""
        self._eof = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        self._early += data
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._eof = True
        return True

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        self._transport = None

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def hand_over(
        self, factory: Callable[[], asyncio.Protocol], _host: str, _port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """In the shape of ``loop.create_connection``: the protocol sees a connection that is just made."""
        transport = self._transport
        if transport is None:
            raise ConnectionResetError(errno.ECONNRESET, "reset before it was used")
        protocol = factory()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if self._early:
            protocol.data_received(self._early)
        if self._eof:
            protocol.eof_received()
        elif not transport.is_closing():
            transport.resume_reading()
        return transport, protocol

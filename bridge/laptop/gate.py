"""Exact connect(): a program's SYN is held until it is known whether the destination accepts.

A redirected connection would succeed whatever the pod can reach, and then be reset; `nc -z`, wait-for-it scripts and
every connection pool would be told a lie. So the rules hold new outbound SYNs in a queue (nfnetlink_queue); the gate
asks ``decide``, which dials from the pod, and then has the kernel go on, or refuse as the pod would be:

    ACCEPTED      the SYN goes on, to be redirected to the listener        connect() succeeds
    REFUSED       a RST comes back                                         ECONNREFUSED
    UNREACHABLE   an ICMP host-unreachable comes back                      EHOSTUNREACH
    LOST          nothing comes back                                       the program's own timeout, as in the pod

A SYN that TCP sends again while it is held belongs to the same decision. What was dialled is parked until the
program's connection comes out of the listener (``Parking``).

Message formats: linux/netfilter/nfnetlink_queue.h. Attributes are in the machine's byte order, their values in network
byte order.
"""

import asyncio
import errno
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Self, cast

from bridge.laptop.init import nfqueue, nft

log = logging.getLogger(__name__)

Address = tuple[str, int]
Dial = Callable[[Callable[[], asyncio.Protocol], str, int], Awaitable[tuple[asyncio.Transport, asyncio.Protocol]]]

_MSG_PACKET, _MSG_VERDICT = 3 << 8, (3 << 8) | 1
_PACKET_HDR, _VERDICT_HDR, _MARK, _PAYLOAD = 1, 2, 3, 10
_NF_DROP, _NF_ACCEPT = 0, 1
_REQUEST = 1
_TCP = 6
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


Settle = Callable[[Verdict], None]
"""Tells the kernel what becomes of a held SYN."""


class Gate:
    """Asks ``decide(source, destination, settle)`` about each held connection. ``start`` and ``stop`` on the loop."""

    def __init__(
        self, queue: socket.socket, decide: Callable[[Address, Address, Settle], Coroutine[None, None, None]]
    ) -> None:
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
        try:
            data = self._queue.recv(65536)  # once: the loop calls again for what else there is
        except BlockingIOError:
            return
        for held in parse(data):
            self._hold(held)

    def _hold(self, held: Held) -> None:
        connection = held.source, held.destination
        if connection in self._deciding:
            self._send(held, None)  # the same SYN again: one is enough
            return
        deciding = self._decide(held.source, held.destination, partial(self._send, held))
        task = asyncio.get_running_loop().create_task(deciding)
        self._deciding[connection] = task
        task.add_done_callback(lambda _: self._deciding.pop(connection, None))

    def _send(self, held: Held, verdict: Verdict | None) -> None:
        try:
            self._queue.send(render(held.number, verdict))
        except OSError as error:
            log.debug("verdict on %s: %s", held.destination, error)


# ---- what was dialled for a held connection --------------------------------------------------------------------------
class Parking:
    """Connections dialled while a program's SYN was held, until the listener gives the program's.

    ``decide`` is for the Gate, ``take`` for the relay, which asks it before ``route``, the ways to a destination.
    """

    def __init__(self, route: Callable[[Address], Iterable[Dial]], *, patience: float = PATIENCE) -> None:
        self._route = route
        self._patience = patience
        self._parked: dict[tuple[int, Address], _Parked] = {}

    async def decide(self, source: Address, destination: Address, settle: Settle) -> None:
        """Dial, and park what answers. The kernel is told in the call in which the answer comes."""
        key = source[1], destination
        if key in self._parked:
            settle(Verdict.ACCEPTED)
            return

        def made(parked: _Parked) -> None:
            settle(Verdict.ACCEPTED)
            self._park(key, parked)

        verdict = Verdict.REFUSED
        for dial in self._route(destination):
            try:
                await dial(lambda: _Parked(made), *destination)
            except OSError as error:
                verdict = verdict_of(error)
            else:
                return
        settle(verdict)

    def take(self, source: Address, destination: Address) -> Callable[[asyncio.Protocol], bool] | None:
        """What was dialled for this very connection: ``hand_over`` of it, or None."""
        parked = self._parked.pop((source[1], destination), None)
        return None if parked is None else parked.hand_over

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

    def __init__(self, made: Callable[["_Parked"], None]) -> None:
        self._made = made
        self._transport: asyncio.Transport | None = None
        self._early = b""
        self._eof = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.pause_reading()
        self._made(self)

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

    def hand_over(self, protocol: asyncio.Protocol) -> bool:
        """Give it to ``protocol``, which sees a connection that is just made. False: it was reset meanwhile."""
        transport = self._transport
        if transport is None:
            return False
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if self._early:
            protocol.data_received(self._early)
        if self._eof:
            protocol.eof_received()
        elif not transport.is_closing():
            transport.resume_reading()
        return True

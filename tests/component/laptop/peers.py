"""Real peers for the sandbox: they listen on this machine's loopback, where the driver's tunnel ends."""

import asyncio
import socket
import struct
from types import TracebackType
from typing import Self

from bridge.tunnel.loop import EventLoop

A, PTR, TXT, AAAA, SRV = 1, 12, 16, 28, 33
NXDOMAIN = 3


class Server:
    """A TCP server on a free port of 127.0.0.1, on an event loop of its own."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = host
        self._loop = EventLoop()
        self.connections = 0

    def __enter__(self) -> Self:
        self._loop.start()
        self._server = self._loop.run(self._listen())
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run(self._stop())
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._connected, self._host, 0)

    async def _stop(self) -> None:
        self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class Echo(Server):
    """Sends back what comes; an HTTP request gets an answer that says so."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(65536)
        if first.startswith(b"GET "):
            writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")
            await writer.drain()
            return
        while first:
            writer.write(first)
            await writer.drain()
            first = await reader.read(65536)


def encode_name(name: str) -> bytes:
    labels = [label.encode() for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def decode_question(query: bytes) -> tuple[str, int]:
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels), struct.unpack_from("!H", query, at + 1)[0]


class Nameserver(Server):
    """A DNS server over TCP, like CoreDNS: answers a connection's queries one after the other, from ``zone``."""

    def __init__(self) -> None:
        super().__init__()
        db = "tasks-db.ns.svc.cluster.local"
        self.zone: dict[tuple[str, int], list[bytes]] = {
            (db, A): [socket.inet_aton("10.1.2.3")],
            ("slow.example", A): [socket.inet_aton("10.1.2.4")],
            (f"_http._tcp.{db}", SRV): [struct.pack("!HHH", 0, 100, 80) + encode_name(db)],
            ("3.2.1.10.in-addr.arpa", PTR): [encode_name(db)],
            ("large.example", TXT): [bytes([200]) + bytes([65 + n]) * 200 for n in range(25)],
        }
        self.asked: list[str] = []
        self.close_after: int | None = None  # queries of one connection
        self.silent = 0  # the first so many connections are accepted, and nothing is said on them
        self.open = 0
        self.closed = asyncio.Semaphore(0)

    async def wait_for_closed(self, connections: int) -> None:
        """Return when so many connections have ended; for other loops than this server's."""
        async with asyncio.timeout(5):
            for _ in range(connections):
                await asyncio.wrap_future(self._loop.submit(self.closed.acquire()))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            await self._answer_all(reader, writer, silent=self.connections <= self.silent)
        finally:
            self.open -= 1
            self.closed.release()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, silent: bool) -> None:
        answered = 0
        while True:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            query = await reader.readexactly(length)
            if answered == self.close_after:
                return
            answered += 1
            name, kind = decode_question(query)
            self.asked.append(name)
            if silent or name.startswith("never"):
                await reader.read()  # to its end: what comes behind is not answered either
                return
            if name.startswith("slow"):
                await asyncio.sleep(0.5)
            answer = self.answer(query, name, kind)
            writer.write(struct.pack("!H", len(answer)) + answer)

    def answer(self, query: bytes, name: str, kind: int) -> bytes:
        records = self.zone.get((name, kind), [])
        if name.endswith(".any.example"):
            records = [socket.inet_aton("10.1.2.3")]
        known = bool(records) or any(name == owner for owner, _ in self.zone)
        question = encode_name(name) + struct.pack("!HH", kind, 1)
        flags = 0x8580 | (0 if known else NXDOMAIN)
        header = query[:2] + struct.pack("!5H", flags, 1, len(records), 0, 0)
        body = b"".join(struct.pack("!HHHIH", 0xC00C, kind, 1, 5, len(data)) + data for data in records)
        return header + question + body

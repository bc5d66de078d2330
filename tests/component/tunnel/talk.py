"""Servers and clients for the tunnel's tests: plain asyncio streams, sockets where resets matter."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from bridge.tunnel.outbound import Outbound
from bridge.tunnel.ssh import Connection, connect
from tests.component.tunnel.forwarding import V4, Spdy
from tests.component.tunnel.peers import PortForwardServer, Sshd, port_forward

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """A TCP server on loopback; closes what it has left open."""
    writers: set[asyncio.StreamWriter] = set()
    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        writers.add(writer)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            writer.close()
            writers.discard(writer)

    server = await asyncio.start_server(one, "127.0.0.1", 0, backlog=4096)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


def with_reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the peer sees RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def connected(sshd: Sshd, wire: type[Spdy | V4] = Spdy) -> AsyncIterator[tuple[Connection, PortForwardServer]]:
    async with port_forward(sshd.port, wire) as server:
        connection = await connect(server.endpoint, sshd.keys, user=sshd.user)
        try:
            yield connection, server
        finally:
            connection.close()
            await connection.closed


async def refused(port: int, host: str = "127.0.0.1") -> None:
    """Return when nothing listens on ``port`` any more; TimeoutError after 5 s.

    The child that sshd forks for the session holds each listening socket, until it closes all that it inherited.
    """
    async with asyncio.timeout(5):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, port)
            except ConnectionRefusedError:
                return
            except ConnectionResetError:  # the socket was closed with this one in its queue
                continue
            writer.close()


def listening_socket() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(4096)
    return sock


@asynccontextmanager
async def outbound_to(connection: Connection, port: int) -> AsyncIterator[int]:
    """A port on the laptop's side whose connections are relayed to ``port`` on the pod's side."""
    listener = listening_socket()
    own = listener.getsockname()[1]
    ways = [connection.create_connection]
    async with Outbound(listener, lambda _: ways, destination=lambda *_: ("127.0.0.1", port)):
        yield own


class Collect(asyncio.Protocol):
    def __init__(self):
        loop = asyncio.get_running_loop()
        self.data = bytearray()
        self.more = asyncio.Event()
        self.eof = loop.create_future()
        self.lost = loop.create_future()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        assert type(data) is bytes
        self.data += data
        self.more.set()

    def eof_received(self):
        self.eof.set_result(None)
        return True

    def connection_lost(self, error):
        self.lost.set_result(error)

    async def wait_for(self, count):
        async with asyncio.timeout(10):
            while len(self.data) < count:
                self.more.clear()
                await self.more.wait()
        return bytes(self.data)

"""Connections into the sandbox, from bridge's event loop.

The sockets belong to the sandbox's network and bear the mark that its rules let through. init makes them ahead of need
and sends them in batches, so that a new connection waits for nobody.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Iterable

from bridge.laptop import messages


class Supply:
    """Marked sockets of the sandbox's network: init sends them ahead of need. For the event loop's thread."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._stock: deque[int] = deque()
        self._arrival: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def connect(self, addresses: Iterable[str], port: int) -> socket.socket:
        """A socket connected to the first of the addresses that accepts. Raises the OSError of the first."""
        refused: OSError | None = None
        for address in addresses:
            sock = await self.take()
            try:
                await _connect(sock, address, port)
            except OSError as error:
                sock.close()
                refused = refused or error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise refused or ConnectionRefusedError(f"nowhere to connect to for port {port}")

    async def take(self) -> socket.socket:
        """One socket, not connected: IPv6, for both families, where the kernel has it."""
        while not self._stock:
            try:
                _, descriptors = messages.receive(self._sock)
            except BlockingIOError:
                await self._arriving()
            except (messages.Closed, OSError) as error:
                raise ConnectionRefusedError("the sandbox has ended") from error
            else:
                self._stock.extend(descriptors)
        return socket.socket(fileno=self._stock.popleft())

    async def _arriving(self) -> None:
        if self._arrival is None:
            self._loop = asyncio.get_running_loop()
            self._arrival = self._loop.create_future()
            self._loop.add_reader(self._sock, self._arrived)
        await asyncio.shield(self._arrival)  # others wait for it too

    def _arrived(self) -> None:
        assert self._loop is not None
        self._loop.remove_reader(self._sock)
        arrival, self._arrival = self._arrival, None
        if arrival is not None and not arrival.done():
            arrival.set_result(None)

    def close(self) -> None:
        """From any thread. A reader must go on its loop's thread, before its descriptor is closed."""
        if self._arrival is not None and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._close)
        else:
            self._close()

    def _close(self) -> None:
        if self._arrival is not None:
            self._arrived()
        while self._stock:
            os.close(self._stock.popleft())
        self._sock.close()


async def _connect(sock: socket.socket, address: str, port: int) -> None:
    if sock.family == socket.AF_INET6 and ":" not in address:
        address = f"::ffff:{address}"
    await asyncio.get_running_loop().sock_connect(sock, (address, port))

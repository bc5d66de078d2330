"""The process's ports on the laptop's own localhost, for browser and debugger.

A port appears here when the process listens on it, and goes when it does not any more; connections that are open then
stay. Where the port itself cannot be had, another one stands for it until it is free: that is never a failure.
"""

import asyncio
import errno
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass

LAPTOP = "127.0.0.1"
FURTHER = 10000
"""8080 is at 18080 when it is taken."""


@dataclass(frozen=True)
class Opened:
    """The process's port is on the laptop's localhost now."""

    port: int


@dataclass(frozen=True)
class Closed:
    """The process does not listen on the port any more."""

    port: int


@dataclass(frozen=True)
class Elsewhere:
    """The process listens on the port, but the laptop's localhost can't have it, and why: it is at another one."""

    port: int
    at: int
    reason: str


Event = Opened | Closed | Elsewhere


class Published:
    """The ports that are published. For the event loop.

    ``accept``: gives the protocol for a connection accepted on a port (it relays to ``Sandbox.dial_inside``).
    ``tell``: is called with what happens, on the loop's thread.
    """

    def __init__(self, accept: Callable[[int], asyncio.Protocol], tell: Callable[[Event], None]) -> None:
        self._accept = accept
        self._tell = tell
        self._servers: dict[int, asyncio.Server] = {}
        self._elsewhere: dict[int, asyncio.Server] = {}

    @property
    def ports(self) -> frozenset[int]:
        """The ports that bridge has opened on the laptop."""
        return frozenset(self._servers) | {_port_of(server) for server in self._elsewhere.values()}

    async def update(self, listening: Collection[int]) -> None:
        """Publish exactly these ports, which the process listens on."""
        for servers in (self._servers, self._elsewhere):
            for port in servers.keys() - set(listening):
                servers.pop(port).close()
                self._tell(Closed(port))
        for port in sorted(set(listening) - self._servers.keys()):
            await self._open(port)

    async def stop(self) -> None:
        """Close all of them."""
        await self.update(())

    async def _open(self, port: int) -> None:
        try:
            self._servers[port] = await self._listen(port, at=port)
        except OSError as error:
            if port not in self._elsewhere:
                await self._open_elsewhere(port, _reason(error))
            return
        if port in self._elsewhere:
            self._elsewhere.pop(port).close()
        self._tell(Opened(port))

    async def _listen(self, port: int, *, at: int) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(lambda: self._accept(port), LAPTOP, at)

    async def _open_elsewhere(self, port: int, reason: str) -> None:
        """Open it where it is easily remembered, else anywhere, else at the next update."""
        for at in (port + FURTHER, 0):
            try:
                server = await self._listen(port, at=at)
            except (OSError, OverflowError):
                continue
            self._elsewhere[port] = server
            self._tell(Elsewhere(port, _port_of(server), reason))
            return


def _port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program listens on it"
    if error.errno == errno.EACCES:
        return "ports below 1024 need root (sysctl net.ipv4.ip_unprivileged_port_start)"
    return os.strerror(error.errno or 0)

"""The process's ports on the laptop's own localhost, for browser and debugger.

A port appears here when the process listens on it, and goes when it does not any more; connections that are open then
stay. A port that cannot be had here is reported once, and taken as soon as it is free: it is never a failure.
"""

import asyncio
import errno
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass

LAPTOP = "127.0.0.1"


@dataclass(frozen=True)
class Opened:
    """The process's port is on the laptop's localhost now."""

    port: int


@dataclass(frozen=True)
class Closed:
    """The process does not listen on the port any more."""

    port: int


@dataclass(frozen=True)
class Unavailable:
    """The process listens on the port, but the laptop's localhost can't have it, and why."""

    port: int
    reason: str


Event = Opened | Closed | Unavailable


class Published:
    """The ports that are published. For the event loop.

    ``accept``: gives the protocol for a connection accepted on a port (it relays to ``Sandbox.dial_inside``).
    ``tell``: is called with what happens, on the loop's thread.
    """

    def __init__(self, accept: Callable[[int], asyncio.Protocol], tell: Callable[[Event], None]) -> None:
        self._accept = accept
        self._tell = tell
        self._servers: dict[int, asyncio.AbstractServer] = {}
        self._unavailable: set[int] = set()

    @property
    def ports(self) -> frozenset[int]:
        """The ports that bridge has opened on the laptop."""
        return frozenset(self._servers)

    async def update(self, listening: Collection[int]) -> None:
        """Publish exactly these ports, which the process listens on."""
        for port in self._servers.keys() - set(listening):
            self._servers.pop(port).close()
            self._tell(Closed(port))
        self._unavailable &= set(listening)
        for port in sorted(set(listening) - self._servers.keys()):
            await self._open(port)

    async def stop(self) -> None:
        """Close all of them."""
        await self.update(())

    async def _open(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._servers[port] = await loop.create_server(lambda: self._accept(port), LAPTOP, port)
        except OSError as error:
            if port not in self._unavailable:
                self._unavailable.add(port)
                self._tell(Unavailable(port, _reason(error)))
            return
        self._unavailable.discard(port)
        self._tell(Opened(port))


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program listens on it"
    if error.errno == errno.EACCES:
        return "ports below 1024 need root (sysctl net.ipv4.ip_unprivileged_port_start)"
    return os.strerror(error.errno or 0)

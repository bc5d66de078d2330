"""Who answers on the laptop what comes for the pod's ports: servers in the sandbox, and with `bridge up` others too.

Inside             what listens in the sandbox
InsideOrOutside    that; else what listens on the laptop's own loopback, started by an IDE, say

Which of the laptop's ports are bridge's own is left out: bridge publishes there what listens in the sandbox.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

from bridge.laptop.listeners import ListenTable, laptop_table, ports4, ports6
from bridge.laptop.sandbox import Sandbox

Dialled = tuple[asyncio.Transport, asyncio.Protocol]


class Servers(Protocol):
    """Who answers. For the event loop."""

    def open(self) -> None:
        """Begin to look."""

    def close(self) -> None:
        """Look no more."""

    def ports(self) -> Collection[int]:
        """The ports on which something listens now."""

    def begun(self) -> Collection[int]:
        """Those of the ports that were not there when it was begun to look."""

    async def dial(self, factory: Callable[[], asyncio.Protocol], port: int) -> Dialled:
        """Connect to what listens on the port. Raises OSError."""


class Inside:
    """See the module's docstring."""

    def __init__(self, box: Sandbox) -> None:
        self._box = box

    def open(self) -> None:
        """The sandbox is looked at without."""

    def close(self) -> None:
        """The sandbox is looked at without."""

    def ports(self) -> Collection[int]:
        """The ports in the sandbox."""
        return self._box.listening()

    def begun(self) -> Collection[int]:
        """The sandbox was empty."""
        return self.ports()

    async def dial(self, factory: Callable[[], asyncio.Protocol], port: int) -> Dialled:
        """Connect in the sandbox."""
        return await self._box.dial_inside(factory, "localhost", port)


class InsideOrOutside:
    """See the module's docstring. ``published``: the ports that bridge itself has on the laptop."""

    def __init__(self, box: Sandbox, published: Callable[[], Collection[int]]) -> None:
        self._box = box
        self._published = published
        self._laptop: ListenTable | None = None
        self._before: Collection[int] = ()

    def open(self) -> None:
        """Begin to look at the laptop's ports."""
        self._laptop = laptop_table()
        self._before = self._outside().keys()

    def close(self) -> None:
        """Look at them no more: from now on nobody listens outside."""
        if self._laptop is not None:
            self._laptop.close()
            self._laptop = None

    def ports(self) -> Collection[int]:
        """The ports in either place."""
        return self._box.listening() | self._outside().keys()

    def begun(self) -> Collection[int]:
        """Without what the laptop had before."""
        return self._box.listening() | (self._outside().keys() - set(self._before))

    async def dial(self, factory: Callable[[], asyncio.Protocol], port: int) -> Dialled:
        """Connect in the sandbox; where nothing listens there, outside."""
        outside = self._outside()
        if port in outside and not self._box.is_accepting(port):
            return await asyncio.get_running_loop().create_connection(factory, outside[port], port)
        return await self._box.dial_inside(factory, "localhost", port)

    def _outside(self) -> dict[int, str]:
        """The ports on the laptop's loopback, and the address at which each is."""
        if self._laptop is None:
            return {}
        listeners = self._laptop.read()
        found = dict.fromkeys(ports6(listeners), "::1") | dict.fromkeys(ports4(listeners), "127.0.0.1")
        return {port: address for port, address in found.items() if port not in self._published()}

"""``localhost`` in the sandbox: what the process has there itself, else the laptop's servers, else the pod's sidecars.

Loopback inside is the kernel's own, so what the process has there costs nothing. The rules send to bridge only the
ports that listen on the laptop's loopback, or on the pod's; ``Localhost`` keeps these up to date, and has the process's
own ports published on the laptop.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from bridge.laptop.listeners import Listener, laptop_table, ports4, ports6

if TYPE_CHECKING:
    from bridge.laptop.published import Published
    from bridge.laptop.sandbox import Sandbox

INTERVAL = 0.3
"""Seconds between two looks at who listens: the kernel does not tell. One look costs less than half a millisecond."""


class Way(Enum):
    """Where a connection can be made from."""

    INSIDE = "inside"
    LAPTOP = "laptop"
    POD = "pod"


def ways(
    destination: tuple[str, int], *, pod_ips: Collection[str] = (), pod_ports: Collection[int] = ()
) -> tuple[Way, ...]:
    """The ways to try, in order, for a connection that came to the listener; each to the same host and port. Pure.

    ``pod_ports``: the ports that other containers have on the pod's loopback.
    """
    host, port = destination
    beside = (Way.POD,) if port in pod_ports else ()
    if _is_loopback(host):
        return (Way.INSIDE, Way.LAPTOP, *beside)
    if host in pod_ips:
        return (Way.INSIDE, *beside)
    return (Way.POD,)


@lru_cache
def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


@dataclass(frozen=True)
class Redirected:
    """The ports that the rules send to bridge: the laptop's, of 127.0.0.1 and of ::1, and the pod's."""

    laptop4: frozenset[int] = frozenset()
    laptop6: frozenset[int] = frozenset()
    pod_ports: frozenset[int] = frozenset()

    @classmethod
    def of(
        cls,
        laptop: Collection[Listener],
        inside: Collection[Listener],
        published: Collection[int],
        pod_ports: Collection[int] = (),
    ) -> "Redirected":
        """The pod's, and what listens on the laptop but for the process's own: inside, or published here by bridge."""
        laptop4 = ports4(laptop) - ports4(inside) - set(published)
        return cls(laptop4, ports6(laptop) - ports6(inside), frozenset(pod_ports))


class Localhost:
    """Keeps both sides' ports in step, and calls ``looked`` after each look.

    ``pod_ports`` tells what listens on the pod's loopback. ``run`` is a task for the event loop, until it is cancelled.
    """

    def __init__(
        self,
        box: "Sandbox",
        published: "Published",
        pod_ports: Callable[[], Collection[int]],
        looked: Callable[[], object] = lambda: None,
    ) -> None:
        self._box = box
        self._looked = looked
        self._published = published
        self._pod_ports = pod_ports
        self._redirected = Redirected()

    async def run(self) -> None:
        """Look, tell what has changed, again and again."""
        with closing(laptop_table()) as laptop:
            while True:
                await self.look(laptop.read())
                await asyncio.sleep(INTERVAL)

    async def look(self, laptop: Collection[Listener]) -> None:
        """One look, given who listens on the laptop."""
        inside = self._box.listeners()
        redirected = Redirected.of(laptop, inside, self._published.ports, self._pod_ports())
        if redirected != self._redirected and self._box.redirect_localhost(redirected):
            self._redirected = redirected
        await self._published.update({each.port for each in inside})
        self._looked()

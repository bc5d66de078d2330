"""What is said of ports: a process that listens, but not where the cluster sends to, is told of --expose.

Until something listens on a wanted port for the first time. Left out are ports that are no server's own: those of
debuggers, and those that the kernel chose (a program that wants to be found has a port of its own).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.plan.ports import Expose
from bridge.session.terminal import agrees

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from bridge.plan.ports import PortMap
    from bridge.session.narrator import Narrator
    from bridge.session.wanted import Wanted

PATIENCE = 1.0
"""Seconds in which a program that has opened one port may open the next one."""
DEBUGGERS = frozenset({5678, 9229, 5005, 2345})
"""Where debugpy, node --inspect, the JVM and delve listen, as their documentation has it."""


def kernels_choice() -> range:
    """The ports that the kernel gives to who does not say which (ip(7), ip_local_port_range)."""
    try:
        first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    except (OSError, ValueError):
        return range(32768, 61000)
    return range(int(first), int(last) + 1)


@dataclass(frozen=True)
class Mismatch:
    """What listens, and where the cluster sends to: none of the one is among the other."""

    listens: tuple[int, ...]
    wanted: tuple[PortMap, ...]

    @property
    def expose(self) -> Expose:
        """The likeliest remedy."""
        return Expose(pod=self.wanted[0].pod, laptop=self.listens[0])

    @property
    def certain(self) -> bool:
        """Whether there is no other remedy to be thought of."""
        return len(self.listens) == len(self.wanted) == 1

    def told(self, who: str) -> str:
        """Say so, and what to do; ``who`` listens."""
        ports, pod = _all(self.listens), _all([each.pod for each in self.wanted])
        return f"{who} listens on {ports}, the cluster sends to {pod}: use --expose {self.expose}"


class Noticing:
    """Notices a mismatch, once for the same ports. Pure: it gets the time (seconds)."""

    def __init__(self, *, not_servers: Collection[int]) -> None:
        self._not_servers = not_servers
        self._settled = False
        self._seen: tuple[int, ...] = ()
        self._since = 0.0
        self._told = False

    def look(self, listening: Collection[int], wanted: tuple[PortMap, ...], now: float) -> Mismatch | None:
        """Tell what is wrong, as soon as it is sure."""
        self._settled = self._settled or any(each.laptop in listening for each in wanted)
        if self._settled or not wanted:
            return None
        found = tuple(sorted(port for port in listening if port not in DEBUGGERS and port not in self._not_servers))
        if found != self._seen:
            self._seen, self._since, self._told = found, now, False
        if not found or self._told or now - self._since < PATIENCE:
            return None
        self._told = True
        return Mismatch(found, wanted)


class Advice:
    """Says it, and where it may ask, offers the remedy. On the event loop."""

    def __init__(self, wanted: Wanted, narrator: Narrator, *, who: str, may_ask: Callable[[], bool]) -> None:
        self._wanted = wanted
        self._narrator = narrator
        self._who = who
        self._may_ask = may_ask
        self._noticing = Noticing(not_servers=kernels_choice())
        self._question: asyncio.Task[None] | None = None
        self.listening: Collection[int] = ()
        """What listened when it was looked last."""

    def look(self, listening: Collection[int]) -> None:
        """Take what listens now."""
        self.listening = listening
        mismatch = self._noticing.look(listening, self._wanted.maps, asyncio.get_running_loop().time())
        if not self._wanted.ports.isdisjoint(listening):
            self.stop()
        if mismatch is None:
            return
        self._narrator.warn(mismatch.told(self._who))
        if mismatch.certain and self._may_ask():
            self.stop()
            self._question = asyncio.ensure_future(self._offer(mismatch.expose))

    def slow(self) -> str:
        """Say that it takes long, and what is waited for. From any thread."""
        ports, listening = _all(sorted(self._wanted.ports)), _all(sorted(self.listening))
        there = f"it listens on {listening}" if listening else "it listens on nothing"
        return f"the process does not accept connections on {ports} yet ({there}); until then the original answers"

    def stop(self) -> None:
        """Ask no more."""
        if self._question is not None:
            self._question.cancel()
            self._question = None

    async def _offer(self, expose: Expose) -> None:
        if await agrees(f"Send what comes to {expose.pod} to {expose.laptop} from now on?"):
            self._question = None  # not to be cancelled by what it leads to
            self._wanted.expose(expose)
            self._narrator.done(f"what the cluster sends to {expose.pod} goes to {expose.laptop} here")


def _all(ports: Collection[int]) -> str:
    return " and ".join(", ".join(map(str, ports)).rsplit(", ", 1))

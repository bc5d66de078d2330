"""The kubelet's readiness probe, answered end to end: keeper -> tunnel -> here, where the process is in sight.

A probe is held until the process is ready by the session's rule (``plan.probe``), so the pod turns Ready at that
moment, not at the next probe.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bridge.plan.probe import Rule
from bridge.session.inbox import Ready
from bridge.session.probing import HttpProbe

if TYPE_CHECKING:
    from bridge.laptop.servers import Servers
    from bridge.plan.probe import Probe
    from bridge.session.inbox import Inbox
    from bridge.session.wanted import Wanted

ANSWER_WITHIN = 7.0
"""Seconds that a probe is held for a process that is not ready yet; the keeper gives up after 8."""
LOOK_EVERY = 0.02
"""Seconds: the kernel tells nobody when a socket begins to listen."""
ASK_EVERY = 0.5
"""Seconds between two questions to a process that refuses, or says that it is not well."""


class Readiness:
    """Whether the process is ready, by the rule; on the event loop.

    `port` means one of the ports that the cluster sends to, not all: a debugged service seldom opens its metrics port,
    too. A target without ports is ready as soon as there is a process.
    """

    def __init__(self, probe: Probe, servers: Servers, wanted: Wanted, inbox: Inbox) -> None:
        self._probe = probe
        self._servers = servers
        self._wanted = wanted
        self._inbox = inbox
        self._http = HttpProbe(servers, probe.path)
        self._over = False
        self._started = asyncio.Event()

    def process_ended(self) -> None:
        """Note that the process has ended, and that what comes is held for the original: the pod stays Ready."""
        self._over = True
        self._started.set()

    def process_started(self) -> None:
        """Note that there is a process."""
        self._started.set()

    def process_gone(self) -> None:
        """Note that there is none any more, and that nothing was sent to it: the pod is not Ready."""
        self._started.clear()

    async def answer(self) -> bool:
        """Answer one probe; the session's main thread learns of a yes, too."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await self._started.wait()
                await self._ready()
        except TimeoutError:
            return False
        if not self._over:
            self._inbox.put(Ready())
        return True

    async def again(self) -> None:
        """Wait until another process is ready; until then the pod stays Ready, as the original answers through it."""
        while not await self._is_ready():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(self._pause)
        self._over = False

    async def _ready(self) -> None:
        while not (self._over or await self._is_ready()):  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(self._pause)

    @property
    def _pause(self) -> float:
        return ASK_EVERY if self._probe.rule is Rule.HTTP else LOOK_EVERY

    async def _is_ready(self) -> bool:
        match self._probe.rule:
            case Rule.PROCESS:
                return True
            case Rule.PORT:
                wanted = self._wanted.ports
                return not wanted or not wanted.isdisjoint(self._servers.ports())
            case Rule.HTTP:
                port = self._probe.port or next((each.laptop for each in self._wanted.maps), None)
                return port is None or await self._http.is_alive(port)

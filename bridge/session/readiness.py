"""The kubelet's readiness probe, answered end to end: keeper -> tunnel -> here, where the process is in sight.

A probe is held until the process accepts, so the pod turns Ready at that moment, not at the next probe.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bridge.session.inbox import Ready

if TYPE_CHECKING:
    from bridge.laptop.servers import Servers
    from bridge.session.inbox import Inbox
    from bridge.session.wanted import Wanted

ANSWER_WITHIN = 7.0
"""Seconds that a probe is held for a process that does not accept yet; the keeper gives up after 8."""
LOOK_EVERY = 0.02
"""Seconds: the kernel tells nobody when a socket begins to listen."""


class Readiness:
    """Whether the process accepts on one of the ports that the cluster sends to; on the event loop.

    One of them, not all: a debugged service seldom opens its metrics port, too. A target without ports is ready as soon
    as there is a process.
    """

    def __init__(self, servers: Servers, wanted: Wanted, inbox: Inbox) -> None:
        self._servers = servers
        self._wanted = wanted
        self._inbox = inbox
        self._over = False
        self._started = asyncio.Event()

    def process_ended(self) -> None:
        """Note that the process has ended, and that what comes is held for the original: the pod stays Ready."""
        self._over = True
        self._started.set()

    def process_started(self) -> None:
        """Note that there is a process."""
        self._started.set()

    async def answer(self) -> bool:
        """Answer one probe; the session's main thread learns of a yes, too."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await self._accepting()
        except TimeoutError:
            return False
        self._inbox.put(Ready())
        return True

    async def _accepting(self) -> None:
        await self._started.wait()
        while not self._is_accepting():  # noqa: ASYNC110  # nobody tells: LOOK_EVERY
            await asyncio.sleep(LOOK_EVERY)

    def _is_accepting(self) -> bool:
        wanted = self._wanted.ports
        return self._over or not wanted or not wanted.isdisjoint(self._servers.ports())

"""The heartbeat: an echo of the keeper, through all of the data path, every few seconds.

It tells both ends about each other. The laptop learns that the stream went silent (a laptop that slept, a Wi-Fi that
changed, a load balancer that drops packets: nobody else says so); the keeper learns that the laptop is there, and
restores when it is not.

Noticed after ``EVERY + SILENT`` seconds at the latest. They are counted by a clock that stands still while the laptop
sleeps, so the first echo after it wakes has its full time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

EVERY = 2.0
SILENT = 6.0


class Answering(Protocol):
    """The keeper; or, where that has its heartbeat already, sshd on one more connection."""

    def ping(self) -> Awaitable[float]:
        """Have it answer; return the seconds that it took. TunnelError when its connection is gone."""


async def until_silent(
    answering: Answering,
    answered: Callable[[float], object] = lambda _: None,
    *,
    every: float = EVERY,
    silent: float = SILENT,
) -> None:
    """Return when it has not answered for ``silent`` seconds. TunnelError when its connection ends.

    ``answered`` gets the seconds of each round trip.
    """
    while True:
        try:
            async with asyncio.timeout(silent):
                answered(await answering.ping())
        except TimeoutError:
            return
        await asyncio.sleep(every)

"""How a session lets go of its proxy pod: nothing that still comes to it may be refused, and nothing may last for ever.

Services go on sending to a pod for some moments after it was deleted, and a connection that was made before may still
carry a request. So, from when the process has ended:

    hold        what comes meanwhile waits for the original, however long it takes to start
    hand over   what comes from now on, and what is held, goes to the original, through the tunnel
    begin       the pod's end is expected: no new tie is made for it
                (the pod is deleted; its keeper goes on while we are tied to it)
    finish      LINGER seconds at least; then until what was handed over has found the original, and what is open
                has ended with an answer, or rests, DRAIN seconds at most; then the tie is closed

What rests is told by reading along what goes to the original (``tunnel.rejoin``): a request waits for its answer. What
was joined before that, to a replica that stood in, counts as at rest when nothing moves for QUIET.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bridge.tunnel.rejoin import relayed, until_at_rest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.session.joined import Joined
    from bridge.session.lifeline import Lifeline
    from bridge.session.readiness import Readiness
    from bridge.tunnel.line import Line
    from bridge.tunnel.loop import EventLoop

LINGER = 1.0
"""Seconds that the proxy pod is held after it was deleted: as long as Services may go on sending to it."""
DRAIN = 6.0
"""Seconds that connections to the original, through the proxy pod that goes, may take to come to their end."""
QUIET = 0.2
"""Seconds without a byte after which those that are not read along count as at rest: the connections of a pool."""


class Leaving:
    """The `swap.Parting` of a session. For the main thread; what it does happens on the loop."""

    def __init__(self, loop: EventLoop, line: Line, lifeline: Lifeline, joined: Joined, readiness: Readiness) -> None:
        self._loop = loop
        self._line = line
        self._lifeline = lifeline
        self._joined = joined
        self._readiness = readiness
        self._handed_over = False
        """Whether there is somebody for what is held; else it would be waited for in vain."""

    def hold(self) -> None:
        """Have what comes wait for the original, and the proxy pod stay where it comes to."""
        self._loop.call(self._joined.hold_for_original)
        self._loop.call(self._readiness.process_ended)

    def hand_over(self, originals: Sequence[str]) -> None:
        """Have the original at these addresses answer what still comes to the proxy pod, also what is held now."""
        self._loop.call(self._joined.hand_over, originals)
        self._handed_over = bool(originals)

    def begin(self) -> None:
        """Expect the proxy pod to end."""
        self._loop.run(self._lifeline.let_be())

    def finish(self) -> None:
        """Let what is open come to its end, for some seconds, and let go of the proxy pod."""
        self._loop.run(self._drained())

    async def _drained(self) -> None:
        tie = self._lifeline.tie
        if tie is not None and not tie.connection.closed.done():
            deadline, moved = time.monotonic() + DRAIN, -1
            await asyncio.sleep(LINGER)
            for each in tie.inbound:
                each.leave()
            # On a busy machine what is held may take longer than LINGER to be joined to the original.
            await until_at_rest(lambda: tie.inbound if self._handed_over else relayed(tie.inbound), DRAIN - LINGER)
            while any(each.unread for each in tie.inbound) and time.monotonic() < deadline:
                before, moved = moved, self._line.totals.bytes_in + self._line.totals.bytes_out
                if before == moved:
                    break
                await asyncio.sleep(QUIET)
        await self._lifeline.release()

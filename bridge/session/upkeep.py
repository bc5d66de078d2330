"""What bridge looks after while a session lasts, beside process and tunnel: on the event loop, every few seconds.

    its Lease     renewed, as long as the keeper does not do it
    its target    looked at when it or its Services have changed, and now and then: who else changes it is told, each
                  change once; Services are narrowed again. Where they can't be watched: every few seconds

What asks the API server does so from a thread of the loop's pool; a cluster that is out of reach is no news here: the
lifeline tells.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Protocol

from bridge.errors import BridgeError
from bridge.plan.drift import Drift, drift
from bridge.plan.objects import name_of
from bridge.plan.undo import record_of
from bridge.session.changes import Target
from bridge.session.claims import renew_lease
from bridge.session.noticing import Watches

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.cluster import Cluster
    from bridge.session.narrator import Narrator
    from bridge.session.swap import Swap

log = logging.getLogger(__name__)

LOOK_EVERY = 5.0
RARELY = 60.0
"""Seconds between two looks at what is watched, should a change have slipped by."""
TOGETHER = 0.5
"""Seconds from a change to the look at it: few come alone."""
ASKING = 3.0
"""Seconds for a request: the next look is soon."""


class Over(Protocol):
    """Takes that the swap has ended in the cluster."""

    def __call__(self, reason: str, *, again: bool | None) -> object:
        """Take it; ``again``: whether it is to be begun anew, None: if nobody but the keeper can have ended it."""


class Upkeep:
    """Looks after the session's ``swap``, which is the one of the moment.

    ``looks`` says whether its target is to be looked at. ``stand_ins`` gets the addresses of the replicas of the
    original whenever ``stands_in`` says that they answer: it may be others by now. ``other`` is called when the
    target's pods are made otherwise by now.
    """

    def __init__(
        self,
        cluster: Cluster,
        swap: Callable[[], Swap],
        *,
        renews: Callable[[], bool],
        over: Over,
        looks: Callable[[Swap], bool],
        stands_in: Callable[[], bool],
        stand_ins: Callable[[Sequence[str]], object],
        other: Callable[[], object],
        narrator: Narrator,
    ) -> None:
        self._cluster = cluster
        self._swap = swap
        self._renews = renews
        self._over = over
        self._looks = looks
        self._stands_in = stands_in
        self._stand_ins = stand_ins
        self._other = other
        self._narrator = narrator
        self._told: frozenset[str] = frozenset()
        self._renewed = 0.0
        self._changed = asyncio.Event()
        self._watches: Watches | None = None
        self._watched: Swap | None = None

    async def run(self, *, grace: float) -> None:
        """Look, again and again, until it is cancelled."""
        try:
            await self._keep(min(max(grace / 3, 1.0), LOOK_EVERY * 2))
        finally:
            self._stop_watching()

    async def _keep(self, beat: float) -> None:
        looked, due = time.monotonic(), False
        while True:
            due = await self._has_changed(min(beat, LOOK_EVERY)) or due
            swap = self._swap()
            try:
                if self._renews() and time.monotonic() - self._renewed >= beat * 0.9:
                    await asyncio.to_thread(self._renew, swap)
                if (
                    self._looks(swap)
                    and not swap.ended
                    and (due or time.monotonic() - looked >= self._every(swap) * 0.9)
                ):
                    looked, due = time.monotonic(), True
                    self._watch(swap)
                    await self._look_at(swap)
                    due = False
            except BridgeError as error:  # the next look is soon
                log.debug("the session was not looked after this time: %s", error)
            except Exception:  # a bug in looking must not end the heartbeat
                log.exception("the session was not looked after this time")

    def moved(self) -> None:
        """Note that the network is another by now: what is watched over the one before may tell nothing any more."""
        self._stop_watching()
        self.wake()

    def wake(self) -> None:
        """Look soon: there is news."""
        self._changed.set()

    async def _has_changed(self, within: float) -> bool:
        """Wait for a change, so many seconds at the most; say whether there was one."""
        try:
            async with asyncio.timeout(within):
                await self._changed.wait()
        except TimeoutError:
            return False
        await asyncio.sleep(TOGETHER)
        self._changed.clear()
        return True

    def _every(self, swap: Swap) -> float:
        """Return after how many seconds to look though nothing has changed, as far as is known."""
        watched = self._watched is swap and self._watches is not None and self._watches.complete
        return RARELY if watched and not self._stands_in() else LOOK_EVERY  # addresses of pods are not watched

    def _watch(self, swap: Swap) -> None:
        if self._watched is swap or swap.record is None:
            return
        self._stop_watching()
        paths = [swap.record.path, *map(swap.record.service_path, swap.plan.services)]
        wake = partial(asyncio.get_running_loop().call_soon_threadsafe, self._changed.set)
        self._watches, self._watched = Watches(self._cluster, paths, wake), swap

    def _stop_watching(self) -> None:
        if self._watches is not None:
            self._watches.close()
        self._watches = self._watched = None

    async def look(self) -> None:
        """Look once, now."""
        try:
            await self._look_at(self._swap())
        except BridgeError as error:
            log.debug("the session was not looked at: %s", error)

    async def _look_at(self, swap: Swap) -> None:
        self._tell(swap, await asyncio.to_thread(self._look, swap))
        if self._stands_in():
            self._stand_ins(await asyncio.to_thread(swap.stand_ins))

    def _renew(self, swap: Swap) -> None:
        if swap.plan.lease:
            with self._cluster.anew(timeout=ASKING) as cluster:
                renew_lease(cluster, name_of(swap.plan.lease), swap.plan.session)
            self._renewed = time.monotonic()

    def _look(self, swap: Swap) -> Drift:
        record = swap.record
        if record is None:
            return Drift()
        with self._cluster.anew(timeout=ASKING) as cluster:
            names = swap.plan.services if swap.taken else ()
            services = [service for name in names if (service := cluster.find(record.service_path(name)))]
            workload = Target(cluster, record).current()
            # What else speaks for the swap is of interest only where the target does not: less to ask, each time.
            claimed = workload is not None and record_of(workload) is None and swap.is_claimed(cluster)
            found = drift(record, workload, services, claimed=claimed, template=swap.plan.template)
            if found.widened:
                swap.narrow_again(cluster, found.widened)
            if found.lost:
                swap.record_again(cluster)
        return found

    def _tell(self, swap: Swap, found: Drift) -> None:
        if swap is not self._swap() or swap.ended:
            return  # it ended while we looked
        if found.other:
            self._other()
        if found.over:
            self._over(found.over, again=found.again or None)
        for note in found.notes:
            if note not in self._told:
                self._narrator.warn(note)
        self._told = frozenset(found.notes)

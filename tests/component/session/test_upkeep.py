"""What is looked after while a session lasts: its Lease, and what others do to its target."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bridge.plan.access import Right
from bridge.plan.lease import Claim
from bridge.plan.undo import record_of
from bridge.session import noticing
from bridge.session import upkeep as upkeep_module
from bridge.session.inbox import Inbox, SessionOver
from bridge.session.request import ClusterChoice, RestoreRequest
from bridge.session.restore import restore
from bridge.session.upkeep import Upkeep
from bridge.wire.marks import SESSION_LABEL
from tests.component.cluster.apiserver import status
from tests.component.session.world import LEASE, SERVICE, WEB, S, World
from tests.unit.session.telling import Told

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bridge.cluster import Cluster
    from bridge.session.noticing import Watches
    from bridge.session.swap import Swap
    from tests.component.cluster.apiserver import ApiServer

UNDO = "bridge.internal/undo"
LONG_AGO = "2026-01-01T00:00:00.000000Z"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_EVERY", "RARELY", "TOGETHER"):
        monkeypatch.setattr(upkeep_module, name, 0.03)
    monkeypatch.setattr(noticing, "AGAIN_AFTER", 0.02)


@pytest.fixture
def _by_watching_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep_module, "RARELY", 3600.0)


class Kept:
    """A swap, begun or taken, and what looks after it."""

    def __init__(
        self, world: World, *, taken: bool = True, renews: bool = True, looks: bool = False, stands_in: bool = True
    ) -> None:
        self.world, self.told, self.inbox = world, Told(), Inbox()
        self.stand_ins: list[list[str]] = []
        self.others = 0
        self.swap: Swap = world.swap()
        self.swap.begin()
        if taken:
            self.swap.take(world.proxy)
        world.kube.log.clear()
        self.upkeep = Upkeep(
            world.cluster,
            lambda: self.swap,
            renews=lambda: renews,
            over=lambda reason, *, again: self.inbox.put(SessionOver(reason, session=S, again=bool(again))),
            looks=lambda swap: swap.taken or looks,
            stands_in=lambda: stands_in,
            stand_ins=self.stand_ins.append,
            other=self._is_other,
            narrator=self.told,
        )

    def _is_other(self) -> None:
        self.others += 1

    def until(self, condition: Callable[[], object], *further: Callable[[], object]) -> None:
        """Let it look until that is so; ``further``: what is done then, and what is waited for next, in turn."""

        async def main() -> None:
            keeping = asyncio.ensure_future(self.upkeep.run(grace=30))
            async with asyncio.timeout(20):
                for number, each in enumerate((condition, *further)):
                    while not each() and number % 2 == 0:  # bounded
                        assert not keeping.done(), keeping
                        await asyncio.sleep(0.005)
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

        asyncio.run(main())

    def looks(self, count: int) -> Callable[[], bool]:
        """Whether the target was looked at so often."""
        return lambda: self.world.kube.log.count("GET deployments/web") >= count

    def over(self) -> object:
        return self.inbox.get(deadline=time.monotonic())


def test_the_lease_is_renewed_as_long_as_the_keeper_does_not(world: World) -> None:
    kept = Kept(world, taken=False)
    world.kube.change(LEASE, {"spec": {"renewTime": LONG_AGO}})
    kept.until(lambda: world.kube.objects[LEASE]["spec"]["renewTime"] != LONG_AGO)
    assert Claim.of(world.kube.objects[LEASE]).session == S


def test_a_keeper_that_renews_it_is_left_to_it(world: World) -> None:
    kept = Kept(world, renews=False)
    kept.until(kept.looks(3))
    assert world.kube.asked("PATCH") == []
    assert kept.told.all == []


def test_a_look_at_a_target_that_is_as_it_was_left_asks_for_it_and_its_services_alone(world: World) -> None:
    kept = Kept(world, renews=False, stands_in=False)
    kept.until(kept.looks(3))
    assert set(world.kube.log) == {"GET services/web", "GET deployments/web"}


def test_a_lease_of_somebody_else_is_not_renewed(world: World) -> None:
    kept = Kept(world, taken=False)
    world.kube.change(LEASE, {"metadata": {"labels": {SESSION_LABEL: "zzzz2345"}}, "spec": {"renewTime": LONG_AGO}})
    kept.until(lambda: world.kube.log.count(f"GET leases/{LEASE.rpartition('/')[2]}") >= 3)
    assert world.kube.objects[LEASE]["spec"]["renewTime"] == LONG_AGO


def test_a_service_that_somebody_applied_is_narrowed_again(world: World) -> None:
    kept = Kept(world)
    world.kube.change(SERVICE, {"spec": {"selector": {SESSION_LABEL: None}}})
    kept.until(lambda: world.selected() == S and kept.told.said("warn"))
    assert "somebody changed service/web" in kept.told.said("warn")[0]


def test_a_record_that_a_rollback_took_is_there_again_while_the_lease_is_ours(world: World) -> None:
    kept = Kept(world)
    world.kube.change(WEB, {"metadata": {"annotations": {UNDO: None}}})
    kept.until(lambda: record_of(world.kube.objects[WEB]) and kept.told.said("warn"))
    assert record_of(world.kube.objects[WEB]) == kept.swap.record
    assert kept.over() is None


def without_leases(world: World) -> World:
    """With a session whose user may not use them."""
    world.situation = world.situated(lacking=(Right("create", "coordination.k8s.io", "leases", "x"),))
    return world


@pytest.mark.parametrize("services", [True, False], ids=["a narrowed Service", "its ReplicaSet"])
def test_a_record_that_a_rollback_took_is_there_again_where_there_are_no_leases(world: World, services: bool) -> None:
    """It was believed to have been restored; and at the end the only count of its replicas was removed."""
    without_leases(world)
    if not services:
        world.situation = replace(world.situation, services=())
    kept = Kept(world)
    world.kube.change(WEB, {"metadata": {"annotations": {UNDO: None}}})
    kept.until(lambda: record_of(world.kube.objects[WEB]) and kept.told.said("warn"))
    assert record_of(world.kube.objects[WEB]) == kept.swap.record
    assert kept.over() is None


def is_over(kept: Kept) -> None:
    """It is seen that somebody has restored it."""
    found: list[object] = []
    kept.until(lambda: found.append(kept.over()) or found[-1])
    assert found[-1] == SessionOver("deployment/web was restored", session=S, again=False)
    assert record_of(kept.world.kube.objects[WEB]) is None


@pytest.mark.parametrize("left", ["lease", "service"])
def test_a_target_that_is_just_being_restored_ends_the_session(world: World, left: str) -> None:
    """Record and replicas are put back in one step; what else there is of it goes later."""
    kept = Kept(world)
    if left == "service":
        world.kube.remove(LEASE)
    world.kube.change(WEB, {"metadata": {"annotations": {UNDO: None}}, "spec": {"replicas": 2}})
    is_over(kept)


def test_a_record_that_goes_where_no_replicas_were_taken_out_ends_the_session_though_a_service_is_narrowed(
    api: ApiServer, client: Cluster, tmp_path: Path
) -> None:
    """Replicas do not tell who restores it then; and a rollback has taken nothing that is needed."""
    kept = Kept(without_leases(World(api, client, tmp_path, keep_original=True)))
    kept.world.kube.change(WEB, {"metadata": {"annotations": {UNDO: None}}})
    is_over(kept)


@pytest.mark.parametrize("how", ["keep_original", "fallback"])
def test_a_restore_ends_a_session_that_lives_also_where_it_has_taken_out_no_replicas(
    api: ApiServer, client: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Its Lease was still there when the record was gone: so it wrote that again, and went on."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    world = World(api, client, tmp_path / "ours", **{how: True})
    world.kube.change(WEB, {"spec": {"replicas": 1}})  # the one that a fallback keeps
    world.situation = world.situated()
    kept = Kept(world)
    world.kube.before("PATCH services", lambda: asyncio.run(kept.upkeep.look()))
    where = ClusterChoice(kubeconfig=str(tmp_path / "config"))
    restore(RestoreRequest(where=where, name="web", timeout=5), Told())
    assert kept.over() == SessionOver("deployment/web was restored", session=S, again=False)
    assert (record_of(world.kube.objects[WEB]), world.selected()) == (None, None)
    assert world.kube.of_session() == []


def test_who_scales_the_original_is_told_once(world: World) -> None:
    kept = Kept(world)
    world.kube.change(WEB, {"spec": {"replicas": 4}})
    kept.until(kept.looks(5))
    (warning,) = kept.told.said("warn")
    assert "somebody scaled deployment/web to 4" in warning


def test_a_cluster_that_can_not_be_reached_is_looked_at_again(world: World) -> None:
    kept = Kept(world)
    for number in (1, 2):
        world.kube.fail("GET deployments/web", number)
    kept.until(kept.looks(4))
    assert kept.told.all == []


def test_a_bug_does_not_end_the_heartbeat(world: World, caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept(world)
    answers = [True]  # and then none: IndexError, each second time
    kept.upkeep._renews = lambda: answers.pop() if answers else answers.append(True) or answers[7]
    kept.until(lambda: world.kube.log.count("PATCH leases/bridge-deployment-web") >= 2)
    assert "IndexError" in caplog.text


def test_a_swap_that_ends_is_looked_at_no_more(world: World) -> None:
    kept = Kept(world)
    kept.swap.undo()
    world.kube.log.clear()
    kept.until(lambda: len(world.kube.log) >= 3)
    assert kept.told.all == []
    assert not kept.looks(1)()


def test_who_stands_in_is_looked_for_again_and_again(world: World) -> None:
    """The replica that was kept may be replaced by another one, with another address."""
    kept = Kept(world)
    kept.until(lambda: len(kept.stand_ins) >= 2)
    assert kept.stand_ins[-1] == kept.swap.stand_ins()


def test_pods_that_are_made_otherwise_are_noticed_also_at_a_single_look(world: World) -> None:
    kept = Kept(world)
    asyncio.run(kept.upkeep.look())
    assert kept.others == 0
    web = world.kube.objects[WEB]
    world.kube.change(WEB, {"spec": {"template": {**web["spec"]["template"], "metadata": {"labels": {"app": "new"}}}}})
    asyncio.run(kept.upkeep.look())
    assert kept.others == 1
    world.kube.fail("GET deployments/web", 1)
    asyncio.run(kept.upkeep.look())  # the next look is soon
    kept.until(lambda: kept.others >= 2)


def test_services_of_a_target_that_is_claimed_only_are_left_as_they_are(world: World) -> None:
    kept = Kept(world, taken=False, looks=True)
    kept.until(kept.looks(3))
    assert world.selected() is None
    assert kept.told.all == []
    assert kept.over() is None


# ---- watches ---------------------------------------------------------------------------------------------------------
def only_watching(world: World) -> Kept:
    """One that looks because of what it watches alone."""
    return Kept(world, renews=False, stands_in=False)


def is_at_rest(kept: Kept) -> Callable[[], bool]:
    """Whether all is watched, and it has not looked for some times as long as it waits without watches."""
    seen, since = 0, time.monotonic()

    def look() -> bool:
        nonlocal seen, since
        watches: Watches | None = kept.upkeep._watches
        if watches is None or not watches.complete or len(kept.world.kube.log) != seen:
            seen, since = len(kept.world.kube.log), time.monotonic()
        return time.monotonic() - since > 0.3

    return look


@pytest.mark.usefixtures("_by_watching_alone")
@pytest.mark.parametrize(
    ("path", "change", "said"),
    [
        (WEB, {"spec": {"replicas": 4}}, "somebody scaled deployment/web to 4"),
        (SERVICE, {"spec": {"selector": {SESSION_LABEL: None}}}, "somebody changed service/web"),
    ],
)
def test_what_is_watched_is_looked_at_when_it_changes_and_not_else(
    world: World, path: str, change: dict[str, object], said: str
) -> None:
    kept = only_watching(world)
    kept.until(is_at_rest(kept), lambda: world.kube.change(path, change), lambda: kept.told.said("warn"))
    assert said in kept.told.said("warn")[0]


@pytest.mark.usefixtures("_by_watching_alone")
@pytest.mark.parametrize("forbidden", ["WATCH services", "WATCH deployments"])
def test_what_may_not_be_watched_is_looked_at_by_the_clock(world: World, forbidden: str) -> None:
    world.kube.forbidden.add(forbidden)
    kept = only_watching(world)
    kept.until(kept.looks(5))
    assert kept.told.all == []


@pytest.mark.usefixtures("_by_watching_alone")
def test_what_changes_while_the_api_server_is_away_is_noticed_when_it_is_back(world: World) -> None:
    kept = only_watching(world)

    def restart() -> None:
        world.api.answers = [status(503, "ServiceUnavailable")]
        world.kube.change(WEB, {"spec": {"replicas": 4}})  # wakes the watch that there is
        world.api.server.drop_all()

    def is_known_to_be_away() -> bool:
        watches = kept.upkeep._watches
        return watches is not None and not watches._standing

    def be_back() -> None:
        world.api.answers = [world.kube]

    kept.until(is_at_rest(kept), restart, is_known_to_be_away, be_back, lambda: kept.told.said("warn"))


@pytest.mark.usefixtures("_by_watching_alone")
def test_another_network_is_watched_over_connections_of_its_own(world: World) -> None:
    kept = only_watching(world)
    before: list[object] = []

    def move() -> None:
        before.append(kept.upkeep._watches)
        kept.upkeep.moved()

    kept.until(is_at_rest(kept), move, is_at_rest(kept))
    assert kept.upkeep._watches is None  # it has ended
    looked = world.kube.log.count("GET deployments/web")
    assert looked >= 2
    assert before[0] is not None


@pytest.mark.usefixtures("_by_watching_alone")
def test_no_watch_outlives_it(world: World) -> None:
    kept = only_watching(world)
    kept.until(is_at_rest(kept))
    until = time.monotonic() + 10
    while any(thread.name.startswith("bridge-watch") for thread in threading.enumerate()):
        assert time.monotonic() < until
        threading.Event().wait(0.01)
    assert time.monotonic() < until - 5  # not by the time limit of a watch

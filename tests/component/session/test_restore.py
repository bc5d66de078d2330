"""`bridge restore` and `bridge list` from another machine: with nothing but the cluster."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from bridge.cluster.errors import MissingRight
from bridge.errors import BridgeError, ClusterError, Forbidden, TargetError
from bridge.plan.objects import labels_of
from bridge.session.look import list_sessions
from bridge.session.request import ClusterChoice, RestoreRequest
from bridge.session.restore import restore
from bridge.session.sessions import Life, find_sessions
from bridge.session.store import this_laptops_store
from bridge.wire.marks import SESSION_LABEL, UNDO_ANNOTATION
from tests.component.session.kube import DEPLOYMENTS, REPLICA_SETS, SECRETS
from tests.component.session.world import LEASE, SERVICE, WEB, S, World
from tests.unit.plan.worlds import deployment
from tests.unit.session.telling import Told

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bridge.cluster import Cluster
    from tests.component.cluster.apiserver import ApiServer


@pytest.fixture(autouse=True)
def _another_laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))


@pytest.fixture
def world(world: World) -> World:
    """A target that is swapped."""
    world.whole(world.swap())
    return world


def where(world: World) -> ClusterChoice:
    return ClusterChoice(kubeconfig=str(world.folder.parent / "config"))


def restored(world: World, name: str | None = None) -> list[str]:
    return restore(RestoreRequest(where=where(world), name=name, timeout=5), Told())


def is_restored(world: World) -> None:
    assert world.as_is() == world.before
    assert world.kube.of_session() == []


def test_a_session_is_found_with_all_that_shows_of_it(world: World) -> None:
    (found,) = find_sessions(world.cluster)
    assert (found.session, found.namespace, found.target, found.holder) == (S, "ns", "deployment/web", "ann@laptop")
    assert (found.life, found.protection, found.services) == (Life.ALIVE, "keeper", ("web",))
    assert found.record
    assert found.claim
    assert found.heartbeat is not None


def test_what_a_dead_session_left_is_put_back_without_a_name(world: World) -> None:
    world.dies()
    assert restored(world) == [f"restored deployment/web (session {S} of ann@laptop)"]
    is_restored(world)
    assert restored(world) == ["nothing to restore in namespace ns"]


def test_a_session_that_lives_is_left_alone_unless_it_is_named(world: World) -> None:
    (line,) = restored(world)
    assert line == (f"left alone deployment/web (session {S} of ann@laptop): alive; name it to restore it all the same")
    assert world.replicas() == 0
    restored(world, "web")
    is_restored(world)


def test_a_name_that_nobody_has_swapped_is_told_with_those_that_are(world: World) -> None:
    with pytest.raises(TargetError, match="no session has swapped api") as caught:
        restored(world, "api")
    assert "deployment/web" in caught.value.hint


@pytest.mark.parametrize("lost", ["record", "lease", "replica set", "secret"])
def test_whatever_is_missing_of_a_session_the_rest_is_put_back(world: World, lost: str) -> None:
    world.dies()
    match lost:
        case "record":  # a rollback replaces a Deployment's annotations
            world.kube.change(WEB, {"metadata": {"annotations": {"bridge.internal/undo": None}}})
        case "lease":
            world.kube.remove(LEASE)
        case "replica set":
            world.kube.remove(f"{REPLICA_SETS}/bridge-web-{S}")
        case "secret":  # takes all that it owns along
            world.kube.remove(f"{SECRETS}/bridge-{S}")
    restored(world, S)
    is_restored(world)


def test_who_may_not_list_services_or_leases_restores_what_they_may(world: World) -> None:
    world.kube.forbidden = {"GET leases"}
    restored(world, "web")
    assert world.replicas() == 2


def test_who_may_not_list_a_kind_restores_all_the_same(world: World) -> None:
    """Leases, and the records on this laptop's disk, name the targets: each is read by its name."""
    world.kube.forbidden = {"GET statefulsets", "LIST deployments"}
    told = Told()
    restore(RestoreRequest(where=where(world), name="web", timeout=5), told)
    is_restored(world)
    assert "deployment/web is back: 2 of 2 Ready" in told.said("done")


def test_who_may_neither_list_nor_see_leases_restores_what_their_own_disk_names(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.kube.forbidden = {"LIST deployments", "GET leases"}
    (local,) = world.store.sessions()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "here"))
    this_laptops_store().write(replace(local, pid=1, started="another"))
    restored(world)
    is_restored(world)


def rolled_back(world: World) -> None:
    """A rollback replaces a Deployment's annotations."""
    world.kube.change(WEB, {"metadata": {"annotations": {UNDO_ANNOTATION: None}}})


def is_untouched(world: World, act: Callable[[], object]) -> BridgeError:
    """What is done fails, and has left all that may know how the target was; return why it failed."""
    before = world.kube.of_session(), world.as_is()
    with pytest.raises(BridgeError) as failed:
        act()
    assert (world.kube.of_session(), world.as_is()) == before
    return failed.value


def test_who_may_neither_list_nor_see_leases_restores_what_a_replica_set_names(world: World) -> None:
    world.kube.forbidden = {"LIST deployments", "GET leases"}
    restored(world, "web")
    is_restored(world)


def test_who_may_not_even_read_the_target_removes_nothing_and_is_told_all_rights(world: World) -> None:
    world.kube.forbidden = {"GET deployments", "GET leases"}
    error = is_untouched(world, lambda: restored(world, "web"))
    assert isinstance(error, Forbidden)
    assert "get deployments.apps web  (to read the target)" in error.message
    assert "kind: Role" in error.hint


def test_a_target_that_was_rolled_back_is_put_back_by_what_the_disk_knows(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.kube.forbidden = {"GET leases"}
    (local,) = world.store.sessions()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "here"))
    this_laptops_store().write(replace(local, pid=1, started="another"))
    rolled_back(world)
    assert restored(world) == [f"restored deployment/web (session {S} of ann@laptop)"]
    is_restored(world)


def test_a_target_of_which_a_replica_was_kept_is_put_back_when_it_was_rolled_back(
    api: ApiServer, client: Cluster, tmp_path: Path
) -> None:
    """The Lease's copy of the record said that none was left, so it was taken for restored, with one replica."""
    world = World(api, client, tmp_path / "kept", fallback=True)
    world.whole(world.swap())
    world.dies()
    rolled_back(world)
    restored(world)
    is_restored(world)


def test_a_target_of_which_nobody_knows_how_it_was_keeps_what_may_know(world: World) -> None:
    """It was left at 0 replicas, and called restored."""
    world.kube.forbidden = {"GET leases"}
    rolled_back(world)
    error = is_untouched(world, lambda: restored(world, "web"))
    assert isinstance(error, TargetError)
    assert f"deployment/web has 0 replicas, and the undo record of session {S} is not found" in error.message
    assert "kubectl scale deployment/web --replicas=N" in error.hint
    world.kube.change(WEB, {"spec": {"replicas": 2}})
    restored(world, "web")
    is_restored(world)


def test_a_session_that_was_killed_before_it_changed_its_target_is_removed(
    api: ApiServer, client: Cluster, tmp_path: Path
) -> None:
    world = World(api, client, tmp_path / "killed")
    world.kube.fail("PATCH deployments/web")
    with pytest.raises(ClusterError):
        world.swap().begin()
    world.kube.forbidden = {"GET leases"}  # nor is there a copy of the record
    restored(world, S)
    is_restored(world)


@pytest.mark.parametrize("lost", [False, True], ids=["on target and Lease", "on the Lease alone"])
def test_the_record_of_a_newer_bridge_keeps_what_knows_it(world: World, lost: bool) -> None:
    """The keeper was removed, and the target stayed as it was."""
    world.dies()
    newer = {"metadata": {"annotations": {UNDO_ANNOTATION: '{"version": 99}'}}}
    world.kube.change(LEASE, newer)
    world.kube.change(WEB, newer)
    if lost:
        rolled_back(world)
    error = is_untouched(world, lambda: restored(world))
    assert "the undo record is of version 99" in error.message
    assert error.hint == "Update bridge."


@pytest.mark.parametrize("record", ["{", '{"version": 99}'])
def test_a_record_that_cannot_be_read_keeps_nobody_from_the_sessions_beside_it(world: World, record: str) -> None:
    other = {**deployment(), "metadata": {"name": "other", "namespace": "ns", "annotations": {UNDO_ANNOTATION: record}}}
    world.kube.put(DEPLOYMENTS, other)
    assert [each.session for each in find_sessions(world.cluster)] == [S, ""]
    world.dies()
    told = Told()
    with pytest.raises(TargetError, match="deployment/other: the undo record"):
        restore(RestoreRequest(where=where(world), name=None, timeout=5), told)
    assert f"restored deployment/web (session {S} of ann@laptop)" in told.said("done")
    assert world.replicas() == 2


def beside(world: World) -> None:
    """Another session, that nobody knows whether it lives; it has no target."""
    world.kube.proxies_get_ready = False
    world.situation = world.situated(workload=None)
    world.swap("efgh2345").begin()


def test_a_session_that_cannot_be_restored_keeps_nobody_from_those_after_it(world: World) -> None:
    beside(world)
    world.dies()
    world.kube.change(WEB, {"metadata": {"annotations": {UNDO_ANNOTATION: '{"version": 99}'}}})
    told = Told()
    with pytest.raises(TargetError, match="the undo record is of version 99") as failed:
        restore(RestoreRequest(where=where(world), name=None, timeout=5), told)
    assert failed.value.hint == "Update bridge."
    assert told.said("done")[-1] == "restored a proxy pod without target (session efgh2345 of ann@laptop)"
    assert {labels_of(world.kube.objects[path])[SESSION_LABEL] for path in world.kube.of_session()} == {S}


def test_a_record_on_the_disk_that_cannot_be_removed_keeps_nobody_from_the_sessions_after_it(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    beside(world)
    world.dies()
    (tmp_path / "elsewhere/bridge/sessions" / f"{S}.json").mkdir(parents=True)
    assert len(restored(world)) == 2
    is_restored(world)
    assert f"the record of session {S} can't be removed" in caplog.text


def test_all_sessions_that_cannot_be_restored_are_told_with_the_next_step_for_the_first(world: World) -> None:
    beside(world)
    world.dies()
    world.kube.change(WEB, {"metadata": {"annotations": {UNDO_ANNOTATION: '{"version": 99}'}}})
    world.kube.fail("DELETE secrets/bridge-efgh2345")
    with pytest.raises(TargetError) as failed:
        restored(world)
    assert failed.value.hint == "Update bridge."
    assert failed.value.message.startswith("2 sessions could not be restored: deployment/web (session ")
    assert "; a proxy pod without target (session efgh2345 of ann@laptop): " in failed.value.message


def test_a_target_that_is_deleted_while_it_is_waited_for_leaves_the_rest_to_be_done(world: World) -> None:
    """Its Services were narrowed until the next run."""
    world.dies()

    def is_deleted() -> None:
        world.kube.before("GET deployments", lambda: world.kube.remove(WEB))

    world.kube.before("PATCH deployments/web", is_deleted)
    told = Told()
    restore(RestoreRequest(where=where(world), name=None, timeout=5), told)
    assert "deployment/web was deleted meanwhile. There is nothing to wait for." in told.said("warn")
    assert world.selected() is None
    assert world.kube.of_session() == []


def test_a_failure_at_any_request_is_made_up_for_by_another_try(world: World) -> None:
    world.dies()
    begun = len(world.kube.log)
    restored(world)
    for step, number in world.kube.steps(begun):
        again = World(world.api, world.cluster, world.folder)
        again.whole(again.swap())
        again.dies()
        again.kube.fail(step, number)
        errors: list[BridgeError] = []
        try:
            restored(again)
        except ClusterError as error:
            errors.append(error)
        if errors:
            restored(again)
        assert again.as_is() == again.before, (step, number)
        assert again.kube.of_session() == []


def test_objects_that_could_not_be_removed_are_found_again_where_no_lease_tells_of_them(world: World) -> None:
    """The Secret stayed, which nobody else can find, and what it owns: the ReplicaSet had been removed before."""
    world.dies()
    world.kube.forbidden = {"GET leases"}
    world.kube.fail(f"DELETE secrets/bridge-{S}")
    with pytest.raises(ClusterError):
        restored(world)
    restored(world)
    is_restored(world)


def test_a_record_that_cannot_be_read_is_told_though_nothing_else_is_left_of_its_session(world: World) -> None:
    world.dies()
    world.kube.remove(LEASE)
    world.kube.remove(f"{SECRETS}/bridge-{S}")  # takes all that it owns along
    world.kube.change(SERVICE, {"spec": {"selector": {SESSION_LABEL: None}}})
    edited = {"metadata": {"annotations": {UNDO_ANNOTATION: "{"}}}
    world.kube.change(WEB, edited)
    owner = {"kind": "Deployment", "name": "web", "uid": "u", "controller": True}
    copy = {"name": "web-1", "ownerReferences": [owner], **edited["metadata"]}
    world.kube.put(REPLICA_SETS, {"metadata": copy, "spec": {"replicas": 0}})
    (found,) = find_sessions(world.cluster)
    assert (str(found), found.life) == ("deployment/web (session ? of somebody)", Life.UNKNOWN)
    for name in (None, "web"):
        with pytest.raises(TargetError, match="deployment/web: the undo record can't be read"):
            restored(world, name)


def test_list_finds_the_namespaces_that_have_sessions(world: World) -> None:
    found, now = list_sessions(where(world), everywhere=True)
    assert [each.session for each in found] == [S]
    assert abs((now - datetime.now(UTC)).total_seconds()) < 60
    here, _ = list_sessions(where(world), everywhere=False)
    assert [each.session for each in here] == [S]


@pytest.mark.parametrize("refused", [f"GET /apis/{path}" for path in ("apps/v1/replicasets", "coordination.k8s.io")])
def test_list_takes_what_shows_everywhere_of_either_kind(world: World, refused: str) -> None:
    """It was refused altogether when the last of the two was."""
    world.kube.refuse = lambda words: words.startswith(refused)
    found, _ = list_sessions(where(world), everywhere=True)
    assert [each.session for each in found] == [S]


def test_list_says_so_when_nothing_may_be_listed_everywhere(world: World) -> None:
    world.kube.refuse = lambda words: words.startswith("GET /apis/")
    with pytest.raises(MissingRight):
        list_sessions(where(world), everywhere=True)

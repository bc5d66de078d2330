"""A swap and its way back, request by request, with an API server that can fail at each of them."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from bridge.cluster import connect
from bridge.cluster.errors import MissingRight
from bridge.errors import BridgeError, ClusterError, TargetError
from bridge.plan.access import Right
from bridge.plan.lease import build_lease
from bridge.plan.objects import labels_of
from bridge.plan.undo import record_of
from bridge.session import changes as changes_module
from bridge.session import traffic
from bridge.session.answering import NoProcess
from bridge.session.inbox import Exited, Inbox, SignalCame
from bridge.session.request import ClusterChoice
from bridge.session.signals import Signals
from bridge.session.supervise import ProcessEnding, Supervision
from bridge.session.wanted import Wanted
from bridge.wire.marks import SESSION_LABEL, UNDO_ANNOTATION
from tests.component.session.kube import DEPLOYMENTS, LEASES, PODS, REPLICA_SETS, SECRETS, Kube
from tests.component.session.world import LEASE, SERVICE, WEB, S, World
from tests.unit.plan.worlds import deployment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bridge.cluster import Cluster
    from bridge.session.intend import Situation
    from bridge.session.swap import Swap
    from tests.component.cluster.apiserver import ApiServer


def changes(kube: Kube) -> list[str]:
    """The requests that change something, in order."""
    return kube.asked("POST", "PATCH", "DELETE")


# ---- in order ----------------------------------------------------------------------------------------------------
def test_the_record_is_on_disk_before_anything_is_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> None:
        raise BridgeError("the undo record can't be written: disk full")

    monkeypatch.setattr(world.store, "write", full)
    with pytest.raises(BridgeError, match="disk full"):
        world.swap().begin()
    assert world.kube.log == []


def test_a_claim_goes_from_the_secret_to_the_lease_to_the_record(world: World) -> None:
    world.swap().begin()
    assert changes(world.kube)[0] == "POST secrets"
    claim = [line for line in changes(world.kube) if line in ("POST leases", "PATCH deployments/web")]
    assert claim == ["POST leases", "PATCH deployments/web"]
    record = record_of(world.kube.objects[WEB])
    assert record
    assert (record.session, record.replicas, record.swapped) == (S, 2, False)
    secret, lease = world.kube.objects[f"{SECRETS}/bridge-{S}"], world.kube.objects[LEASE]
    assert lease["metadata"]["ownerReferences"][0]["uid"] == secret["metadata"]["uid"]
    (local,) = world.store.sessions()
    assert (local.session, local.target) == (S, "deployment/web")
    assert world.replicas() == 2


def test_the_account_is_there_before_its_token_and_the_role_before_its_binding(world: World) -> None:
    swap = world.swap()
    swap.begin()
    made = world.kube.asked("POST")
    assert made[0] == "POST secrets"
    assert sorted(made[1:]) == sorted(
        f"POST {each}" for each in ("leases", "serviceaccounts", "secrets", "replicasets", "roles", "rolebindings")
    )
    assert made.index("POST serviceaccounts") < made.index("POST secrets", 1)
    assert made.index("POST roles") < made.index("POST rolebindings")
    assert f"{PODS}/{world.proxy}" in world.kube.objects


def test_services_are_narrowed_before_the_original_is_scaled_down(world: World) -> None:
    swap = world.swap()
    swap.begin()
    begun = len(changes(world.kube))
    swap.take(world.proxy)
    assert changes(world.kube)[begun:] == ["PATCH services/web", "PATCH deployments/web"]
    assert (world.selected(), world.replicas()) == (S, 0)
    record = record_of(world.kube.objects[WEB])
    assert record
    assert (record.swapped, record.replicas) == (True, 2)
    (local,) = world.store.sessions()
    assert local.undo == record.render()  # the disk knows the same


def test_the_way_back_is_the_way_in_reversed(world: World) -> None:
    swap = world.swap()
    world.whole(swap)
    begun = len(changes(world.kube))
    swap.undo()
    back = changes(world.kube)[begun:]
    assert back[:2] == ["PATCH deployments/web", "PATCH services/web"]
    assert back[2:4] == [f"DELETE secrets/bridge-{S}", f"DELETE replicasets/bridge-web-{S}"]
    world.is_as_before()


def test_the_original_is_ready_before_its_services_are_widened(world: World) -> None:
    swap = world.swap()
    world.whole(swap)

    def look() -> None:
        web = world.kube.objects[WEB]
        seen.append((web["spec"]["replicas"], web["status"]["readyReplicas"], world.selected()))

    seen: list[object] = []
    world.kube.before("", look, times=40)
    swap.undo()
    order = list(dict.fromkeys(seen))
    assert order == [(0, 0, S), (2, 2, S), (2, 2, None)]


class Parted:
    """What hangs on the proxy pod; notes when it was told what, and what was there then."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.heard: list[tuple[str, Any]] = []
        self.held = False

    def hold(self) -> None:
        self.held = not self.heard

    def hand_over(self, originals: Sequence[str]) -> None:
        self.heard.append((f"hand over to {', '.join(originals)}", (self.world.replicas(), self.world.selected())))

    def begin(self) -> None:
        self.heard.append(("begin", f"{PODS}/{self.world.proxy}" in self.world.kube.objects))

    def finish(self) -> None:
        self.heard.append(("finish", f"{PODS}/{self.world.proxy}" in self.world.kube.objects))


def test_what_still_comes_is_handed_over_when_the_original_is_ready_and_not_yet_sent_to(world: World) -> None:
    swap, parted = world.swap(), Parted(world)
    world.whole(swap)
    swap.undo(parted)
    assert parted.held
    assert parted.heard == [("hand over to 10.0.0.9, 10.0.0.9", (2, S)), ("begin", True), ("finish", False)]
    swap.undo(parted)  # once more does nothing
    assert len(parted.heard) == 3


def taken_by_another(world: World) -> tuple[Swap, Swap]:
    """A swap, and that of another session which has taken its target and Services."""
    first = world.swap()
    world.whole(first)
    world.dies()
    world.situation = world.situated(replacing=S)
    second = world.swap("efgh2345")
    second.begin()
    traffic.narrow(world.cluster, second.plan.services, "efgh2345")
    return first, second


def test_what_still_comes_is_handed_over_to_who_has_taken_the_target(world: World) -> None:
    """The nodes follow the Service with a delay."""
    first, second = taken_by_another(world)
    parted = Parted(world)
    first.undo(parted)
    assert parted.held
    assert parted.heard[0] == ("hand over to 10.0.0.9", (0, "efgh2345"))
    second.undo()
    world.is_as_before()


def test_what_still_comes_is_handed_over_to_a_proxy_pod_that_is_not_ready_for_a_moment(world: World) -> None:
    """A busy node answers its probe late; what comes to it is held there, and would be refused here."""
    first, _ = taken_by_another(world)
    parted = Parted(world)
    world.kube.change(
        f"{PODS}/bridge-web-efgh2345-0", {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    )
    first.undo(parted)
    assert parted.heard[0] == ("hand over to 10.0.0.9", (0, "efgh2345"))


def test_the_pods_of_a_workload_whose_selector_overlaps_are_not_the_originals(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes_module, "GONE_WITHIN", 1.0)
    worker = deployment("worker", replicas=1)
    worker["spec"]["template"]["metadata"]["labels"] = {"app": "web", "component": "worker"}
    world.kube.put(DEPLOYMENTS, {**worker, "metadata": {"name": "worker", "namespace": "ns"}})
    world.kube.change(f"{PODS}/worker-0", {"status": {"podIP": "10.0.0.7"}})
    world.before = world.as_is()
    swap, parted = world.swap(), Parted(world)
    world.whole(swap)
    assert swap.stand_ins() == []
    swap.undo(parted)
    assert parted.heard[0] == ("hand over to 10.0.0.9, 10.0.0.9", (2, S))
    assert world.told.said("warn") == []  # that pods of the original share the traffic
    world.is_as_before()


def test_a_pod_of_the_original_that_was_evicted_is_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays, whatever the target is scaled to, and shares no traffic."""
    monkeypatch.setattr(changes_module, "GONE_WITHIN", 1.0)
    left = world.kube.get(f"{PODS}/web-0")
    assert left
    evicted = {"name": "evicted", "uid": "evicted", "ownerReferences": left["metadata"]["ownerReferences"]}
    world.kube.put(
        PODS,
        left
        | {
            "metadata": left["metadata"] | evicted,
            "status": {"phase": "Failed", "conditions": [{"type": "Ready", "status": "False"}]},
        },
    )
    world.before = world.as_is()
    swap = world.swap()
    world.whole(swap)
    assert world.told.said("warn") == []
    swap.undo()
    world.is_as_before()


def test_a_session_that_somebody_restores_keeps_its_services_until_the_original_is_ready(world: World) -> None:
    swap, parted = world.swap(), Parted(world)
    world.whole(swap)
    world.kube.change(WEB, {"metadata": {"annotations": {UNDO_ANNOTATION: None}}, "spec": {"replicas": 2}})
    swap.undo(parted)
    assert parted.held
    assert parted.heard[0] == ("hand over to 10.0.0.9, 10.0.0.9", (2, S))
    world.is_as_before()


def test_a_proxy_pod_that_was_replaced_meanwhile_does_not_pass_for_the_original(world: World) -> None:
    """Else the proxy pod would go before the Service sends to the original."""
    swap = world.swap()
    world.whole(swap)
    slices = "/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices"
    name = f"bridge-web-{S}-z9z9z"
    endpoint = {"targetRef": {"kind": "Pod", "name": name}, "conditions": {"ready": True}}
    labels = {"kubernetes.io/service-name": "other"}
    world.kube.put(slices, {"metadata": {"name": "other-1", "labels": labels}, "endpoints": [endpoint]})
    proxies = swap.plan.proxy.replica_set["metadata"]["name"]
    assert not traffic.wait_until_sent_to_others(world.cluster, ["other"], proxies, world.told)
    swap.undo()


def test_what_is_given_back_answers_by_way_of_the_proxy_pod_and_is_taken_again(world: World) -> None:
    swap, parted = world.swap(), Parted(world)
    world.whole(swap)
    begun = len(changes(world.kube))
    meanwhile: list[int] = []
    assert swap.give_back(parted, meanwhile=lambda: meanwhile.append(world.replicas()))
    assert parted.held
    assert meanwhile == [2]  # while they start
    assert parted.heard == [("hand over to 10.0.0.9, 10.0.0.9", (2, S))]
    record = record_of(world.kube.objects[WEB])
    assert record
    assert (record.swapped, record.replicas, record.left) == (False, 2, None)
    (local,) = world.store.sessions()
    assert local.undo == record.render()
    swap.take_again()
    assert (world.selected(), world.replicas()) == (S, 0)
    assert changes(world.kube)[begun:] == ["PATCH deployments/web"] * 2  # nothing that kube-proxy has to follow
    swap.undo()
    world.is_as_before()


def test_what_was_given_back_is_left_as_it_is_at_the_end(world: World) -> None:
    swap, parted = world.swap(), Parted(world)
    world.whole(swap)
    swap.give_back(parted, meanwhile=lambda: None)
    swap.undo()
    world.is_as_before()


# ---- variants ----------------------------------------------------------------------------------------------------
def test_a_kept_original_is_not_scaled(api: ApiServer, client: Cluster, tmp_path: Path) -> None:
    world = World(api, client, tmp_path, keep_original=True)
    swap = world.swap()
    world.whole(swap)
    assert (world.replicas(), world.selected()) == (2, S)
    swap.undo()
    world.is_as_before()


def test_a_fallback_keeps_one_replica_which_stands_in(api: ApiServer, client: Cluster, tmp_path: Path) -> None:
    world = World(api, client, tmp_path, fallback=True)
    swap = world.swap()
    world.whole(swap)
    assert (world.replicas(), world.selected()) == (1, S)
    assert set(swap.stand_ins()) == {"10.0.0.9"}
    swap.undo()
    world.is_as_before()


def test_a_role_that_may_not_be_created_is_told_and_the_session_goes_on(world: World) -> None:
    world.kube.forbidden = {"POST roles"}
    swap = world.swap()
    world.whole(swap)
    (warning,) = world.told.said("warn")
    assert warning.startswith("the keeper gets no rights of its own: ")
    assert world.replicas() == 0
    world.kube.fail("PATCH deployments/web")
    with pytest.raises(BridgeError) as failed:
        swap.undo()
    assert "keeper" not in failed.value.hint  # it can't
    swap.undo()
    world.is_as_before()


def test_who_may_not_look_at_endpoints_swaps_all_the_same(world: World) -> None:
    """They go by the proxy pod's own readiness."""
    world.kube.forbidden = {"GET endpointslices"}
    swap = world.swap()
    swap.begin()
    world.kube.change(f"{PODS}/{world.proxy}", {"status": {"conditions": [{"type": "Ready", "status": "False"}]}})

    def gets_ready() -> None:
        assert (world.replicas(), world.selected()) == (2, None)
        world.kube.change(f"{PODS}/{world.proxy}", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})

    threading.Timer(1, gets_ready).start()
    swap.take(world.proxy)
    assert (world.replicas(), world.selected()) == (0, S)
    swap.undo()
    world.is_as_before()


def test_a_proxy_pod_that_does_not_get_ready_takes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sidecar, or a readiness gate: what would be narrowed to it would be narrowed to nobody."""
    monkeypatch.setattr(traffic, "SEEN_WITHIN", 0.3)
    world.request = replace(world.request, timeout=1)
    swap = world.swap()
    swap.begin()
    world.kube.change(f"{PODS}/{world.proxy}", {"status": {"conditions": [{"type": "Ready", "status": "False"}]}})
    with pytest.raises(ClusterError, match="Ready"):
        swap.take(world.proxy)
    assert (world.replicas(), world.selected()) == (2, None)
    swap.undo()
    world.is_as_before()


def not_narrowed(world: World, why: str) -> Situation:
    """What is there, and no Service of it can be narrowed."""
    match why:
        case "not allowed":
            return world.situated(lacking=(Right("patch", "", "services", "x"),))
        case "a canary":
            return world.situated(workloads=({**deployment("canary"), "spec": deployment()["spec"]},))
        case _:
            return world.situated(services=())


@pytest.mark.parametrize("why", ["not allowed", "a canary", "there is none"])
def test_a_proxy_pod_that_does_not_get_ready_takes_nothing_where_no_service_can_be_narrowed(
    world: World, why: str
) -> None:
    world.situation = not_narrowed(world, why)
    world.request = replace(world.request, timeout=1)
    world.kube.proxies_get_ready = False
    swap = world.swap()
    swap.begin()
    with pytest.raises(ClusterError, match="Ready"):
        swap.take(world.proxy)
    assert (swap.plan.services, world.replicas()) == ((), 2)
    swap.undo()
    world.is_as_before()


def test_the_original_stays_until_a_service_that_is_not_narrowed_lists_the_proxy_pod(world: World) -> None:
    world.situation = not_narrowed(world, "a canary")
    world.kube.endpoints_follow = False
    swap = world.swap()
    swap.begin()
    seen: list[int] = []

    def follow() -> None:
        seen.append(world.replicas())
        world.kube.endpoints_follow = True
        world.kube.change(SERVICE, {})

    following = threading.Timer(0.3, follow)
    following.start()
    swap.take(world.proxy)
    following.join()
    assert seen == [2]
    assert (world.replicas(), world.selected()) == (0, None)
    swap.undo()
    world.is_as_before()


def test_without_rights_to_leases_the_record_alone_is_the_claim(world: World) -> None:
    world.situation = world.situated(lacking=(Right("create", "coordination.k8s.io", "leases", "x"),))
    swap = world.swap()
    world.whole(swap)
    assert not any("leases" in line for line in world.kube.log)
    swap.undo()
    world.is_as_before()


@pytest.mark.parametrize("services", [True, False], ids=["a narrowed Service", "its ReplicaSet"])
def test_without_rights_to_leases_a_target_that_was_rolled_back_is_put_back_all_the_same(
    world: World, services: bool
) -> None:
    """It stayed at 0, and nothing was left that knew the count."""
    world.situation = world.situated(lacking=(Right("create", "coordination.k8s.io", "leases", "x"),))
    if not services:
        world.situation = replace(world.situation, services=())
    swap = world.swap()
    world.whole(swap)
    world.kube.change(WEB, {"metadata": {"annotations": {UNDO_ANNOTATION: None}}})
    swap.undo()
    world.is_as_before()


def test_a_session_without_target_makes_its_pod_and_removes_it(world: World) -> None:
    world.situation = world.situated(workload=None)
    swap = world.swap()
    swap.begin()
    swap.take("x")
    assert world.replicas() == 2
    assert any(own.startswith(REPLICA_SETS) for own in world.kube.objects)
    swap.undo()
    world.is_as_before()


# ---- the process ends meanwhile ----------------------------------------------------------------------------------
@pytest.fixture
def looked_at(api: ApiServer, tmp_path: Path) -> Iterator[World]:
    """A world whose waits are looked after, as in a session."""
    signals = Signals()
    with connect(kubeconfig=api.kubeconfig(tmp_path), between=signals.look) as cluster, signals:
        world = World(api, cluster, tmp_path / "ours")
        world.signals = signals
        yield world


@contextmanager
def supervised(world: World) -> Iterator[Inbox]:
    """What happens to the process comes to this inbox."""
    inbox = Inbox()
    nobody = NoProcess(Wanted([]), inbox, world.told)
    process = Supervision(nobody, inbox, world.told, at_terminal=False, renew=lambda _: pytest.fail("renewed"))
    with world.signals.delivered_to(lambda number: inbox.put(SignalCame(number)), wake=inbox.wake, look=process.look):
        yield inbox


@pytest.mark.parametrize(
    ("request_of", "number", "lacks", "left"),
    [
        ("GET endpointslices", 1, "endpoints_follow", (2, None)),  # the proxy pod is waited for
        ("GET pods", 1, "proxies_get_ready", (2, None)),
        ("PATCH services/web", 1, "", (2, S)),  # the endpoints are
        ("GET endpointslices", 2, "", (2, S)),  # the nodes have their time
        ("PATCH deployments/web", 1, "", (0, S)),  # the original is waited for
    ],
)
def test_a_process_that_ends_while_the_traffic_is_taken_ends_the_wait(
    looked_at: World, request_of: str, number: int, lacks: str, left: tuple[int, str | None]
) -> None:
    world = looked_at
    if lacks:
        setattr(world.kube, lacks, False)
    swap = world.swap()
    swap.begin()
    with supervised(world) as inbox:
        for _ in range(1, number):
            world.kube.before(request_of, lambda: None)
        world.kube.before(request_of, lambda: inbox.put(Exited(3)))
        with pytest.raises(ProcessEnding):
            swap.take(world.proxy)
    assert (world.replicas(), world.selected()) == left
    world.kube.endpoints_follow = True
    swap.undo()
    world.is_as_before()


def test_a_signal_is_heard_while_the_traffic_is_taken(looked_at: World) -> None:
    world = looked_at
    world.kube.proxies_get_ready = False
    swap = world.swap()
    swap.begin()
    world.kube.before("GET pods", lambda: os.kill(os.getpid(), signal.SIGTERM))
    with supervised(world), pytest.raises(ProcessEnding):
        swap.take(world.proxy)
    assert (world.replicas(), world.selected()) == (2, None)
    swap.undo()
    world.is_as_before()


def test_a_process_that_ends_while_the_original_is_waited_for_lets_it_be_undone_as_ever(looked_at: World) -> None:
    """The session is begun anew, which undoes the one before; what is left of that is for the end then."""
    world = looked_at
    swap, parted = world.swap(), Parted(world)
    world.whole(swap)
    with supervised(world) as inbox:
        world.kube.before("PATCH deployments/web", lambda: inbox.put(Exited(3)))
        with pytest.raises(ProcessEnding):
            swap.undo()
    assert (world.replicas(), world.selected()) == (2, S)
    swap.undo(parted)
    assert parted.heard[0] == ("hand over to 10.0.0.9, 10.0.0.9", (2, S))
    world.is_as_before()


# ---- others ------------------------------------------------------------------------------------------------------
def other_lease(world: World, *, silent_for: float = 0, session: str = "zzzz2345", **changes: Any) -> None:
    lease = build_lease(
        name="bridge-deployment-web", namespace="ns", session=session, holder="bob@desk", target="deployment/web",
        grace=30, now=datetime.now(UTC) - timedelta(seconds=silent_for), takeover=False, protection="keeper",
        **({"record": ""} | changes),
    )  # fmt: skip
    world.kube.put(LEASES, lease)


def test_a_lease_that_another_holds_names_the_holder_and_nothing_stays(world: World) -> None:
    other_lease(world)
    swap = world.swap()
    with pytest.raises(TargetError, match=r"deployment/web is already swapped by bob@desk"):
        swap.begin()
    swap.undo()
    assert world.as_is() == world.before
    assert labels_of(world.kube.objects[LEASE])[SESSION_LABEL] == "zzzz2345"
    assert world.kube.of_session() == [LEASE]


def test_a_lease_that_has_expired_is_taken(world: World) -> None:
    other_lease(world, silent_for=60)
    swap = world.swap()
    swap.begin()
    lease = world.kube.objects[LEASE]
    assert labels_of(lease)[SESSION_LABEL] == S
    assert lease["spec"]["leaseTransitions"] == 1
    assert lease["metadata"]["ownerReferences"][0]["name"] == f"bridge-{S}"
    swap.undo()
    world.is_as_before()


@pytest.mark.parametrize("failing", ["", "PATCH services/web", "PATCH deployments/web"])
def test_who_replaces_a_dead_session_and_gets_no_further_puts_back_what_that_one_left(
    world: World, failing: str
) -> None:
    """An application that does not start, Ctrl-C, a proxy pod that can't run; a failure in the middle of the swap."""
    world.whole(world.swap())
    world.dies()
    world.situation = world.situated(replacing=S)
    second = world.swap("efgh2345")
    second.begin()
    record = record_of(world.kube.objects[WEB])
    assert record
    assert (record.session, record.replicas, world.selected()) == ("efgh2345", 2, S)
    if failing:
        world.kube.fail(failing)
        with suppress(BridgeError):
            second.take("bridge-web-efgh2345-0")
    second.undo()
    world.is_as_before()


@pytest.mark.parametrize("failing", ["PATCH services/web", "DELETE replicasets/bridge-web-abcd2345"])
def test_what_a_replaced_session_left_is_put_back_by_another_try(world: World, failing: str) -> None:
    """Of the target nothing is ours any more then."""
    world.whole(world.swap())
    world.dies()
    world.situation = world.situated(replacing=S)
    second = world.swap("efgh2345")
    second.begin()
    world.kube.fail(failing)
    with pytest.raises(BridgeError):
        second.undo()
    second.undo()
    world.is_as_before()


def test_who_may_not_replace_a_session_leaves_it_as_it_is(world: World) -> None:
    world.whole(world.swap())
    world.situation = world.situated(replacing=S)
    second = world.swap("efgh2345")
    world.kube.before("PATCH deployments", lambda: world.kube.change(WEB, {"metadata": {"uid": "another"}}))
    world.dies()
    with pytest.raises(BridgeError):
        second.begin()
    second.undo()
    assert world.selected() == S


def test_a_lease_that_was_taken_though_the_answer_got_lost_is_not_held_against_oneself(world: World) -> None:
    """It said that the target was swapped already, by who asked."""
    other_lease(world, silent_for=60)
    world.kube.fail("PATCH leases/bridge-deployment-web", done=True)
    swap = world.swap()
    swap.begin()
    assert labels_of(world.kube.objects[LEASE])[SESSION_LABEL] == S
    swap.undo()
    world.is_as_before()


def test_a_lease_that_changes_while_it_is_taken_is_read_again(world: World) -> None:
    other_lease(world, silent_for=60)
    swap = world.swap()
    world.kube.before("PATCH leases", lambda: world.kube.change(LEASE, {"metadata": {"labels": {"x": "y"}}}))
    swap.begin()
    assert world.kube.asked("PATCH leases") == ["PATCH leases/bridge-deployment-web"] * 2
    assert labels_of(world.kube.objects[LEASE])[SESSION_LABEL] == S


def test_an_expired_lease_whose_holder_comes_back_in_that_moment_stays_his(world: World) -> None:
    other_lease(world, silent_for=60)
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    world.kube.before("PATCH leases", lambda: world.kube.change(LEASE, {"spec": {"renewTime": now}}))
    swap = world.swap()
    with pytest.raises(TargetError, match="bob@desk"):
        swap.begin()
    swap.undo()
    assert labels_of(world.kube.objects[LEASE])[SESSION_LABEL] == "zzzz2345"


def test_a_lease_that_goes_while_it_is_looked_at_is_made(world: World) -> None:
    other_lease(world, silent_for=60)
    world.kube.before("GET leases", lambda: world.kube.remove(LEASE))  # as its session ends
    world.swap().begin()
    assert labels_of(world.kube.objects[LEASE])[SESSION_LABEL] == S


def test_a_lease_that_never_stands_still_is_given_up(world: World) -> None:
    other_lease(world, silent_for=60)
    others = {"metadata": {"labels": {"x": "y"}}}
    world.kube.before("PATCH leases", lambda: world.kube.change(LEASE, others), times=40)
    with pytest.raises(ClusterError, match="is being changed all the time"):
        world.swap().begin()


def test_a_target_that_changes_meanwhile_is_decided_on_again(world: World) -> None:
    swap = world.swap()
    swap.begin()
    counts = iter((3, 4))
    world.kube.before(
        "PATCH deployments", lambda: world.kube.change(WEB, {"spec": {"replicas": next(counts)}}), times=2
    )
    swap.take(world.proxy)
    record = record_of(world.kube.objects[WEB])
    assert record
    assert record.replicas == 4  # the count of the moment in which it was taken out
    (local,) = world.store.sessions()
    assert local.undo == record.render()
    swap.undo()
    assert world.replicas() == 4


def test_a_target_that_another_claims_first_is_refused_and_the_lease_given_back(world: World) -> None:
    theirs = World.plan(world, "zzzz2345").record
    assert theirs
    patch = {"metadata": {"annotations": {"bridge.internal/undo": theirs.render()}}}
    swap = world.swap()
    world.kube.before("PATCH deployments", lambda: world.kube.change(WEB, patch))
    with pytest.raises(TargetError, match="already swapped by ann@laptop"):
        swap.begin()
    swap.undo()
    assert LEASE not in world.kube.objects
    assert world.kube.of_session() == []
    record = record_of(world.kube.objects[WEB])
    assert record
    assert record.session == "zzzz2345"


def test_a_target_that_was_made_anew_is_not_taken(world: World) -> None:
    swap = world.swap()
    world.kube.remove(WEB)
    world.kube.put(DEPLOYMENTS, {**deployment(), "metadata": {"name": "web", "namespace": "ns", "uid": "other"}})
    with pytest.raises(TargetError, match="deleted and made anew"):
        swap.begin()
    swap.undo()
    world.is_as_before()


def test_a_target_that_was_deleted_leaves_only_its_traces_to_remove(world: World) -> None:
    swap = world.swap()
    world.whole(swap)
    world.kube.remove(WEB)
    swap.undo()
    assert world.kube.of_session() == []
    assert world.selected() is None


def test_what_others_change_during_the_session_stays(world: World) -> None:
    swap = world.swap()
    world.whole(swap)
    world.kube.change(WEB, {"metadata": {"annotations": {"theirs": "1"}}, "spec": {"replicas": 5}})
    world.kube.change(SERVICE, {"spec": {"selector": {"tier": "x"}}})
    swap.undo()
    web = world.kube.objects[WEB]
    assert (web["spec"]["replicas"], web["metadata"]["annotations"]) == (5, {"theirs": "1"})
    assert world.kube.objects[SERVICE]["spec"]["selector"] == {"app": "web", "tier": "x"}


def test_a_service_that_was_widened_is_narrowed_again_until_the_end_has_begun(world: World) -> None:
    swap = world.swap()
    world.whole(swap)
    world.kube.change(SERVICE, {"spec": {"selector": {SESSION_LABEL: None}}})
    swap.narrow_again(world.cluster, ["web"])
    assert world.selected() == S
    swap.undo()
    swap.narrow_again(world.cluster, ["web"])
    world.is_as_before()


# ---- faults ------------------------------------------------------------------------------------------------------
def way_in(world: World) -> list[tuple[str, int]]:
    world.whole(world.swap())
    return world.kube.steps()


def way_back(world: World) -> list[tuple[str, int]]:
    swap = world.swap()
    world.whole(swap)
    begun = len(world.kube.log)
    swap.undo()
    return world.kube.steps(begun)


@pytest.mark.parametrize("done", [False, True], ids=["refused", "answer lost"])
def test_a_failure_at_any_request_of_the_way_in_is_undone(
    api: ApiServer, client: Cluster, tmp_path: Path, done: bool
) -> None:
    for step, number in way_in(World(api, client, tmp_path / "first")):
        world = World(api, client, tmp_path / f"{step.replace('/', '-')}{number}")
        swap = world.swap()
        world.kube.fail(step, number, done=done)
        with suppress(BridgeError):
            world.whole(swap)
        swap.undo()
        world.is_as_before()


def test_a_failure_at_any_request_of_the_way_back_is_made_up_for_by_another_try(
    api: ApiServer, client: Cluster, tmp_path: Path
) -> None:
    failed = 0
    for step, number in way_back(World(api, client, tmp_path / "first")):
        world = World(api, client, tmp_path / f"{step.replace('/', '-')}{number}")
        swap = world.swap()
        world.whole(swap)
        world.kube.fail(step, number)
        errors: list[BridgeError] = []
        try:
            swap.undo()
        except BridgeError as error:
            errors.append(error)
        for error in errors:
            failed += 1
            assert error.message.startswith("not everything could be put back: ")
            assert "bridge restore" in error.hint
            assert [local.session for local in world.store.sessions()] == [S]
            swap.undo()
        world.is_as_before()
    assert failed > 3


def test_who_gave_a_kubeconfig_is_told_to_restore_with_it(api: ApiServer, client: Cluster, tmp_path: Path) -> None:
    world = World(api, client, tmp_path, where=ClusterChoice(kubeconfig="theirs"))
    swap = world.swap()
    world.whole(swap)
    world.kube.fail("PATCH services/web")
    with pytest.raises(BridgeError) as failed:
        swap.undo()
    assert failed.value.hint.endswith("restore deployment/web --namespace ns --context here --kubeconfig theirs")
    swap.undo()
    world.is_as_before()


def test_an_answer_that_gets_lost_on_the_way_back_is_asked_for_again(
    api: ApiServer, client: Cluster, tmp_path: Path
) -> None:
    for step, number in way_back(World(api, client, tmp_path / "first")):
        world = World(api, client, tmp_path / f"{step.replace('/', '-')}{number}")
        swap, parted = world.swap(), Parted(world)
        world.whole(swap)
        world.kube.fail(step, number, done=True)
        swap.undo(parted)
        assert parted.heard[0] == ("hand over to 10.0.0.9, 10.0.0.9", (2, S)), (step, number)
        world.is_as_before()


def test_a_right_that_lacks_is_told_as_it_is(world: World) -> None:
    world.kube.forbidden = {"POST secrets"}
    swap = world.swap()
    with pytest.raises(MissingRight, match=r"may not post secrets"):
        swap.begin()
    asked = len(world.kube.log)
    swap.undo()
    assert len(world.kube.log) <= asked + 3
    assert world.store.sessions() == []


def test_a_namespace_that_is_gone_leaves_nothing_to_put_back(world: World) -> None:
    swap = world.swap()
    world.whole(swap)
    for own in list(world.kube.objects):
        world.kube.objects.pop(own, None)
    swap.undo()
    assert world.store.sessions() == []


def test_a_session_that_the_keeper_has_restored_already_is_ended_without_harm(world: World) -> None:
    swap = world.swap()
    world.whole(swap)
    record = record_of(world.kube.objects[WEB])
    assert record
    world.kube.change(
        WEB, {"metadata": {"annotations": {"bridge.internal/undo": None}}, "spec": {"replicas": record.replicas}}
    )
    world.kube.change(SERVICE, {"spec": {"selector": {SESSION_LABEL: None}}})
    world.kube.remove(f"{SECRETS}/bridge-{S}")
    swap.undo()
    world.is_as_before()

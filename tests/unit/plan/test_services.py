from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import TargetError
from bridge.plan.placement import selects
from bridge.plan.services import choose_services, narrow_patch, ready_pods, widened
from bridge.wire.marks import SESSION_LABEL
from tests.unit.plan.server import Server
from tests.unit.plan.worlds import Json, deployment, service


def labelled(name: str, **labels: str) -> Json:
    """A Deployment with these labels on its pods, all of which it selects."""
    item = deployment(name)
    item["spec"]["template"]["metadata"]["labels"] = dict(labels)
    item["spec"]["selector"] = {"matchLabels": dict(labels)}
    return item


def pod(name: str, owner: tuple[str, str] | None = None, *, phase: str = "Running", **labels: str) -> Json:
    owners = [{"kind": owner[0], "name": owner[1], "controller": True}] if owner else []
    return {"metadata": {"name": name, "labels": labels, "ownerReferences": owners}, "status": {"phase": phase}}


def chosen(target: Json, services: list[Json], *, pods: list[Json] = (), workloads: list[Json] = ()) -> tuple:
    return choose_services(target, services, pods, workloads).services


# ---- which are narrowed ----------------------------------------------------------------------------------------------


def test_all_that_select_the_target_are_narrowed_and_no_others() -> None:
    services = [
        service("web"), service("again"), service("db", selector={"app": "db"}), service("by-hand", selector={}),
        service("alias", type="ExternalName"), service("stricter", selector={"app": "web", "tier": "front"}),
    ]  # fmt: skip
    narrowing = choose_services(deployment(), services, [], [])
    assert narrowing.services == ("web", "again")
    assert narrowing.notes == ()


def test_a_service_of_one_ordinal_of_a_stateful_set_is_narrowed_for_the_one_that_the_proxy_goes_as() -> None:
    label = "statefulset.kubernetes.io/pod-name"
    services = [service(f"db-{n}", selector={"app": "db", label: f"db-{n}"}) for n in (0, 1)]
    assert chosen(deployment("db", kind="StatefulSet"), services) == ("db-0",)


def test_the_targets_own_pods_sets_and_sessions_are_not_others() -> None:
    target = labelled("web", app="web", track="stable")
    old = labelled("web-5d4f", app="web", track="old") | {"kind": "ReplicaSet"}
    old["metadata"]["ownerReferences"] = [{"kind": "Deployment", "name": "web", "controller": True}]
    proxy = labelled("bridge-web-dead2222", **{"app": "web", SESSION_LABEL: "dead2222"}) | {"kind": "ReplicaSet"}
    proxy["metadata"]["labels"] = {SESSION_LABEL: "dead2222"}
    pods = [
        pod("web-5d4f-1", ("ReplicaSet", "web-5d4f"), **{"app": "web", "track": "stable", "pod-template-hash": "5d4f"}),
        pod("bridge-web-dead2222-x", **{"app": "web", "track": "stable", SESSION_LABEL: "dead2222"}),
    ]
    narrowing = choose_services(target, [service()], pods, [target, old, proxy])
    assert (narrowing.services, narrowing.notes) == (("web",), ())


@pytest.mark.parametrize(("phase", "narrowed"), [("Succeeded", True), ("Failed", True), ("Running", False)])
def test_a_pod_that_has_ended_loses_nothing(phase: str, narrowed: bool) -> None:
    job = pod("migrate-x", ("Job", "migrate"), phase=phase, app="web")
    assert bool(chosen(labelled("web", app="web", track="stable"), [service()], pods=[job])) is narrowed


NOTE = "it is not narrowed, so the original leaves it only when it ends"


def test_a_service_that_also_selects_another_workload_is_not_narrowed_and_told() -> None:
    web, canary = labelled("web", app="web", track="stable"), labelled("canary", app="web", track="canary")
    services = [service("front"), service("stable", selector={"app": "web", "track": "stable"})]
    narrowing = choose_services(web, services, [], [web, canary])
    assert narrowing.services == ("stable",)
    assert narrowing.notes == (f"service/front also selects deployment/canary: {NOTE}",)


def test_a_workload_of_no_replicas_counts_for_it_may_be_another_sessions_target() -> None:
    canary = labelled("canary", app="web", track="canary")
    canary["spec"]["replicas"] = 0
    assert chosen(labelled("web", app="web", track="stable"), [service()], workloads=[canary]) == ()


def test_an_old_revision_of_an_operators_does_not_count() -> None:
    old = labelled("rollout-1", app="web", hash="1") | {"kind": "ReplicaSet"}
    old["metadata"]["ownerReferences"] = [{"kind": "Rollout", "name": "rollout", "controller": True}]
    old["spec"]["replicas"] = 0
    target = labelled("web", app="web")
    assert chosen(target, [service()], workloads=[old]) == ("web",)
    old["spec"]["replicas"] = 1
    assert chosen(target, [service()], workloads=[old]) == ()


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (None, "pod/x-abc"),
        (("DaemonSet", "agent"), "daemonset/agent"),
        (("StatefulSet", "db"), "statefulset/db"),
        (("ReplicaSet", "canary-5d4f"), "deployment/canary"),
        (("ReplicaSet", "canary"), "replicaset/canary"),
    ],
)
def test_pods_of_others_are_told_by_who_runs_them(owner: tuple[str, str] | None, name: str) -> None:
    others = pod("x-abc", owner, **{"app": "web", "track": "canary", "pod-template-hash": "5d4f"})
    narrowing = choose_services(labelled("web", app="web", track="stable"), [service()], [others], [])
    assert narrowing.notes == (f"service/web also selects {name}: {NOTE}",)


def test_pods_of_a_workload_whose_selector_overlaps_are_not_the_targets() -> None:
    """Deployments tell their pods by a hash, so it works, and it happens: ``app`` of one, ``app`` and more of two."""
    labels = {"app": "web", "pod-template-hash": "5d4f"}
    own, canary = pod("w", ("ReplicaSet", "web-5d4f"), **labels), pod("c", ("ReplicaSet", "canary-5d4f"), **labels)
    target = labelled("web", app="web")
    assert chosen(target, [service()], pods=[own]) == ("web",)
    assert choose_services(target, [service()], [own, canary], []).notes == (
        f"service/web also selects deployment/canary: {NOTE}",
    )


@pytest.mark.parametrize("kind", ["StatefulSet", "ReplicaSet"])
def test_pods_of_other_kinds_are_told_by_their_controllers_name(kind: str) -> None:
    target = labelled("web", app="web") | {"kind": kind}
    assert chosen(target, [service()], pods=[pod("web-0", (kind, "web"), app="web")]) == ("web",)
    assert chosen(target, [service()], pods=[pod("db-0", (kind, "db"), app="web")]) == ()


def test_the_proxy_of_another_sessions_target_keeps_its_traffic() -> None:
    theirs = pod("bridge-canary-bbbbbbbb-x", ("ReplicaSet", "bridge-canary-bbbbbbbb"), **{"app": "web",
        "track": "canary", SESSION_LABEL: "bbbbbbbb"})  # fmt: skip
    narrowing = choose_services(labelled("web", app="web", track="stable"), [service()], [theirs], [])
    assert narrowing.notes == (f"service/web also selects session bbbbbbbb: {NOTE}",)


def test_each_other_is_told_once() -> None:
    web, canary = labelled("web", app="web", track="stable"), labelled("canary", app="web", track="canary")
    pods = [
        pod(f"canary-5d4f-{n}", ("ReplicaSet", "canary-5d4f"), **{"app": "web", "track": "canary",
            "pod-template-hash": "5d4f"}) for n in range(2)
    ]  # fmt: skip
    agent = pod("agent-1", ("DaemonSet", "agent"), app="web", role="agent")
    narrowing = choose_services(web, [service()], [*pods, agent], [web, canary])
    assert narrowing.notes == (f"service/web also selects deployment/canary, daemonset/agent: {NOTE}",)


def test_a_service_that_a_dead_session_left_narrowed_is_compared_as_it_was_before() -> None:
    left = service(selector={"app": "web", SESSION_LABEL: "dead2222"})
    assert chosen(deployment(), [left]) == ("web",)
    assert chosen(deployment(), [left], workloads=[labelled("canary", app="web", track="canary")]) == ()
    assert widened(left)["spec"]["selector"] == {"app": "web"}
    assert left["spec"]["selector"][SESSION_LABEL] == "dead2222"


pairs = st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), max_size=3)


@given(pairs, st.lists(pairs, max_size=4), st.lists(pairs, max_size=4), st.lists(pairs, max_size=3))
def test_narrowing_takes_no_traffic_from_anybody(
    own: Json, selectors: list[Json], pods: list[Json], others: list[Json]
) -> None:
    """Whoever loses an endpoint by it is the target or a session's; what could be narrowed but is not, is told."""
    target = labelled("web", **own)
    services = [service(f"s{n}", selector=selector) for n, selector in enumerate(selectors)]
    there = [pod(f"p{n}", **labels) for n, labels in enumerate(pods)]
    workloads = [target, *(labelled(f"w{n}", **labels) for n, labels in enumerate(others))]
    narrowing = choose_services(target, services, there, workloads)
    for n, selector in enumerate(selectors):
        wanted = {"matchLabels": selector}
        shared = any(
            selects(wanted, labels) for labels in [*others, *(each for each in pods if not own.items() <= each.items())]
        )
        selected = bool(selector) and selects(wanted, own)
        assert (f"s{n}" in narrowing.services) == (selected and not shared)
        assert any(note.startswith(f"service/s{n} ") for note in narrowing.notes) == (selected and shared)


# ---- how -------------------------------------------------------------------------------------------------------------


def stored(**selector: Any) -> Server:
    item = service(selector=selector)
    item["metadata"] |= {"uid": "uid-svc", "resourceVersion": "7"}
    return Server(item)


def test_a_service_is_narrowed_by_one_key_as_it_was_read() -> None:
    server = stored(app="web")
    patch = narrow_patch(server.read(), "aaaaaaaa")
    assert patch == {
        "metadata": {"uid": "uid-svc", "resourceVersion": "7"},
        "spec": {"selector": {SESSION_LABEL: "aaaaaaaa"}},
    }
    server.patch(patch)
    assert server.item["spec"]["selector"] == {"app": "web", SESSION_LABEL: "aaaaaaaa"}
    assert narrow_patch(server.read(), "aaaaaaaa") is None


def test_a_service_of_a_dead_session_is_taken_over() -> None:
    server = stored(**{"app": "web", SESSION_LABEL: "dead2222"})
    server.patch(narrow_patch(server.read(), "aaaaaaaa", replacing="dead2222"))
    assert server.item["spec"]["selector"] == {"app": "web", SESSION_LABEL: "aaaaaaaa"}


@pytest.mark.parametrize("replacing", ["", "dead2222"])
def test_a_service_of_a_session_that_is_not_replaced_is_refused_naming_it(replacing: str) -> None:
    server = stored(**{"app": "web", SESSION_LABEL: "bbbbbbbb"})
    with pytest.raises(TargetError, match="service/web is narrowed to session bbbbbbbb") as caught:
        narrow_patch(server.read(), "aaaaaaaa", replacing=replacing)
    assert "`bridge restore bbbbbbbb`" in caught.value.hint


# ---- who gets connections --------------------------------------------------------------------------------------------


def endpoint(name: str, kind: str = "Pod", **conditions: bool | None) -> Json:
    return {"addresses": ["10.0.0.1"], "targetRef": {"kind": kind, "name": name}, "conditions": conditions}


def test_ready_pods_are_those_that_kube_proxy_sends_new_connections_to() -> None:
    slices = [
        {"endpoints": [endpoint("ready", ready=True), endpoint("not", ready=False), endpoint("unsaid", ready=None)]},
        {"endpoints": [endpoint("ending", ready=False, serving=True, terminating=True), endpoint("node", "Node")]},
        {"endpoints": [endpoint("other-family", ready=True), {"addresses": ["1.2.3.4"]}]},
        {"endpoints": None},
        {},
    ]
    assert ready_pods(slices) == {"ready", "unsaid", "other-family"}
    assert ready_pods([]) == frozenset()

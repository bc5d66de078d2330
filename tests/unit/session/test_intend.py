"""What a session will do, decided from what was asked and what is there."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from bridge.errors import TargetError
from bridge.plan.access import Right
from bridge.plan.lease import Claim
from bridge.plan.protection import PREPARED_ACCOUNT, Protection
from bridge.plan.target import TargetSpec
from bridge.session.intend import Credentials, Plan, Situation, intend
from bridge.session.request import RunRequest
from bridge.wire.marks import SESSION_LABEL
from bridge.wire.orders import Orders
from bridge.wire.undo import ObjectName, UndoRecord
from tests.unit.plan.worlds import container, deployment, service

NOW = datetime(2026, 1, 1, tzinfo=UTC)
S = "abcd2345"
KEYS = Credentials(host_key="h", authorized_keys="a", token="t")
WEB = {"port": 80, "targetPort": 8080}


def situation(**changes: Any) -> Situation:
    fields = {
        "namespace": "shop", "workload": deployment(), "services": (service("web", WEB),), "now": NOW,
        "holder": "ann@laptop",
    }  # fmt: skip
    return Situation(**(fields | changes))


def request(**changes: Any) -> RunRequest:
    return RunRequest(
        **({"command": ("app",), "target": TargetSpec.parse("web"), "image": "i", "timeout": 5} | changes)
    )


def plan(there: Situation | None = None, **asked: Any) -> Plan:
    return intend(request(**asked), there or situation(), session=S, credentials=KEYS)


def lacking(*rights: str) -> tuple[Right, ...]:
    return tuple(Right(verb, "", resource, "x", optional=True) for verb, resource in map(str.split, rights))


def orders_of(decided: Plan) -> Orders | None:
    text = decided.secret["data"].get("orders")
    return Orders.parse(base64.b64decode(text).decode()) if text else None


def test_a_plan_claims_guards_and_narrows_what_there_is() -> None:
    decided = plan()
    assert (decided.target, decided.container, decided.services) == ("deployment/web", "app", ("web",))
    assert [port.pod for port in decided.ports] == [8080]
    assert decided.protection is Protection.KEEPER
    assert decided.record == UndoRecord(
        session=S, kind="Deployment", namespace="shop", name="web", uid="uid-web", replicas=2, holder="ann@laptop",
        since=NOW.isoformat(timespec="seconds"), image="i", services=("web",), grace=30.0,
        objects=(
            ObjectName("Secret", f"bridge-{S}"), ObjectName("ReplicaSet", f"bridge-web-{S}"),
            ObjectName("Lease", "bridge-deployment-web"),
        ),
    )  # fmt: skip


def test_the_keeper_is_told_all_that_it_has_to_undo() -> None:
    decided = plan(grace=12)
    orders = orders_of(decided)
    assert orders
    assert (orders.session, orders.namespace, orders.grace) == (S, "shop", 12)
    assert (orders.root, orders.lease, orders.record) == (f"bridge-{S}", "bridge-deployment-web", decided.record)


def test_the_lease_says_who_holds_what_and_for_how_long() -> None:
    decided = plan(grace=12, allow_takeover=True)
    assert decided.lease
    claim = Claim.of(decided.lease)
    assert (claim.session, claim.holder, claim.target) == (S, "ann@laptop", "deployment/web")
    assert (claim.duration, claim.renewed, claim.takeover, claim.protection) == (12, NOW, True, "keeper")
    assert decided.record
    assert claim.undo == decided.record.render()


def test_the_keepers_rights_are_to_what_the_record_lists_alone() -> None:
    guard = plan().guard
    assert guard
    assert guard.role
    for rule in guard.role["rules"]:
        assert rule["resourceNames"]
    named = {name for rule in guard.role["rules"] for name in rule["resourceNames"]}
    assert named == {"web", f"bridge-{S}", "bridge-deployment-web"}


@pytest.mark.parametrize("right", ["create serviceaccounts", "create roles", "create rolebindings"])
def test_who_may_not_create_roles_gets_the_prepared_account_if_there_is_one(right: str) -> None:
    decided = plan(situation(lacking=lacking(right), prepared=True))
    assert decided.protection is Protection.PREPARED
    guard = decided.guard
    assert guard
    assert (guard.account, guard.role, guard.binding) == (None, None, None)
    assert guard.token["metadata"]["annotations"]["kubernetes.io/service-account.name"] == PREPARED_ACCOUNT
    assert orders_of(decided)


def test_without_roles_and_account_there_is_the_watchdog_and_no_guard_in_the_pod() -> None:
    decided = plan(situation(lacking=lacking("create roles")))
    assert (decided.protection, decided.guard, orders_of(decided)) == (Protection.WATCHDOG, None, None)
    volumes = decided.proxy.replica_set["spec"]["template"]["spec"]["volumes"]
    assert not any(volume.get("secret", {}).get("secretName", "").endswith("-keeper") for volume in volumes)
    assert decided.lease
    assert Claim.of(decided.lease).protection == "watchdog"


def test_who_may_create_roles_does_not_need_the_prepared_account() -> None:
    assert plan(situation(prepared=True)).protection is Protection.KEEPER


@pytest.mark.parametrize("verb", ["create", "get", "patch", "delete"])
def test_without_each_right_to_leases_there_is_no_lease(verb: str) -> None:
    decided = plan(situation(lacking=lacking(f"{verb} leases")))
    assert decided.lease is None
    assert decided.record
    assert all(each.kind != "Lease" for each in decided.record.objects)
    orders = orders_of(decided)
    assert orders
    assert orders.lease == ""


@pytest.mark.parametrize("verb", ["patch", "get"])
def test_who_may_not_patch_services_shares_the_traffic_and_is_told_so(verb: str) -> None:
    decided = plan(situation(lacking=lacking(f"{verb} services")))
    assert decided.services == ()
    assert decided.unnarrowed == ("web",)
    assert decided.record
    assert decided.record.services == ()
    assert any("may not get and patch services" in note for note in decided.notes)


@pytest.mark.parametrize(("option", "flag"), [("keep_original", "--keep-original"), ("fallback", "--fallback")])
def test_an_original_that_stays_needs_services_that_can_be_narrowed(option: str, flag: str) -> None:
    with pytest.raises(TargetError, match=f"{flag} needs a Service") as caught:
        plan(situation(lacking=lacking("patch services")), **{option: True})
    assert f"Leave {flag} out" in caught.value.hint
    assert plan(**{option: True}).services == ("web",)


def test_an_original_that_stays_without_any_service_is_fine() -> None:
    decided = plan(situation(services=()), keep_original=True)
    assert decided.services == ()


def test_a_headless_service_is_left_to_an_original_that_stays() -> None:
    headless = service("pods", WEB, clusterIP="None")
    there = situation(services=(service("web", WEB), headless))
    assert plan(there).services == ("web", "pods")
    assert plan(there).unnarrowed == ()
    kept = plan(there, fallback=True)
    assert (kept.services, kept.unnarrowed) == (("web",), ("pods",))
    with pytest.raises(TargetError, match="service/pods is headless"):
        plan(situation(services=(headless,)), fallback=True)


def test_a_service_of_somebody_else_too_is_not_narrowed() -> None:
    other = deployment("api")
    other["spec"]["template"]["metadata"]["labels"] = {"app": "web", "tier": "api"}
    other["spec"]["selector"]["matchLabels"] = {"tier": "api"}
    decided = plan(situation(workloads=(deployment(), other)))
    assert (decided.services, decided.unnarrowed) == ((), ("web",))
    assert any("service/web also selects deployment/api" in note for note in decided.notes)


def test_joining_makes_a_pod_and_nothing_to_undo() -> None:
    decided = plan(situation(workload=None, services=()), target=None)
    assert (decided.target, decided.container, decided.record, decided.lease) == ("", "bridge", None, None)
    assert (decided.services, decided.ports) == ((), ())
    orders = orders_of(decided)
    assert orders
    assert (orders.record, orders.lease) == (None, "")
    assert decided.protection is Protection.KEEPER


def test_a_target_of_a_dead_session_is_taken_with_its_true_count() -> None:
    dead = UndoRecord(
        session="zzzz2345", kind="Deployment", namespace="shop", name="web", uid="uid-web", replicas=3,
        holder="bob@desk", since="", swapped=True,
    )  # fmt: skip
    workload = deployment(replicas=0)
    workload["metadata"]["annotations"] = {"bridge.internal/undo": dead.render()}
    decided = plan(situation(workload=workload, replacing="zzzz2345"))
    assert decided.replacing == "zzzz2345"
    assert decided.record
    assert (decided.record.replicas, decided.record.swapped) == (3, True)


def test_a_container_that_is_named_is_the_one_that_is_replaced() -> None:
    workload = deployment(containers=[container("app", 8080), container("side", 9090)])
    decided = plan(situation(workload=workload, services=()), target=TargetSpec.parse("web:side"))
    assert decided.container == "side"
    with pytest.raises(TargetError):
        plan(situation(workload=workload), target=TargetSpec.parse("web:none"))


def test_every_object_of_the_session_has_its_label() -> None:
    decided = plan()
    guard = decided.guard
    assert guard
    made = [decided.secret, decided.lease, decided.proxy.replica_set, guard.account, guard.role, guard.binding]
    for item in [*made, guard.token]:
        assert item
        assert item["metadata"]["labels"][SESSION_LABEL] == S


@pytest.mark.parametrize(("asked", "left"), [({}, 0), ({"fallback": True}, 1), ({"keep_original": True}, None)])
def test_what_is_left_of_the_original_is_as_asked(asked: dict[str, bool], left: int | None) -> None:
    assert request(**asked).left == left


@pytest.mark.parametrize("asked", [{}, {"fallback": True}, {"keep_original": True}])
def test_the_copies_of_the_record_know_how_many_replicas_will_be_left(asked: dict[str, bool]) -> None:
    decided = plan(**asked)
    orders = orders_of(decided)
    assert orders
    assert orders.record
    assert orders.record == decided.record
    assert orders.record.left == request(**asked).left

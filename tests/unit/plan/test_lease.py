import copy
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.plan.lease import MARGIN, Claim, build_lease, lease_name, take_patch
from bridge.plan.manifest import owned_by
from bridge.plan.target import WorkloadKind
from bridge.wire.lease import lease_path, micro_time, renew_patch
from tests.unit.plan.server import ConflictError, Server
from tests.unit.plan.worlds import Json, names

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def lease(session: str = "aaaaaaaa", *, now: datetime = NOON, owner: str = "", **more: Any) -> Json:
    wanted: Json = {
        "name": "bridge-deployment-web", "namespace": "shop", "holder": "ann@laptop", "target": "deployment/web",
        "grace": 30, "takeover": False, "protection": "keeper",
    }  # fmt: skip
    made = build_lease(session=session, now=now, **wanted | more)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"bridge-{session}", "uid": owner}}
    return owned_by(made, secret) if owner else made


def stored(item: Json) -> Server:
    made = copy.deepcopy(item)
    made["metadata"] |= {"uid": "uid-lease", "resourceVersion": "7"}
    return Server(made)


# ---- names -----------------------------------------------------------------------------------------------------------


def test_a_lease_is_named_after_its_target() -> None:
    assert lease_name("Deployment", "web") == "bridge-deployment-web"
    assert lease_name("deployment", "web") == "bridge-deployment-web"
    assert lease_path("shop") == "/apis/coordination.k8s.io/v1/namespaces/shop/leases"
    assert lease_path("shop", "x") == f"{lease_path('shop')}/x"


kinds = st.sampled_from([kind.kind for kind in WorkloadKind])
subdomains = st.from_regex(SUBDOMAIN, fullmatch=True).filter(lambda name: len(name) <= 253)
long_names = st.tuples(st.sampled_from(["a", "a.", "a-b.", "0--"]), st.integers(1, 250), names).map(
    lambda parts: (parts[0] * parts[1])[: 253 - len(parts[2])] + parts[2]
)


@given(kinds, subdomains | long_names)
def test_the_name_of_a_lease_is_legal_for_any_workload(kind: str, name: str) -> None:
    made = lease_name(kind, name)
    assert len(made) <= 253
    assert SUBDOMAIN.fullmatch(made)


@given(kinds, long_names, long_names)
def test_two_targets_never_share_a_lease(kind: str, one: str, other: str) -> None:
    assert (lease_name(kind, one) == lease_name(kind, other)) == (one == other)


# ---- the object ------------------------------------------------------------------------------------------------------


def test_a_lease_has_all_that_tells_of_its_session() -> None:
    assert lease(takeover=True) == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": "bridge-deployment-web",
            "namespace": "shop",
            "labels": {"bridge.internal/session": "aaaaaaaa", "app.kubernetes.io/managed-by": "bridge"},
            "annotations": {
                "bridge.internal/holder": "ann@laptop",
                "bridge.internal/target": "deployment/web",
                "bridge.internal/protection": "keeper",
                "bridge.internal/takeover": "allowed",
            },
        },
        "spec": {
            "holderIdentity": "ann@laptop",
            "leaseDurationSeconds": 30,
            "acquireTime": "2026-01-01T12:00:00.000000Z",
            "renewTime": "2026-01-01T12:00:00.000000Z",
            "leaseTransitions": 0,
        },
    }


@pytest.mark.parametrize(("grace", "seconds"), [(30, 30), (2.1, 3), (0.2, 1), (0, 1)])
def test_a_lease_lasts_whole_seconds_and_at_least_one(grace: float, seconds: int) -> None:
    assert lease(grace=grace)["spec"]["leaseDurationSeconds"] == seconds


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_is_read_back_from_what_it_is_written_as(when: datetime) -> None:
    text = micro_time(when)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    assert datetime.fromisoformat(text) == when


def test_times_are_written_in_utc() -> None:
    assert micro_time(datetime(2026, 1, 1, 14, tzinfo=timezone(timedelta(hours=2)))) == "2026-01-01T12:00:00.000000Z"


# ---- as a claim ------------------------------------------------------------------------------------------------------


@given(st.booleans(), st.integers(1, 300))
def test_a_claim_is_what_the_lease_was_made_of(takeover: bool, grace: int) -> None:
    assert Claim.of(lease(takeover=takeover, grace=grace)) == Claim(
        session="aaaaaaaa", holder="ann@laptop", target="deployment/web", takeover=takeover, protection="keeper",
        acquired="2026-01-01T12:00:00.000000Z", renewed=NOON, duration=grace,
    )  # fmt: skip


@pytest.mark.parametrize("there", [{}, {"metadata": {}, "spec": None}, {"metadata": {"labels": None}, "spec": {}}])
def test_a_lease_that_others_emptied_is_a_claim_of_nobody_that_is_dead(there: Json) -> None:
    claim = Claim.of(there)
    assert (claim.session, claim.holder, claim.takeover, claim.renewed) == ("", "", False, None)
    assert not claim.is_live(NOON)
    assert claim.age(NOON) is None


def test_a_claim_of_another_tool_has_its_holder() -> None:
    assert Claim.of({"spec": {"holderIdentity": "somebody"}}).holder == "somebody"


@pytest.mark.parametrize(("seconds", "live"), [(-3600, True), (0, True), (30, True), (32, True), (32.1, False)])
def test_a_claim_lives_for_its_duration_after_the_last_heartbeat_and_a_margin(seconds: float, live: bool) -> None:
    assert timedelta(seconds=2) == MARGIN
    assert Claim.of(lease(grace=30)).is_live(NOON + timedelta(seconds=seconds)) is live


@pytest.mark.parametrize(("seconds", "age"), [(12.5, 12.5), (0, 0), (-1, 0)])
def test_the_age_is_since_the_last_heartbeat_and_never_negative(seconds: float, age: float) -> None:
    assert Claim.of(lease()).age(NOON + timedelta(seconds=seconds)) == age


# ---- renewed, and taken ----------------------------------------------------------------------------------------------


def test_a_heartbeat_moves_the_renew_time_alone() -> None:
    server = stored(lease())
    before = copy.deepcopy(server.item)
    later = NOON + timedelta(seconds=10)
    server.patch(renew_patch(server.read(), "aaaaaaaa", later))
    assert Claim.of(server.item).renewed == later
    server.item["spec"]["renewTime"] = before["spec"]["renewTime"]
    assert server.item["spec"] == before["spec"]
    assert Claim.of(server.item) == Claim.of(before)


def test_a_lease_that_was_taken_is_not_renewed_by_who_had_it() -> None:
    server = stored(lease("bbbbbbbb"))
    assert renew_patch(server.read(), "aaaaaaaa", NOON) is None
    assert renew_patch(stored({"metadata": {}, "spec": {}}).read(), "aaaaaaaa", NOON) is None


leases = st.builds(
    lease,
    session=st.sampled_from(["bbbbbbbb", "cccccccc"]),
    takeover=st.booleans(),
    grace=st.integers(1, 60),
    protection=st.sampled_from(["keeper", "watchdog"]),
    holder=st.sampled_from(["bob@laptop", "cyd@laptop"]),
    owner=st.sampled_from(["", "uid-b", "uid-c"]),
)


@given(leases, leases)
def test_a_lease_that_is_taken_is_the_new_one_in_all_but_how_often_it_was(old: Json, new: Json) -> None:
    server = stored(old)
    for transitions in (1, 2):
        server.patch(take_patch(server.read(), new))
        assert Claim.of(server.item) == Claim.of(new)
        assert server.item["spec"] == {**new["spec"], "leaseTransitions": transitions}
        assert server.item["metadata"].get("ownerReferences") == new["metadata"].get("ownerReferences")
        for marks in ("labels", "annotations"):
            assert server.item["metadata"][marks] == new["metadata"][marks]


def test_what_others_put_on_a_lease_stays_but_not_in_its_spec() -> None:
    old = lease()
    old["metadata"]["annotations"]["theirs"] = "stays"
    old["spec"]["strategy"] = "OldestEmulationVersion"
    server = stored(old)
    server.patch(take_patch(server.read(), lease("bbbbbbbb")))
    assert server.item["metadata"]["annotations"]["theirs"] == "stays"
    assert "strategy" not in server.item["spec"]


def test_a_lease_without_anything_can_be_taken() -> None:
    server = stored({"metadata": {}})
    server.patch(take_patch(server.read(), lease()))
    assert Claim.of(server.item) == Claim.of(lease())


def test_two_who_take_a_dead_lease_at_once_have_one_winner() -> None:
    server = stored(lease("dead2222"))
    read = server.read()
    server.patch(take_patch(read, lease("aaaaaaaa")))
    with pytest.raises(ConflictError):
        server.patch(take_patch(read, lease("bbbbbbbb")))
    assert Claim.of(server.item).session == "aaaaaaaa"


def test_a_heartbeat_does_not_bring_back_a_lease_that_was_taken_meanwhile() -> None:
    server = stored(lease("dead2222"))
    read = server.read()
    server.patch(take_patch(read, lease("aaaaaaaa")))
    with pytest.raises(ConflictError):
        server.patch(renew_patch(read, "dead2222", NOON))

"""The table of who is alive, row by row, and what is told of a session of which something is missing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bridge.errors import TargetError
from bridge.plan.lease import MARGIN, Claim
from bridge.session.sessions import YOUNG, Life, _by_label, _by_session, _Traces
from bridge.wire.marks import SESSION_LABEL
from bridge.wire.undo import UndoRecord

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
S = "abcd2345"


def record(**changes: Any) -> UndoRecord:
    fields = {
        "session": S, "kind": "Deployment", "namespace": "shop", "name": "web", "uid": "u", "replicas": 2,
        "holder": "ann@laptop", "since": ago(300),
    }  # fmt: skip
    return UndoRecord(**(fields | changes))


def claim(silent_for: float = 1, **changes: Any) -> Claim:
    fields = {
        "session": S, "holder": "ann@laptop", "target": "deployment/web", "takeover": False, "protection": "keeper",
        "acquired": ago(300), "renewed": NOW - timedelta(seconds=silent_for), "duration": 30.0,
    }  # fmt: skip
    return Claim(**(fields | changes))


def pod(*, ready: bool, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "labels": {SESSION_LABEL: S}, **metadata},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def owned(age: float = 300) -> dict[str, Any]:
    marks = {"bridge.internal/holder": "bob@desk", "bridge.internal/target": "deployment/api"}
    return {"metadata": {"name": "r", "annotations": marks, "creationTimestamp": ago(age)}}


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat()


def traces(**found: Any) -> _Traces:
    """What was found of the session, each by its kind; nothing of the rest."""
    kinds = ("records", "unreadable", "copies", "claims", "owned", "services", "pods", "local")
    given = {name: {S: what} for name, what in found.items()}
    return _Traces(**({kind: {} for kind in kinds} | given), now=NOW)


def life(**found: Any) -> Life:
    return traces(**found).found(S, "shop").life


OLD, NEW = YOUNG.total_seconds() + 1, YOUNG.total_seconds() - 1


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        # its bridge runs, or ran, on this laptop: whatever the cluster shows
        ({"local": True, "claims": claim(silent_for=999)}, Life.ALIVE),
        ({"local": True, "records": record()}, Life.ALIVE),
        ({"local": False, "claims": claim(), "pods": [pod(ready=True)]}, Life.DEAD),
        # its Lease tells
        ({"claims": claim(silent_for=1)}, Life.ALIVE),
        ({"claims": claim(silent_for=30)}, Life.ALIVE),
        ({"claims": claim(silent_for=30 + MARGIN.total_seconds())}, Life.ALIVE),
        ({"claims": claim(silent_for=31 + MARGIN.total_seconds())}, Life.DEAD),
        ({"claims": claim(silent_for=99), "pods": [pod(ready=True)]}, Life.DEAD),
        ({"claims": claim(renewed=None)}, Life.DEAD),
        # it has none: the proxy pod tells
        ({"records": record(), "pods": [pod(ready=True)]}, Life.ALIVE),
        ({"records": record(), "pods": [pod(ready=False), pod(ready=True)]}, Life.ALIVE),
        ({"records": record(), "pods": [pod(ready=True, deletionTimestamp=ago(1))]}, Life.UNKNOWN),
        ({"records": record(), "pods": [pod(ready=False)]}, Life.UNKNOWN),
        # it has none of them: its age tells
        ({"records": record(since=ago(OLD))}, Life.DEAD),
        ({"records": record(since=ago(NEW))}, Life.UNKNOWN),
        ({"owned": owned(OLD)}, Life.DEAD),
        ({"owned": owned(NEW)}, Life.UNKNOWN),
        # nobody knows its age
        ({"records": record(since="yesterday")}, Life.UNKNOWN),
        ({"records": record(since="2020-01-01T00:00:00")}, Life.UNKNOWN),
        ({"services": ["web"]}, Life.UNKNOWN),
    ],
)
def test_life_is_told_by_the_first_row_that_applies(found: dict[str, Any], expected: Life) -> None:
    assert life(**found) is expected


def test_each_trace_alone_makes_a_session_but_a_pod_does_not() -> None:
    for name, what in {"records": record(), "claims": claim(), "owned": owned(), "services": ["web"]}.items():
        assert traces(**{name: what}).sessions() == [S]
    assert traces(pods=[pod(ready=True)], local=True).sessions() == []
    assert traces(records=record(), claims=claim(), owned=owned(), services=["web"]).sessions() == [S]


def test_what_is_told_comes_from_the_record_then_the_claim_then_the_replica_set() -> None:
    all_three = traces(records=record(), claims=claim(target="deployment/x"), owned=owned()).found(S, "shop")
    assert (all_three.target, all_three.holder, all_three.protection) == ("deployment/web", "ann@laptop", "keeper")
    assert all_three.heartbeat == 1
    claimed = traces(claims=claim(target="deployment/x"), owned=owned()).found(S, "shop")
    assert (claimed.target, claimed.holder, claimed.since) == ("deployment/x", "ann@laptop", ago(300))
    alone = traces(owned=owned(50)).found(S, "shop")
    assert (alone.target, alone.holder, alone.since) == ("deployment/api", "bob@desk", ago(50))
    assert (alone.heartbeat, alone.protection, alone.record, alone.claim) == (None, "", None, None)
    nearly_nothing = traces(services=["web", "api"]).found(S, "shop")
    assert (nearly_nothing.target, nearly_nothing.holder) == ("", "somebody")
    assert nearly_nothing.services == ("web", "api")


def test_a_copy_of_the_record_tells_what_it_is_all_about_as_well() -> None:
    found = traces(copies=record().render(), services=["web"]).found(S, "shop")
    assert (found.record, found.copy, found.unreadable) == (None, record(), None)
    assert (found.target, found.holder, found.since) == ("deployment/web", "ann@laptop", ago(300))


def test_a_record_that_cannot_be_read_is_told_of_the_session_that_has_its_target() -> None:
    newer = TargetError("the undo record is of version 99", hint="Update bridge.")
    there = replace(traces(claims=claim()), unreadable={"deployment/web": newer})
    assert there.found(S, "shop").unreadable is newer
    assert replace(there, records={S: record()}).found(S, "shop").unreadable is None
    assert replace(there, claims={S: claim(target="deployment/api")}).found(S, "shop").unreadable is None


def test_a_copy_that_cannot_be_read_is_told_only_where_it_is_needed() -> None:
    unusable = traces(copies='{"version": 99}', claims=claim()).found(S, "shop").unreadable
    assert unusable
    assert unusable.hint == "Update bridge."
    assert traces(copies='{"version": 99}', records=record()).found(S, "shop").unreadable is None


def test_a_session_is_named_by_its_target_or_said_to_have_none() -> None:
    assert str(traces(records=record()).found(S, "shop")) == f"deployment/web (session {S} of ann@laptop)"
    assert str(traces(services=["web"]).found(S, "shop")).startswith("a proxy pod without target")


def test_services_and_pods_are_told_apart_by_session() -> None:
    services = [
        {"metadata": {"name": "a"}, "spec": {"selector": {"app": "a", SESSION_LABEL: "s1"}}},
        {"metadata": {"name": "b"}, "spec": {"selector": {"app": "b", SESSION_LABEL: "s1"}}},
        {"metadata": {"name": "c"}, "spec": {"selector": {"app": "c"}}},
        {"metadata": {"name": "d"}, "spec": {}},
    ]
    assert _by_session(services) == {"s1": ["a", "b"]}
    one, two = pod(ready=True), pod(ready=False)
    assert _by_label([one, two]) == {S: [one, two]}

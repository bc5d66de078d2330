"""What the guard decides: whose the target is, what is to be undone, when, and in which words."""

import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keeper import duty

from bridge.wire import messages
from bridge.wire.lease import micro_time
from bridge.wire.marks import SESSION_LABEL, UNDO_ANNOTATION
from bridge.wire.orders import Orders
from bridge.wire.undo import UndoRecord

RECORD = UndoRecord(
    session="5e55101", kind="Deployment", namespace="shop", name="tasks", uid="u", replicas=3, holder="ann@laptop",
    since="2026-01-01T00:00:00Z", swapped=True, services=("tasks", "tasks-internal"), left=0,
)  # fmt: skip
ORDERS = Orders(session="5e55101", namespace="shop", grace=30, root="bridge-5e55101", lease="l", record=RECORD)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def workload(record: UndoRecord | None = RECORD, *, replicas: int | None = 0) -> dict:
    annotations = {"team": "a"} | ({UNDO_ANNOTATION: record.render()} if record else {})
    metadata = {"name": "tasks", "uid": "u", "resourceVersion": "7", "annotations": annotations}
    return {"metadata": metadata, "spec": {} if replicas is None else {"replicas": replicas}}


def lease(*, session: str = "5e55101", renewed: datetime | None = NOW, seconds: int = 30) -> dict:
    stamp = {"renewTime": micro_time(renewed)} if renewed else {}
    metadata = {"uid": "u", "resourceVersion": "7", "labels": {SESSION_LABEL: session}}
    return {"metadata": metadata, "spec": {"holderIdentity": "bob@desk", "leaseDurationSeconds": seconds, **stamp}}


# -- rights ------------------------------------------------------------------------------------------------------------
def test_the_rights_are_those_of_the_records_objects_the_lease_and_the_root():
    assert {(right.verb, right.name) for right in duty.rights(ORDERS)} == {
        ("get", "deployment/tasks"), ("patch", "deployment/tasks"),
        ("get", "service/tasks"), ("patch", "service/tasks"),
        ("get", "service/tasks-internal"), ("patch", "service/tasks-internal"),
        ("get", "lease/l"), ("patch", "lease/l"), ("delete", "lease/l"), ("delete", "secret/bridge-5e55101"),
    }  # fmt: skip


def test_a_session_without_target_and_lease_needs_the_root_alone():
    (right,) = duty.rights(replace(ORDERS, lease="", record=None))
    assert (right.verb, right.path) == ("delete", "/api/v1/namespaces/shop/secrets/bridge-5e55101")


# -- whose the target is -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (workload(), duty.Standing.OURS),
        (workload(None, replicas=3), duty.Standing.NOBODYS),
        (workload(replace(RECORD, session="other")), duty.Standing.ANOTHERS),
        (workload(replace(RECORD, name="copied-from"), replicas=3), duty.Standing.NOBODYS),
        (workload(None, replicas=0), duty.Standing.OURS),
    ],
)
def test_whose_the_target_is_its_record_tells(there, expected):
    assert duty.standing(there, RECORD) is expected


def test_a_record_that_cannot_be_read_is_nobodys_business():
    there = workload()
    there["metadata"]["annotations"][UNDO_ANNOTATION] = "{"
    assert duty.standing(there, RECORD) is duty.Standing.UNKNOWN
    decision = duty.put_back(there, RECORD, ended=True)
    assert (decision.patch, decision.wait) == (None, False)
    assert "can't be read" in decision.done


def test_our_lease_is_renewed_at_the_version_that_was_read():
    renewal = duty.on_lease(lease(), "5e55101", NOW)
    assert isinstance(renewal, duty.Renewal)
    assert renewal.patch == {
        "metadata": {"uid": "u", "resourceVersion": "7"}, "spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}
    }  # fmt: skip


def test_the_lease_of_another_names_its_holder():
    assert duty.on_lease(lease(session="other"), "5e55101", NOW) == duty.Taken("bob@desk")
    assert duty.on_lease({"metadata": {}}, "5e55101", NOW) == duty.Taken("another session")


@given(st.integers(-100, 100), st.integers(0, 60), st.booleans(), st.booleans())
def test_a_session_lives_elsewhere_if_its_lease_is_in_force_by_somebody_elses_renewal(age, seconds, ours, by_us):
    renewed = NOW - timedelta(seconds=age)
    there = lease(session="5e55101" if ours else "other", renewed=renewed, seconds=seconds)
    stamp = micro_time(renewed if by_us else renewed - timedelta(seconds=1))
    expected = ours and not by_us and age <= seconds
    assert duty.lives_elsewhere(there, "5e55101", renewed=stamp, now=NOW) is expected


def test_a_lease_that_nobody_ever_renewed_keeps_nobody_from_restoring():
    assert not duty.lives_elsewhere(lease(renewed=None), "5e55101", renewed="", now=NOW)


# -- restoring ---------------------------------------------------------------------------------------------------------
@given(
    st.one_of(st.none(), st.sampled_from(["5e55101", "other"])),
    st.one_of(st.none(), st.integers(0, 9)),
    st.integers(0, 9),
    st.booleans(),
)
def test_only_what_our_session_has_changed_is_put_back(holder, replicas_now, replicas_before, swapped):
    record = holder and replace(RECORD, session=holder, replicas=replicas_before, swapped=swapped)
    there = workload(record or None, replicas=replicas_now)
    before = copy.deepcopy(there)
    decision = duty.put_back(there, RECORD, ended=True)
    assert there == before
    if holder != "5e55101":
        assert decision.patch is None
        assert decision.wait is (holder is None)
        return
    assert decision.patch is not None
    assert decision.patch["metadata"]["annotations"] == {UNDO_ANNOTATION: None}
    assert decision.patch["metadata"]["resourceVersion"] == "7"
    in_force = swapped and replicas_now == RECORD.left
    assert decision.patch.get("spec") == ({"replicas": replicas_before} if in_force else None)
    assert decision.wait is swapped


@given(st.booleans(), st.integers(0, 9), st.booleans())
def test_a_record_that_was_lost_is_made_up_for_only_while_something_speaks_for_the_session(ended, replicas_now, same):
    """A rollback replaces a Deployment's annotations; a restore takes the record away, too."""
    there = workload(None, replicas=replicas_now)
    there["metadata"]["uid"] = "u" if same else "made-anew"
    decision = duty.put_back(there, RECORD, ended=ended)
    lost = not ended and same and replicas_now == 0
    assert (decision.patch or {}).get("spec") == ({"replicas": 3} if lost else None)
    assert decision.wait


@pytest.mark.parametrize("narrowed", [True, False])
@pytest.mark.parametrize("leased", [True, False])
def test_a_lease_or_a_narrowed_service_speaks_for_the_session(narrowed, leased):
    service = {"metadata": {"uid": "u", "resourceVersion": "7"}, "spec": {"selector": {"app": "tasks"}}}
    service["spec"]["selector"] |= {SESSION_LABEL: "5e55101"} if narrowed else {}
    assert duty.speaks_for(service, "5e55101") is narrowed
    assert duty.speaks_for(lease(session="5e55101" if leased else "other"), "5e55101") is leased


# -- time --------------------------------------------------------------------------------------------------------------
@given(st.floats(0, 3600))
def test_a_lease_is_renewed_thrice_in_the_grace_time_but_not_too_often_nor_too_seldom(grace):
    every = duty.renew_every(grace)
    assert 1 <= every <= 10
    if 3 <= grace <= 30:
        assert every == pytest.approx(grace / 3)


# -- words -------------------------------------------------------------------------------------------------------------
def test_the_words_say_what_and_why():
    why = duty.silent(ORDERS)
    assert duty.restoring(ORDERS, why) == "nothing was heard of the laptop for 30 s; deployment/tasks is being put back"
    assert duty.restored(ORDERS, why, "was deleted").endswith("; deployment/tasks was deleted")
    assert duty.taken(ORDERS, "bob@desk") == "deployment/tasks was taken by bob@desk"
    alone = replace(ORDERS, record=None)
    assert duty.restored(alone, why, "") == "nothing was heard of the laptop for 30 s; the session has ended"


@given(st.text(max_size=2000))
def test_a_reason_of_any_length_fits_a_message(words):
    reason = duty.missing(duty.Right("get", "/", "x"), words)
    line = messages.render(messages.Guard(messages.GuardState.UNARMED, reason))
    assert messages.Decoder(messages.MAX_REQUEST_LINE).feed(line)

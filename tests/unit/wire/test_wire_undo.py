import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.wire.marks import SESSION_LABEL, UNDO_ANNOTATION
from bridge.wire.orders import Orders
from bridge.wire.undo import (
    PLURALS,
    BadRecord,
    NewerRecord,
    ObjectName,
    UndoRecord,
    is_rolled_out,
    record_of,
    restore_patch,
    widen_patch,
)
from tests.unit.plan.server import Server
from tests.unit.plan.worlds import Json, deployment, names, service

patient = settings(deadline=None)  # a busy machine is no failure of the property
records = st.builds(
    UndoRecord,
    session=names, kind=st.sampled_from(sorted(PLURALS)), namespace=names, name=names, uid=names,
    replicas=st.integers(0, 99), holder=st.text(max_size=9), since=names, image=st.text(max_size=9),
    objects=st.lists(st.builds(ObjectName, kind=names, name=names), max_size=3).map(tuple), swapped=st.booleans(),
    services=st.lists(names, max_size=3).map(tuple), left=st.none() | st.integers(0, 3),
    grace=st.floats(0, 1e6), takeover=st.booleans(),
)  # fmt: skip

MINE = UndoRecord(
    session="aaaaaaaa", kind="Deployment", namespace="shop", name="web", uid="uid-web", replicas=3,
    holder="ann@laptop", since="2026-01-01T00:00:00Z", swapped=True,
)  # fmt: skip


def holding(record: UndoRecord | str, *, replicas: int = 0) -> Server:
    workload = deployment(replicas=replicas)
    text = record if isinstance(record, str) else record.render()
    workload["metadata"]["annotations"] = {UNDO_ANNOTATION: text, "theirs": "stays"}
    return Server(workload)


# ---- the record ------------------------------------------------------------------------------------------------------


@patient
@given(records)
def test_a_record_is_read_back_from_what_it_is_written_as(record: UndoRecord) -> None:
    assert UndoRecord.parse(record.render()) == record


@patient
@given(records, st.dictionaries(names.map("new_".__add__), st.integers()))
def test_fields_that_a_later_bridge_adds_are_ignored(record: UndoRecord, more: Json) -> None:
    assert UndoRecord.parse(json.dumps(json.loads(record.render()) | more)) == record


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@patient
@given(records, st.sampled_from([*vars(MINE), "version"]), json_values)
def test_a_record_edited_by_hand_is_read_or_refused_as_such(record: UndoRecord, field: str, value: Any) -> None:
    text = json.dumps(json.loads(record.render()) | {field: value})
    try:
        UndoRecord.parse(text)
    except BadRecord:
        return


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '"x"', "7", '{"version":1}', '{"version":2,"kind":"Pod"}', '{"version":[]}']
)
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(BadRecord):
        UndoRecord.parse(text)


@pytest.mark.parametrize("version", [0, 3, "2", None])
def test_a_record_of_a_version_that_is_not_known_says_which(version: object) -> None:
    with pytest.raises(NewerRecord, match=str(version)) as caught:
        UndoRecord.parse(json.dumps({"version": version}))
    assert caught.value.version == version


VERSION_1 = (
    '{"holder":"ann@laptop","image":"bridge-proxy:0.1.0","kind":"Deployment","name":"web","namespace":"shop",'
    '"objects":[{"kind":"Secret","name":"bridge-aaaaaaaa"},{"kind":"ReplicaSet","name":"bridge-web-aaaaaaaa"}],'
    '"replicas":3,"session":"aaaaaaaa","since":"2026-01-01T00:00:00+00:00","swapped":true,"uid":"uid-web","version":1}'
)


def test_a_record_of_version_1_is_one_that_left_nothing_running_and_changed_no_services() -> None:
    record = UndoRecord.parse(VERSION_1)
    assert (record.left, record.services, record.grace, record.takeover) == (0, (), 0, False)
    assert record.objects == (ObjectName("Secret", "bridge-aaaaaaaa"), ObjectName("ReplicaSet", "bridge-web-aaaaaaaa"))


def test_what_a_bridge_of_version_1_left_swapped_is_put_back() -> None:
    server = holding(VERSION_1)
    server.patch(restore_patch(server.read(), "aaaaaaaa"))
    assert server.item["spec"]["replicas"] == 3
    assert server.item["metadata"]["annotations"] == {"theirs": "stays"}


def test_a_record_names_its_target_and_where_things_are() -> None:
    assert MINE.target == "deployment/web"
    assert MINE.path == "/apis/apps/v1/namespaces/shop/deployments/web"
    assert MINE.service_path("front") == "/api/v1/namespaces/shop/services/front"


# ---- what is on the target -------------------------------------------------------------------------------------------


def test_a_target_without_annotations_has_no_record() -> None:
    assert record_of(deployment()) is None
    assert record_of({"metadata": {"name": "web", "annotations": None}}) is None


def test_a_copy_of_the_record_on_another_object_is_none() -> None:
    """The Deployment controller copies annotations to its ReplicaSets, and never takes them away there."""
    server = holding(MINE)
    server.item["metadata"]["name"] = "web-5d4f8c7b9"
    assert record_of(server.item) is None
    assert restore_patch(server.item, "aaaaaaaa") is None


def test_a_restore_is_sent_for_the_object_as_it_was_read_and_touches_what_is_ours_alone() -> None:
    assert restore_patch(holding(MINE).read(), "aaaaaaaa") == {
        "metadata": {"uid": "uid-web", "resourceVersion": "7", "annotations": {UNDO_ANNOTATION: None}},
        "spec": {"replicas": 3},
    }


@pytest.mark.parametrize(
    ("left", "swapped", "there", "after"),
    [
        (0, True, 0, 3),
        (1, True, 1, 3),
        (0, True, 5, 5),  # scaled up meanwhile
        (1, True, 0, 0),  # scaled down meanwhile
        (0, False, 0, 0),  # only claimed: whoever scaled it to 0 was not us
        (None, False, 2, 2),  # kept as it is
        (None, True, 0, 0),
    ],
)
def test_replicas_are_put_back_only_where_they_are_what_the_session_left(
    left: int | None, swapped: bool, there: int, after: int
) -> None:
    record = UndoRecord(**{**vars(MINE), "left": left, "swapped": swapped})
    server = holding(record, replicas=there)
    server.patch(restore_patch(server.read(), "aaaaaaaa"))
    assert server.item["spec"]["replicas"] == after
    assert record_of(server.item) is None


def test_what_another_session_holds_is_left_to_it() -> None:
    assert restore_patch(holding(MINE).read(), "bbbbbbbb") is None
    assert restore_patch(deployment(), "aaaaaaaa") is None


@pytest.mark.parametrize(
    ("status", "replicas", "rolled_out"),
    [
        ({"observedGeneration": 4, "readyReplicas": 2}, 2, True),
        ({"observedGeneration": 4, "readyReplicas": 3}, 2, True),
        ({"observedGeneration": 4, "readyReplicas": 1}, 2, False),
        ({"observedGeneration": 3, "readyReplicas": 2}, 2, False),  # the pods of before: they may be on their way out
        ({"observedGeneration": 4}, 0, True),
        ({"observedGeneration": 4}, 1, False),
        (None, 1, False),
    ],
)
def test_a_rollout_is_done_when_its_controller_has_seen_it_and_enough_are_ready(
    status: Json | None, replicas: int, rolled_out: bool
) -> None:
    assert is_rolled_out({"metadata": {"generation": 4}, "status": status}, replicas) is rolled_out


# ---- Services --------------------------------------------------------------------------------------------------------

selectors = st.dictionaries(names, names, max_size=3)


def narrowed(selector: Json, session: str | None) -> Server:
    item = service(selector={**selector, **({SESSION_LABEL: session} if session else {})})
    item["metadata"] |= {"uid": "uid-svc", "resourceVersion": "7"}
    return Server(item)


@patient
@given(selectors)
def test_a_service_is_widened_to_what_others_have_it_select(selector: Json) -> None:
    server = narrowed(selector, "aaaaaaaa")
    server.patch(widen_patch(server.read(), "aaaaaaaa"))
    assert server.item["spec"]["selector"] == selector
    assert widen_patch(server.read(), "aaaaaaaa") is None


@patient
@given(selectors, st.sampled_from([None, "bbbbbbbb"]))
def test_a_service_that_is_not_narrowed_to_the_session_is_left_alone(selector: Json, other: str | None) -> None:
    assert widen_patch(narrowed(selector, other).read(), "aaaaaaaa") is None


def test_a_service_without_selector_has_nothing_of_a_session() -> None:
    item = narrowed({}, None).read()
    del item["spec"]["selector"]
    assert widen_patch(item, "aaaaaaaa") is None


def test_a_service_is_widened_as_it_was_read() -> None:
    server = narrowed({"app": "web"}, "aaaaaaaa")
    before = copy.deepcopy(server.item["metadata"])
    patch = widen_patch(server.read(), "aaaaaaaa")
    assert patch == {"metadata": {"uid": before["uid"], "resourceVersion": before["resourceVersion"]},
                     "spec": {"selector": {SESSION_LABEL: None}}}  # fmt: skip


# ---- the guard's orders ----------------------------------------------------------------------------------------------

orders = st.builds(
    Orders,
    session=names, namespace=names, grace=st.floats(0, 1e6), root=names, lease=names | st.just(""),
    record=st.none() | records,
)  # fmt: skip


@patient
@given(orders, st.dictionaries(names.map("new_".__add__), st.integers()))
def test_orders_are_read_back_from_what_they_are_written_as_whatever_a_later_bridge_adds(
    given_orders: Orders, more: Json
) -> None:
    assert Orders.parse(json.dumps(json.loads(given_orders.render()) | more)) == given_orders


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"session":"a","namespace":"b","grace":"long","root":"c"}'])
def test_what_is_no_orders_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Orders.parse(text)

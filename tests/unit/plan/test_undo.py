import copy
import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import TargetError
from bridge.plan.objects import UNDO_ANNOTATION
from bridge.plan.target import WorkloadKind
from bridge.plan.undo import (
    ObjectName,
    UndoRecord,
    new_record,
    record_of,
    record_patch,
    replicas_of,
    restore_patch,
    since,
    swap_patch,
    true_replicas,
)
from tests.unit.plan.worlds import Json, deployment, names, workloads

records = st.builds(
    UndoRecord,
    session=names, kind=st.sampled_from(WorkloadKind), namespace=names, name=names, uid=names,
    replicas=st.integers(0, 99), holder=st.text(max_size=9), since=names, image=st.text(max_size=9),
    objects=st.lists(st.builds(ObjectName, kind=names, name=names), max_size=3).map(tuple), swapped=st.booleans(),
)  # fmt: skip


class Server:
    """One object in an API server: applies merge patches (RFC 7386) under their preconditions."""

    def __init__(self, item: Json) -> None:
        self.item = copy.deepcopy(item)

    def patch(self, patch: Json | None) -> None:
        if patch is None:
            return
        for precondition in ("uid", "resourceVersion"):
            wanted = patch["metadata"].get(precondition)
            assert wanted in (None, self.item["metadata"][precondition]), "409 Conflict"
        self.item = merged(self.item, patch)
        self.changed()

    def changed(self) -> None:
        version = int(self.item["metadata"]["resourceVersion"])
        self.item["metadata"]["resourceVersion"] = str(version + 1)
        if not self.item["metadata"].get("annotations", True):
            del self.item["metadata"]["annotations"]

    def scale(self, count: int) -> None:
        self.item["spec"]["replicas"] = count
        self.changed()


def merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def claim(server: Server, session: str = "aaaaaaaa", *, replacing: str | None = None) -> UndoRecord:
    record = new_record(server.item, session=session, holder="ann@laptop", since="2026-01-01T00:00:00Z")
    server.patch(record_patch(server.item, record, replacing=replacing))
    return record


def swap(server: Server, session: str = "aaaaaaaa", *, replacing: str | None = None) -> UndoRecord:
    claimed = claim(server, session, replacing=replacing)
    patch, record = swap_patch(server.item, claimed)
    server.patch(patch)
    return record


def content(item: Json) -> Json:
    """All of an object but the API server's bookkeeping; absent replicas are the one that they mean."""
    result = copy.deepcopy(item)
    del result["metadata"]["resourceVersion"]
    result["spec"]["replicas"] = replicas_of(item)
    return result


@given(records)
def test_a_record_is_read_back_from_what_it_is_written_as(record: UndoRecord) -> None:
    assert UndoRecord.parse(record.render()) == record


@given(records, st.dictionaries(names.map("new_".__add__), st.integers()))
def test_fields_that_a_later_bridge_adds_are_ignored(record: UndoRecord, more: Json) -> None:
    assert UndoRecord.parse(json.dumps(json.loads(record.render()) | more)) == record


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '"x"', '{"version":1}', '{"version":1,"kind":"Pod"}'])
def test_a_damaged_record_is_told_with_the_way_out(text: str) -> None:
    with pytest.raises(TargetError, match="can't be read") as caught:
        UndoRecord.parse(text)
    assert UNDO_ANNOTATION in caught.value.hint


def test_a_record_of_another_version_asks_for_an_update() -> None:
    with pytest.raises(TargetError, match="version 2") as caught:
        UndoRecord.parse('{"version":2}')
    assert "Update" in caught.value.hint


@given(workloads())
def test_restore_undoes_swap(workload: Json) -> None:
    server = Server(workload)
    record = swap(server)
    assert replicas_of(server.item) == 0
    assert record_of(server.item) == record
    server.patch(restore_patch(server.item, "aaaaaaaa"))
    assert content(server.item) == content(workload)


@given(workloads())
def test_restoring_before_the_original_was_taken_out_removes_only_the_claim(workload: Json) -> None:
    server = Server(workload)
    claim(server)
    server.patch(restore_patch(server.item, "aaaaaaaa"))
    assert content(server.item) == content(workload)


@given(workloads())
def test_restoring_twice_is_harmless(workload: Json) -> None:
    server = Server(workload)
    swap(server)
    server.patch(restore_patch(server.item, "aaaaaaaa"))
    once = copy.deepcopy(server.item)
    assert restore_patch(server.item, "aaaaaaaa") is None
    assert server.item == once


edits = st.lists(
    st.one_of(
        st.tuples(st.just("image"), names),
        st.tuples(st.just("annotation"), names),
        st.tuples(st.just("replicas"), st.integers(1, 9)),
    ),
    max_size=4,
)


def edit(server: Server, what: str, value: Any) -> None:
    if what == "image":
        server.item["spec"]["template"]["spec"]["containers"][0]["image"] = value
    elif what == "annotation":
        server.item["metadata"].setdefault("annotations", {})[value] = "theirs"
    else:
        server.item["spec"]["replicas"] = value
    server.changed()


@given(workloads(), edits, edits, edits)
def test_what_someone_else_changed_meanwhile_stays(workload: Json, early: list, middle: list, late: list) -> None:
    """The same edits, with a session around them and without, end in the same object."""
    server, undisturbed = Server(workload), Server(workload)
    record = claim(server)
    for change in early:
        edit(server, *change)
        edit(undisturbed, *change)
    server.patch(swap_patch(server.item, record)[0])
    for change in middle + late:
        edit(server, *change)
        edit(undisturbed, *change)
    server.patch(restore_patch(server.item, "aaaaaaaa"))
    assert content(server.item) == content(undisturbed.item)


def test_a_scale_between_claim_and_swap_is_the_true_count() -> None:
    server = Server(deployment(replicas=2))
    record = claim(server)
    server.scale(5)
    patch, swapped = swap_patch(server.item, record)
    server.patch(patch)
    assert (record.replicas, swapped.replicas) == (2, 5)
    assert true_replicas(server.item) == 5


def test_a_scale_to_zero_before_the_swap_is_not_ours_to_undo() -> None:
    server = Server(deployment(replicas=2))
    claim(server)
    server.scale(0)
    server.patch(restore_patch(server.item, "aaaaaaaa"))
    assert replicas_of(server.item) == 0


def test_a_stale_read_is_refused_by_the_server() -> None:
    server = Server(deployment())
    stale = copy.deepcopy(server.item)
    server.scale(3)
    with pytest.raises(AssertionError, match="409"):
        server.patch(record_patch(stale, new_record(stale, session="a", holder="h", since="")))


def test_two_claims_of_what_was_read_at_once_have_one_winner() -> None:
    server = Server(deployment())
    read = copy.deepcopy(server.item)
    first, second = (new_record(read, session=name, holder="h", since="") for name in ("first", "second"))
    server.patch(record_patch(read, first))
    with pytest.raises(AssertionError, match="409"):
        server.patch(record_patch(read, second))
    assert record_of(server.item) == first


def test_another_sessions_record_is_not_touched() -> None:
    server = Server(deployment())
    swap(server, "theirs22")
    assert restore_patch(server.item, "aaaaaaaa") is None


def test_a_session_that_lost_its_claim_can_not_swap() -> None:
    server = Server(deployment())
    record = claim(server)
    claim(server, "bbbbbbbb", replacing="aaaaaaaa")
    with pytest.raises(TargetError, match="taken by ann@laptop meanwhile"):
        swap_patch(server.item, record)
    server.patch(restore_patch(server.item, "bbbbbbbb"))
    with pytest.raises(TargetError, match="restored meanwhile"):
        swap_patch(server.item, record)


@given(workloads(), st.integers(1, 4))
def test_what_dead_sessions_left_swapped_still_knows_the_true_count(workload: Json, deaths: int) -> None:
    server = Server(workload)
    for number in range(deaths):
        assert swap(server, f"dead{number}", replacing=f"dead{number - 1}").replicas == replicas_of(workload)
    takes_over = claim(server, "living22", replacing=f"dead{deaths - 1}")
    assert takes_over.swapped
    assert takes_over.replicas == replicas_of(workload)
    server.patch(restore_patch(server.item, "living22"))
    assert content(server.item) == content(workload)


def test_a_dead_sessions_count_is_forgotten_once_someone_scaled() -> None:
    server = Server(deployment(replicas=2))
    swap(server, "dead")
    server.scale(4)
    assert claim(server, "living22", replacing="dead").replicas == 4


def test_a_target_that_a_session_holds_is_refused_naming_who_and_since_when() -> None:
    server = Server(deployment())
    record = claim(server)
    with pytest.raises(TargetError, match=r"deployment/web is already swapped by ann@laptop \(since 2026-01-01T"):
        claim(server, "bbbbbbbb")
    assert record_patch(server.item, record)  # its own claim may be written again


def test_a_record_names_its_target_and_path() -> None:
    record = new_record(deployment(), session="a", holder="h", since="t", objects=(ObjectName("Secret", "s"),))
    assert record.target == "deployment/web"
    assert record.path == "/apis/apps/v1/namespaces/shop/deployments/web"
    assert dataclasses.replace(record, swapped=True).objects == record.objects


@pytest.mark.parametrize(
    ("begun", "said"),
    [
        ("2026-01-01T11:59:00Z", "60 s ago"),
        ("2026-01-01T11:57:00Z", "3 min ago"),
        ("2026-01-01T09:00:00+01:00", "4 h ago"),
        ("2025-12-25T12:00:00Z", "7 days ago"),
        ("2026-01-01T12:01:00Z", "since 2026-01-01T12:01:00Z"),
        ("2026-01-01T11:57:00", "since 2026-01-01T11:57:00"),
        ("noon", "since noon"),
    ],
)
def test_how_long_a_session_has_a_target_is_said_in_the_servers_time(begun: str, said: str) -> None:
    record = new_record(deployment(), session="a", holder="h", since=begun)
    assert since(record, datetime(2026, 1, 1, 12, tzinfo=UTC)) == said

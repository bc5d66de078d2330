import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import TargetError
from bridge.plan.undo import (
    check_unclaimed,
    held,
    new_record,
    parse_record,
    record_of,
    record_patch,
    restore_patch,
    since,
    swap_patch,
    true_replicas,
)
from bridge.wire.marks import UNDO_ANNOTATION
from bridge.wire.undo import ObjectName, UndoRecord, replicas_of
from tests.unit.plan.server import ConflictError, Server, content
from tests.unit.plan.worlds import Json, deployment, names, workloads

lefts = st.sampled_from([0, 1, None])


def record_for(server: Server, session: str = "aaaaaaaa", **more: Any) -> UndoRecord:
    return new_record(server.read(), session=session, holder="ann@laptop", since="2026-01-01T00:00:00Z", **more)


def claim(server: Server, session: str = "aaaaaaaa", *, replacing: str | None = None, **more: Any) -> UndoRecord:
    record = record_for(server, session, **more)
    server.patch(record_patch(server.read(), record, replacing=replacing))
    return record


def swap(
    server: Server, session: str = "aaaaaaaa", *, left: int | None = 0, replacing: str | None = None
) -> UndoRecord:
    claimed = claim(server, session, replacing=replacing)
    patch, record = swap_patch(server.read(), claimed, left=left)
    server.patch(patch)
    return record


def restore(server: Server, session: str = "aaaaaaaa") -> None:
    server.patch(restore_patch(server.read(), session))


# ---- there and back --------------------------------------------------------------------------------------------------


@given(workloads(), lefts)
def test_restore_undoes_swap(workload: Json, left: int | None) -> None:
    server = Server(workload)
    record = swap(server, left=left)
    assert replicas_of(server.item) == (replicas_of(workload) if left is None else min(left, replicas_of(workload)))
    assert record_of(server.item) == record
    assert true_replicas(server.item) == replicas_of(workload)
    restore(server)
    assert content(server.item) == content(workload)


def test_a_swap_that_leaves_all_running_does_not_touch_the_replicas() -> None:
    server = Server(deployment(replicas=2))
    claimed = claim(server)
    patch, record = swap_patch(server.read(), claimed, left=None)
    assert "spec" not in patch
    assert (record.left, record.swapped) == (None, False)


@given(workloads())
def test_restoring_before_the_original_was_taken_out_removes_only_the_claim(workload: Json) -> None:
    server = Server(workload)
    claim(server)
    restore(server)
    assert content(server.item) == content(workload)


@given(workloads(), lefts)
def test_restoring_twice_is_harmless(workload: Json, left: int | None) -> None:
    server = Server(workload)
    swap(server, left=left)
    restore(server)
    assert restore_patch(server.read(), "aaaaaaaa") is None


# ---- what others do meanwhile ----------------------------------------------------------------------------------------

Edit = Callable[[Server], None]


def edits(left: int | None) -> st.SearchStrategy[list[Edit]]:
    """Edits by others. A scale to just what the session has left can't be told from its own, so it is none of them."""
    counts = st.integers(0, 9).filter(lambda count: count not in (0, left))
    return st.lists(
        st.one_of(
            names.map(lambda image: lambda server: server.set_image(image)),
            names.map(lambda key: lambda server: server.annotate(key)),
            counts.map(lambda count: lambda server: server.scale(count)),
        ),
        max_size=4,
    )


@given(st.data(), workloads(), lefts)
def test_what_someone_else_changed_meanwhile_stays(data: st.DataObject, workload: Json, left: int | None) -> None:
    """The same edits, with a session around them and without, end in the same object."""
    server, undisturbed = Server(workload), Server(workload)

    def edited() -> None:
        for edit in data.draw(edits(left)):
            edit(server)
            edit(undisturbed)

    edited()
    record = claim(server)
    edited()
    server.patch(swap_patch(server.read(), record, left=left)[0])
    edited()
    restore(server)
    assert content(server.item) == content(undisturbed.item)


def test_an_autoscaler_that_scales_what_was_left_has_the_last_word() -> None:
    server = Server(deployment(replicas=4))
    swap(server, left=1)
    server.scale(6)
    restore(server)
    assert replicas_of(server.item) == 6


def test_a_scale_between_claim_and_swap_is_the_true_count() -> None:
    server = Server(deployment(replicas=2))
    record = claim(server)
    server.scale(5)
    patch, swapped = swap_patch(server.read(), record)
    server.patch(patch)
    assert (record.replicas, swapped.replicas) == (2, 5)
    assert true_replicas(server.item) == 5


def test_taking_the_original_out_again_after_someone_scaled_it_up_keeps_their_count() -> None:
    server = Server(deployment(replicas=2))
    record = swap(server)
    server.scale(5)
    server.patch(swap_patch(server.read(), record)[0])
    assert replicas_of(server.item) == 0
    restore(server)
    assert replicas_of(server.item) == 5


@pytest.mark.parametrize("left", [0, 1, None])
def test_a_scale_to_zero_before_the_swap_is_not_ours_to_undo(left: int | None) -> None:
    server = Server(deployment(replicas=2))
    record = claim(server)
    server.scale(0)
    server.patch(swap_patch(server.read(), record, left=left)[0])
    assert replicas_of(server.item) == 0
    restore(server)
    assert replicas_of(server.item) == 0


def test_a_target_deleted_and_made_anew_is_nothing_to_restore() -> None:
    server = Server(deployment(replicas=2))
    swap(server)
    made_anew = deployment(replicas=3)
    made_anew["metadata"]["uid"] = "uid-anew"
    assert restore_patch(made_anew, "aaaaaaaa") is None
    with pytest.raises(ConflictError):
        Server(made_anew).patch(restore_patch(server.read(), "aaaaaaaa"))


def test_a_target_made_anew_from_its_swapped_yaml_is_put_back() -> None:
    server = Server(deployment(replicas=2))
    swap(server)
    server.item["metadata"]["uid"] = "uid-anew"
    restore(server)
    assert content(server.item)["spec"] == content(deployment(replicas=2))["spec"]


def test_a_record_removed_by_hand_leaves_nothing_to_restore() -> None:
    server = Server(deployment(replicas=2))
    record = swap(server)
    del server.item["metadata"]["annotations"]
    assert restore_patch(server.read(), "aaaaaaaa") is None
    with pytest.raises(TargetError, match="restored meanwhile"):
        swap_patch(server.read(), record)


# ---- two who want the same target ------------------------------------------------------------------------------------


def test_a_stale_read_is_refused_by_the_server() -> None:
    server = Server(deployment())
    stale = server.read()
    record = record_for(server)
    server.scale(3)
    with pytest.raises(ConflictError):
        server.patch(record_patch(stale, record))


def test_two_claims_of_what_was_read_at_once_have_one_winner() -> None:
    server = Server(deployment())
    read = server.read()
    first, second = (record_for(server, name) for name in ("first", "second"))
    server.patch(record_patch(read, first))
    with pytest.raises(ConflictError):
        server.patch(record_patch(read, second))
    assert record_of(server.item) == first
    with pytest.raises(TargetError, match="already swapped"):
        record_patch(server.read(), second)


def test_another_sessions_record_is_not_touched() -> None:
    server = Server(deployment())
    swap(server, "theirs22")
    assert restore_patch(server.read(), "aaaaaaaa") is None


def test_a_session_that_lost_its_claim_can_not_swap() -> None:
    server = Server(deployment())
    record = claim(server)
    claim(server, "bbbbbbbb", replacing="aaaaaaaa")
    with pytest.raises(TargetError, match="taken by ann@laptop meanwhile"):
        swap_patch(server.read(), record)
    restore(server, "bbbbbbbb")
    with pytest.raises(TargetError, match="restored meanwhile"):
        swap_patch(server.read(), record)


@given(workloads(), st.lists(lefts, min_size=1, max_size=4), lefts)
def test_what_dead_sessions_left_swapped_still_knows_the_true_count(
    workload: Json, dead: list[int | None], left: int | None
) -> None:
    server = Server(workload)
    for number, of_dead in enumerate(dead):
        record = swap(server, f"dead{number}", left=of_dead, replacing=f"dead{number - 1}")
        assert record.replicas == replicas_of(workload)
    takes_over = swap(server, "living22", left=left, replacing=f"dead{len(dead) - 1}")
    assert takes_over.replicas == replicas_of(workload)
    restore(server, "living22")
    assert content(server.item) == content(workload)


@given(workloads())
def test_a_claim_over_a_dead_session_undoes_its_swap_even_if_it_is_never_swapped_itself(workload: Json) -> None:
    server = Server(workload)
    swap(server, "dead")
    takes_over = claim(server, "living22", replacing="dead")
    assert takes_over.swapped
    restore(server, "living22")
    assert content(server.item) == content(workload)


def test_a_session_that_leaves_all_running_brings_back_what_a_dead_one_took() -> None:
    server = Server(deployment(replicas=3))
    swap(server, "dead")
    swap(server, "living22", left=None, replacing="dead")
    assert replicas_of(server.item) == 3


def test_a_record_of_version_1_is_taken_over() -> None:
    server = Server(deployment(replicas=3))
    swap(server, "dead")
    as_version_1(server)
    assert swap(server, "living22", left=1, replacing="dead").replicas == 3
    restore(server, "living22")
    assert content(server.item) == content(deployment(replicas=3))


def as_version_1(server: Server) -> None:
    """Have the record as the first bridge wrote it."""
    fields = json.loads(server.item["metadata"]["annotations"][UNDO_ANNOTATION])
    for field in ("services", "left", "grace", "takeover"):
        del fields[field]
    server.annotate(UNDO_ANNOTATION, json.dumps(fields | {"version": 1}))


def test_a_dead_sessions_count_is_forgotten_once_someone_scaled() -> None:
    server = Server(deployment(replicas=2))
    swap(server, "dead")
    server.scale(4)
    assert claim(server, "living22", replacing="dead").replicas == 4


def test_a_claim_planned_before_the_other_session_swapped_does_not_lose_the_count() -> None:
    """With --takeover the other one may live: between plan and claim it can take the original out."""
    server = Server(deployment(replicas=3))
    theirs = claim(server, "theirs22", takeover=True)
    planned = record_for(server, "aaaaaaaa")
    server.patch(swap_patch(server.read(), theirs)[0])
    server.patch(record_patch(server.read(), planned, replacing="theirs22"))
    restore(server)
    assert replicas_of(server.item) == 3


def test_a_claim_planned_before_the_keeper_restored_does_not_restore_again() -> None:
    server = Server(deployment(replicas=3))
    swap(server, "dead")
    planned = record_for(server, "aaaaaaaa")
    restore(server, "dead")
    server.scale(0)
    server.patch(record_patch(server.read(), planned, replacing="dead"))
    restore(server)
    assert replicas_of(server.item) == 0


# ---- the record and its words ----------------------------------------------------------------------------------------


def test_a_record_says_all_that_it_takes_to_undo_and_to_find_its_session() -> None:
    objects = (ObjectName("Secret", "s"),)
    record = new_record(
        deployment(), session="aaaaaaaa", holder="ann@laptop", since="t", image="i", objects=objects,
        services=["web", "web-canary"], grace=30, takeover=True,
    )  # fmt: skip
    assert record == UndoRecord(
        session="aaaaaaaa", kind="Deployment", namespace="shop", name="web", uid="uid-web", replicas=2,
        holder="ann@laptop", since="t", image="i", objects=objects, swapped=False, services=("web", "web-canary"),
        left=0, grace=30, takeover=True,
    )  # fmt: skip
    assert parse_record(record.render()) == record


def test_a_damaged_record_is_told_with_the_way_out() -> None:
    workload = deployment()
    workload["metadata"]["annotations"] = {UNDO_ANNOTATION: "{}"}
    for read in (lambda: parse_record("{}"), lambda: record_of(workload), lambda: restore_patch(workload, "a")):
        with pytest.raises(TargetError, match="can't be read") as caught:
            read()
        assert UNDO_ANNOTATION in caught.value.hint


def test_a_record_of_a_later_version_asks_for_an_update() -> None:
    with pytest.raises(TargetError, match="version 3") as caught:
        parse_record('{"version":3}')
    assert "Update" in caught.value.hint


def test_a_target_that_a_session_holds_is_refused_naming_who_and_since_when() -> None:
    server = Server(deployment())
    record = claim(server)
    with pytest.raises(TargetError, match=r"deployment/web is already swapped by ann@laptop \(since 2026-01-01T") as no:
        claim(server, "bbbbbbbb")
    assert "`bridge restore web`" in no.value.hint
    with pytest.raises(TargetError, match=r"\(2 h ago\)"):
        check_unclaimed(server.item, now=datetime(2026, 1, 1, 2, tzinfo=UTC))
    assert record_patch(server.read(), record)  # its own claim may be written again


def test_a_holder_that_lets_others_take_its_target_is_told_with_how() -> None:
    assert "--takeover" in held("deployment/web", "ann@laptop", "3 min ago", may_be_taken=True).hint
    assert "--takeover" not in held("deployment/web", "ann@laptop", "3 min ago", may_be_taken=False).hint


def test_claiming_again_keeps_what_there_is_to_undo() -> None:
    server = Server(deployment(replicas=3))
    record = swap(server)
    server.patch(record_patch(server.read(), record))
    assert record_of(server.item) == record
    restore(server)
    assert replicas_of(server.item) == 3


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
    assert since(begun, datetime(2026, 1, 1, 12, tzinfo=UTC)) == said
    assert since(begun, None) == f"since {begun}"

from typing import Any

import pytest

from bridge.plan.drift import Drift, drift
from bridge.plan.undo import new_record, swap_patch
from bridge.wire.marks import SESSION_LABEL
from bridge.wire.undo import UndoRecord, patch_of
from tests.unit.plan.server import Server
from tests.unit.plan.worlds import Json, deployment, service


def swapped(*, left: int | None = 0) -> tuple[Server, UndoRecord]:
    server = Server(deployment(replicas=3))
    claimed = new_record(server.read(), session="aaaaaaaa", holder="ann@laptop", since="")
    server.patch(patch_of(server.read(), claimed.render()))
    patch, record = swap_patch(server.read(), claimed, left=left)
    server.patch(patch)
    return server, record


def narrowed(name: str = "web", **more: Any) -> Json:
    return service(name, selector={"app": "web", SESSION_LABEL: "aaaaaaaa"} | more)


@pytest.mark.parametrize("left", [0, 1, None])
def test_nothing_is_said_while_all_is_as_the_session_left_it(left: int | None) -> None:
    server, record = swapped(left=left)
    assert drift(record, server.read(), [narrowed(), narrowed("front", tier="front")]) == Drift()


def test_what_others_change_elsewhere_is_no_drift() -> None:
    server, record = swapped()
    server.set_image("web:2")
    server.annotate("theirs")
    assert drift(record, server.read(), [narrowed(theirs="too")]) == Drift()


def test_a_target_that_is_gone_ends_nothing() -> None:
    _, record = swapped()
    seen = drift(record, None, [])
    assert not seen.over
    assert "deployment/web was deleted" in seen.notes[0]


def test_a_session_without_its_record_is_over() -> None:
    _, record = swapped()
    assert drift(record, deployment(), [narrowed()]).over == "deployment/web was restored"


def test_a_session_whose_target_was_taken_is_over_and_told_by_whom() -> None:
    server, record = swapped()
    theirs = new_record(deployment(), session="bbbbbbbb", holder="bob@laptop", since="")
    server.patch(patch_of(server.read(), theirs.render()))
    theirs_alone = service("web", selector={"app": "web", SESSION_LABEL: "bbbbbbbb"})
    for services in ([], [service("web")], [theirs_alone]):
        assert drift(record, server.read(), services).over == "deployment/web was taken by bob@laptop"


def test_a_session_whose_target_was_taken_goes_on_while_nobody_else_answers() -> None:
    server, record = swapped()
    theirs = new_record(deployment(), session="bbbbbbbb", holder="bob@laptop", since="")
    server.patch(patch_of(server.read(), theirs.render()))
    seen = drift(record, server.read(), [narrowed(), service("front")])
    assert not seen.over
    assert not seen.widened
    assert seen.notes == ("deployment/web was taken by bob@laptop: what runs here answers until theirs does",)


def test_who_scales_the_original_up_is_told_what_its_pods_get_and_how_to_undo_it() -> None:
    server, record = swapped()
    server.scale(5)
    (alone,) = drift(record, server.read(), []).notes
    assert alone.startswith("somebody scaled deployment/web to 5: they share the traffic with this laptop")
    (beside,) = drift(record, server.read(), [narrowed()]).notes
    assert "none of its Services' traffic" in beside
    assert "kubectl scale deployment/web --replicas=0" in beside


def test_scaling_what_the_session_does_not_scale_is_everybodys_right() -> None:
    server, record = swapped(left=None)
    server.scale(5)
    assert drift(record, server.read(), [narrowed()]) == Drift()


def test_a_service_that_was_applied_anew_is_to_be_narrowed_again() -> None:
    server, record = swapped()
    seen = drift(
        record, server.read(), [narrowed(), service("front"), narrowed("other", **{SESSION_LABEL: "bbbbbbbb"})]
    )
    assert seen.widened == ("front", "other")
    assert [note.split(":")[0] for note in seen.notes] == [
        "somebody changed service/front", "somebody changed service/other",
    ]  # fmt: skip


def test_a_record_that_somebody_rolled_away_is_written_again_while_the_lease_is_ours() -> None:
    server, record = swapped()
    server.item["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "1"}
    seen = drift(record, server.read(), [narrowed()], claimed=True)
    assert seen.lost
    assert not seen.over
    assert drift(record, server.read(), [narrowed()]).over


def test_a_target_that_is_just_being_restored_is_no_rollback() -> None:
    """Replicas and record are put back in one step, the Lease is let go last."""
    server, record = swapped()
    server.item["metadata"]["annotations"] = {}
    server.scale(3)
    seen = drift(record, server.read(), [service("web")], claimed=True)
    assert seen.over == "deployment/web was restored"
    assert not seen.lost
    assert not seen.widened


def test_a_target_made_anew_has_no_record_to_be_written_again() -> None:
    server, record = swapped()
    server.item["metadata"] |= {"annotations": {}, "uid": "another"}
    assert drift(record, server.read(), [narrowed()], claimed=True).over


def test_pods_that_are_made_otherwise_by_now_are_noticed() -> None:
    server, record = swapped()
    template = server.read()["spec"]["template"]
    assert not drift(record, server.read(), [narrowed()], template=template).other
    server.set_image("web:2")
    seen = drift(record, server.read(), [narrowed()], template=template)
    assert seen.other
    assert not seen.over

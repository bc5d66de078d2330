"""What is found out before a session begins, of a target that somebody else's session may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.errors import TargetError
from bridge.session.examine import examine
from bridge.wire.marks import UNDO_ANNOTATION
from tests.component.session.kube import REPLICA_SETS
from tests.component.session.world import WEB, S, World

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _another_laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))


@pytest.mark.parametrize("known_by", ["its Lease", "its ReplicaSet"])
def test_a_target_that_was_rolled_back_during_a_session_is_said_to_be_held(world: World, known_by: str) -> None:
    """Its user was told to scale it up, and so would have lost the count of its replicas."""
    world.whole(world.swap())
    world.dies()
    world.kube.change(WEB, {"metadata": {"annotations": {UNDO_ANNOTATION: None}}})
    if known_by == "its Lease":
        world.kube.remove(f"{REPLICA_SETS}/bridge-web-{S}")
    else:
        world.kube.forbidden = {"GET leases"}
    with pytest.raises(TargetError, match="deployment/web is already swapped by ann@laptop") as failed:
        examine(world.cluster, world.request, world.told)
    assert "bridge restore web" in failed.value.hint


def test_a_target_that_nobody_has_swapped_is_said_to_have_no_replicas(world: World) -> None:
    world.kube.change(WEB, {"spec": {"replicas": 0}})
    with pytest.raises(TargetError, match="deployment/web has 0 replicas"):
        examine(world.cluster, world.request, world.told)

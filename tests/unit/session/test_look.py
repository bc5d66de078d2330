"""Which session of this laptop is meant by a name, and what is said where none is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from bridge.errors import BridgeError, TargetError
from bridge.plan.target import TargetSpec
from bridge.session.look import leave, local_status
from bridge.session.named import named, the_only_one
from bridge.session.store import LocalSession, process_start, this_laptops_store
from bridge.session.visiting import Gone
from tests.unit.session.test_store import a_session

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


def there_is(session: str, target: str | None = "deployment/tasks", *, alive: bool = True, **more: Any) -> LocalSession:
    started = process_start(os.getpid()) if alive else "1"
    found = a_session(session=session, target=target, started=started, **more)
    this_laptops_store().write(found)
    return found


def means(name: str, session: LocalSession) -> bool:
    return TargetSpec.parse(name).means(session.target or "", session.session)


@pytest.mark.parametrize("name", ["tasks", "deployment/tasks", "deploy/tasks", "abcd2345", "tasks:app"])
def test_a_session_is_meant_by_its_target_and_by_its_id(name: str) -> None:
    assert means(name, a_session())


@pytest.mark.parametrize("name", ["task", "statefulset/tasks", "api", "abcd2346"])
def test_another_name_means_another_session(name: str) -> None:
    assert not means(name, a_session())


def test_a_session_without_target_is_meant_by_its_id_alone() -> None:
    joined = a_session(target=None)
    assert means("abcd2345", joined)
    assert not means("tasks", joined)


def test_the_living_one_is_found_beside_dead_ones_of_the_same_target() -> None:
    there_is("aaaa2345", alive=False)
    living = there_is("bbbb2345")
    assert named("tasks") == living


def test_several_living_ones_are_told_apart_by_their_ids() -> None:
    there_is("aaaa2345", namespace="shop")
    second = there_is("bbbb2345", namespace="stage")
    with pytest.raises(TargetError, match="several sessions") as caught:
        named("tasks")
    assert "bbbb2345 (deployment/tasks in stage)" in caught.value.hint
    assert named("bbbb2345") == second


def test_a_dead_one_can_only_be_restored() -> None:
    there_is("aaaa2345", alive=False)
    with pytest.raises(BridgeError, match="is dead") as caught:
        named("tasks")
    assert "bridge restore tasks --namespace shop" in caught.value.hint


def test_a_name_that_no_session_has_is_told_with_those_that_there_are() -> None:
    with pytest.raises(TargetError, match="no session of web") as caught:
        named("web")
    assert "none at all" in caught.value.hint
    there_is("aaaa2345")
    there_is("bbbb2345", target=None)
    with pytest.raises(TargetError) as caught:
        named("web")
    assert "deployment/tasks, bbbb2345" in caught.value.hint


def test_without_a_name_the_only_living_one_is_meant() -> None:
    with pytest.raises(TargetError, match="no session"):
        the_only_one()
    there_is("aaaa2345", alive=False)
    living = there_is("bbbb2345")
    assert the_only_one() == living
    there_is("cccc2345", target=None, namespace="stage")
    with pytest.raises(TargetError, match="several sessions") as caught:
        the_only_one()
    assert caught.value.hint == "Say which: bbbb2345 (deployment/tasks in shop), cccc2345 (joined in stage)."


def test_status_tells_of_what_is_dead_and_of_what_does_not_answer() -> None:
    there_is("aaaa2345", alive=False)
    there_is("bbbb2345", target=None)
    dead, stopped = local_status()
    assert dead == {
        "session": "aaaa2345", "target": "deployment/tasks", "namespace": "shop", "context": "kind",
        "pid": os.getpid(), "state": "dead",
    }  # fmt: skip
    assert (stopped["state"], stopped["target"]) == ("unknown", "")


def test_leaving_a_bridge_that_does_not_answer_is_told() -> None:
    there_is("aaaa2345")
    with pytest.raises(Gone, match=f"process {os.getpid()} does not answer"):
        leave("tasks", timeout=1)

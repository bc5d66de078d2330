"""Which session `bridge leave`, `exec` and their like mean, of those that this laptop has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.errors import BridgeError, TargetError
from bridge.session import named as module
from bridge.session.named import named, the_only_one
from bridge.session.store import Store

from .test_store import a_session

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """This laptop's store."""
    store = Store(tmp_path)
    monkeypatch.setattr(module, "this_laptops_store", lambda: store)
    return store


def test_a_session_is_meant_by_its_targets_name_or_by_its_id(store: Store) -> None:
    store.write(a_session(session="aaaa2222", target="deployment/web"))
    store.write(a_session(session="bbbb3333", target="deployment/tasks"))
    assert [named(name).session for name in ("web", "deployment/web", "aaaa2222")] == ["aaaa2222"] * 3
    assert named("bbbb3333").target == "deployment/tasks"


def test_a_name_that_two_namespaces_have_is_asked_back_with_their_ids(store: Store) -> None:
    store.write(a_session(session="aaaa2222", target="deployment/web", namespace="shop"))
    store.write(a_session(session="bbbb3333", target="deployment/web", namespace="lab"))
    with pytest.raises(TargetError) as raised:
        named("web")
    assert "aaaa2222 (deployment/web in shop)" in (raised.value.hint or "")
    assert "bbbb3333 (deployment/web in lab)" in (raised.value.hint or "")
    assert named("bbbb3333").namespace == "lab"
    with pytest.raises(TargetError, match="several sessions"):
        the_only_one()


def test_the_living_one_is_meant_and_a_dead_one_is_to_be_restored(store: Store) -> None:
    store.write(a_session(session="aaaa2222", target="deployment/web", started="1"))
    with pytest.raises(BridgeError, match="is dead") as raised:
        named("web")
    assert "bridge restore web --namespace shop" in (raised.value.hint or "")
    store.write(a_session(session="bbbb3333", target="deployment/web"))
    assert named("web").session == the_only_one().session == "bbbb3333"


def test_none_of_that_name_says_what_there_is(store: Store) -> None:
    with pytest.raises(TargetError, match="no session of web") as raised:
        named("web")
    assert "none at all" in (raised.value.hint or "")


def test_the_command_that_restores_names_the_kubeconfig_that_was_given(store: Store) -> None:
    store.write(a_session(target="deployment/web", started="1", kubeconfig="/home/ann/my clusters"))
    with pytest.raises(BridgeError) as raised:
        named("web")
    assert raised.value.hint.endswith(
        "bridge restore web --namespace shop --context kind --kubeconfig '/home/ann/my clusters'"
    )

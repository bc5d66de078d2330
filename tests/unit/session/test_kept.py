"""Which command can use a session that is kept: one that wants the same of it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.errors import UsageError
from bridge.plan.ports import Expose
from bridge.plan.sources import Sources
from bridge.plan.target import TargetSpec
from bridge.session.kept import key_of, usable
from bridge.session.request import ClusterChoice, MountMode, RunRequest
from bridge.session.store import process_start, this_laptops_store
from tests.unit.session.test_store import a_session

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUEST = RunRequest(
    command=("python", "app.py"), target=TargetSpec.parse("tasks"), image="proxy:1", timeout=60, linger=600
)


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kubeconfig."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    (tmp_path / "config").write_text("current-context: one\n")
    return tmp_path / "config"


@pytest.mark.parametrize(
    "change",
    [
        {"command": ("pytest",)},
        {"linger": 60.0},
        {"env_file": Path("env")},
        {"env_json": Path("env.json")},
        {"takeover": True},
    ],
)
def test_what_is_a_run_s_own_is_left_out(change: Mapping[str, object]) -> None:
    assert key_of(replace(REQUEST, **change)) == key_of(REQUEST)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"target": TargetSpec.parse("deployment/tasks")},
        {"exposes": (Expose(pod=80, laptop=8000),)},
        {"where": ClusterChoice(namespace="other")},
        {"hold": 1.0},
        {"mount": MountMode.OFF},
        {"keep_original": True},
        {"log_requests": True},
    ],
)
def test_what_the_session_depends_on_is_not(change: Mapping[str, object]) -> None:
    assert key_of(replace(REQUEST, **change)) != key_of(REQUEST)  # type: ignore[arg-type]


def test_another_current_context_is_another_cluster(config: Path) -> None:
    before = key_of(REQUEST)
    config.write_text("current-context: two\n")
    assert key_of(REQUEST) != before


def test_without_a_kubeconfig_there_is_a_key_too(config: Path) -> None:
    config.unlink()
    assert key_of(REQUEST) == key_of(REQUEST)


def test_with_a_kubeconfig_that_can_not_be_read_there_is_a_key_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/proc/self/mem")  # a file; not even root can read its first byte
    assert key_of(REQUEST)


def test_a_session_is_used_that_is_kept_for_it_and_alive() -> None:
    store, key = this_laptops_store(), key_of(REQUEST)
    store.write(a_session())
    store.write(a_session(session="bbbb2222", kept="for another"))
    store.write(a_session(session="cccc2222", kept=key, started="long ago"))
    assert usable(key) is None
    alive = a_session(session="dddd2222", kept=key, started=process_start(os.getpid()))
    store.write(alive)
    assert usable(key) == alive


def test_it_is_not_for_a_command_that_is_started_again_by_itself() -> None:
    with pytest.raises(UsageError, match="--reload"):
        replace(REQUEST, reload=Sources.parse((), "/"))

"""The store writes records that survive, privately, and says when it can't."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from bridge.errors import BridgeError
from bridge.session.store import LocalSession, Store, process_start

if TYPE_CHECKING:
    from pathlib import Path


def a_session(**changes: object) -> LocalSession:
    fields: dict[str, object] = {
        "session": "abcd2345",
        "context": "kind",
        "server": "https://127.0.0.1:6443",
        "namespace": "shop",
        "target": "deployment/tasks",
        "pid": os.getpid(),
        "started": process_start(os.getpid()),
        "undo": "{}",
    }
    return LocalSession(**(fields | changes))  # type: ignore[arg-type]


def test_a_record_is_there_during_the_session_and_gone_after_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "sessions")
    with store.recorded(a_session()):
        assert store.sessions() == [a_session()]
        (file,) = (tmp_path / "sessions").iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert store.sessions() == []


def test_a_failed_restore_leaves_the_record(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(RuntimeError), store.recorded(a_session()):
        raise RuntimeError
    assert store.sessions() == [a_session()]


def test_a_directory_that_cannot_be_written_stops_before_any_change(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BridgeError, match="can't be written"):
        Store(tmp_path / "file" / "sessions").write(a_session())


def test_a_torn_file_is_no_session(tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_text('{"session": "abc')
    (tmp_path / "other.json").write_text('{"unknown": 1}')
    assert Store(tmp_path).sessions() == []


def test_a_session_is_alive_while_its_process_is_the_same() -> None:
    assert a_session().is_alive()
    assert not a_session(started="1").is_alive()  # the pid was given to another process
    assert not a_session(pid=2**22 + 1).is_alive()  # above the kernel's highest pid

"""The store writes records that survive, privately, and says when it can't."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BridgeError
from bridge.session.store import LocalSession, Store, process_start


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


def test_a_record_that_can_not_be_removed_is_told_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "abcd2345.json").mkdir()  # of which not even root can make a file that is gone
    Store(tmp_path).remove("abcd2345")
    assert "abcd2345" in caplog.text


def test_a_torn_file_is_no_session(tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_text('{"session": "abc')
    (tmp_path / "other.json").write_text('{"unknown": 1}')
    assert Store(tmp_path).sessions() == []


def test_a_session_is_alive_while_its_process_is_the_same() -> None:
    assert a_session().is_alive()
    assert not a_session(started="1").is_alive()  # the pid was given to another process
    assert not a_session(pid=2**22 + 1).is_alive()  # above the kernel's highest pid


def test_a_process_whose_name_is_cut_within_a_character_can_be_told() -> None:
    """The kernel keeps 15 bytes of it. `list` and others failed while such a one had a record's pid."""
    name, started = Path("/proc/self/comm"), process_start(os.getpid())
    before = name.read_bytes()
    try:
        name.write_bytes("a_name_of_14b_ü".encode())
        assert name.read_bytes() == b"a_name_of_14b_\xc3\n"
        assert process_start(os.getpid()) == started
    finally:
        name.write_bytes(before.rstrip())


def test_a_record_of_another_machine_is_not_ours(tmp_path: Path) -> None:
    """A home that two machines share: the process would seem to be dead here."""
    store = Store(tmp_path)
    store.write(a_session(machine="another pid:[4026531836]"))
    assert store.sessions() == []
    assert len(list(tmp_path.iterdir())) == 1


def test_a_record_of_an_older_bridge_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(a_session(kubeconfig="/k"))
    (file,) = tmp_path.glob("*.json")
    older = json.loads(file.read_text())
    del older["kubeconfig"]
    file.write_text(json.dumps(older))
    assert store.sessions() == [a_session()]


def test_a_record_of_a_newer_bridge_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    """Else `bridge restore` and the watchdog of the older one would not see the session at all."""
    store = Store(tmp_path)
    store.write(a_session())
    (file,) = tmp_path.glob("*.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "field_of_tomorrow": {"a": 1}}))
    assert store.sessions() == [a_session()]


@pytest.mark.parametrize("content", ["[]", "null", "1", '"text"', "{}", '["a"]', b"\xff\xfe"])
def test_anything_else_is_no_session(tmp_path: Path, content: str | bytes) -> None:
    (tmp_path / "odd.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert Store(tmp_path).sessions() == []


@given(
    st.fixed_dictionaries(
        {name: st.text() for name in ("context", "server", "namespace", "started")},
        optional={"target": st.none() | st.text(), "undo": st.none() | st.text(), "kubeconfig": st.none() | st.text()},
    )
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, changes: dict[str, object]) -> None:
    store, session = Store(tmp_path_factory.mktemp("store")), a_session(**changes)
    store.write(session)
    assert store.sessions() == [session]


def test_a_process_that_has_ended_but_was_not_waited_for_is_dead() -> None:
    """A bridge that was killed stays a zombie while its parent is busy."""
    child = subprocess.Popen(["true"])
    try:
        started = process_start(child.pid)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert process_start(child.pid) is None
        assert not a_session(pid=child.pid, started=started or "1").is_alive()
    finally:
        child.wait()

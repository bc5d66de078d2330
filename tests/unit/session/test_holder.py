"""The process that holds a session which is kept, as a real one; it does not come as far as to a session."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.errors import BridgeError
from bridge.session.holder import fork
from bridge.session.request import RunRequest

CLONE = Path(__file__).parents[3]
BRIDGE = """
import os
from bridge.laptop import messages
from bridge.session.holder import fork
try:
    line = fork(None, key="", at_terminal=False)  # nothing that can be run: a bug
except OSError:
    os._exit(99)  # it is the child that has come back
try:
    message, _ = messages.receive(line)
    print(message["message"])
except messages.Closed:
    print("not a word")
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_a_log_that_can_not_be_written_leaves_it_with_its_last_word_and_its_end(tmp_path: Path) -> None:
    """On a full disk it went on as a second bridge at the terminal."""
    (tmp_path / "bridge").mkdir()
    (tmp_path / "bridge" / "kept.log").symlink_to("/dev/full")
    environment = os.environ | {"XDG_STATE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", BRIDGE]
    done = subprocess.run(command, cwd=CLONE, env=environment, capture_output=True, text=True, timeout=60, check=True)
    told, code = done.stdout.splitlines()
    assert told.startswith("something that bridge did not expect: AttributeError: ")
    assert code == "1"


def test_a_place_that_can_not_be_written_is_said_before_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(BridgeError, match=r"kept\.log can't be written: Not a directory") as refused:
        fork(RunRequest(command=("true",), image="i", timeout=5), key="k", at_terminal=False)
    assert "set XDG_STATE_HOME" in refused.value.hint

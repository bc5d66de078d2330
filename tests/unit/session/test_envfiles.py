"""The files for the cluster's variables, where they can't be written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.errors import UsageError
from bridge.session.envfiles import write_environment
from bridge.session.request import RunRequest
from tests.unit.session.telling import Told

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("place", ["nowhere/env", "file/env", "folder"])
def test_a_file_that_can_not_be_written_is_said_and_nothing_is_left(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    request = RunRequest(command=("true",), image="i", timeout=5, env_file=tmp_path / place)
    with pytest.raises(UsageError, match=f"{place} can't be written: "):
        write_environment(request, {b"A": b"1"}, Told())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder"]

"""--mount-at: links in a folder of the user's, content in memory, nothing left of either."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest

from bridge.errors import UsageError
from bridge.session.outside import clear_up, outside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory that is on a disk, so that /dev/shm is taken."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def shown(directory: Path) -> Path:
    """Show two volumes, one of them mounted in the other; return where their content is."""
    with outside(directory) as at:
        assert at is not None
        parent, child = at.place(), at.place()
        (parent / "sub").mkdir(parents=True)
        (parent / "sub" / "below").write_text("the child's own, copied with its parent")
        child.mkdir()
        (child / "secret").write_text("secret")
        at.link("/srv/data", parent)
        at.link("/srv/data/sub", child)
        assert (directory / "srv/data/sub/secret").read_text() == "secret"
        assert not (directory / "srv/data/sub/below").exists()
        private = parent.parent
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        return private


@pytest.mark.usefixtures("runtime")
def test_the_content_is_in_memory_and_nothing_is_left(tmp_path: Path) -> None:
    private = shown(tmp_path / "pod")
    assert private.is_relative_to("/dev/shm")
    assert not private.exists()
    assert not (tmp_path / "pod").exists()


@pytest.mark.usefixtures("runtime")
def test_a_folder_of_the_users_stays_and_what_they_put_there(tmp_path: Path) -> None:
    (tmp_path / "pod").mkdir()
    with outside(tmp_path / "pod") as at:
        assert at is not None
        at.link("/etc/config", at.place())
        (tmp_path / "pod/etc/mine").write_text("mine")
    assert [each.name for each in (tmp_path / "pod").rglob("*")] == ["etc", "mine"]


@pytest.mark.usefixtures("runtime")
def test_only_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is not empty"), outside(tmp_path):
        pass
    with pytest.raises(UsageError, match="can't be used"), outside(tmp_path / "missing" / "pod"):
        pass
    with pytest.raises(UsageError, match="can't be used"), outside(tmp_path / "file"):
        pass


def test_what_a_killed_bridge_left_is_removed_and_what_a_living_one_has_is_not(tmp_path: Path, runtime: Path) -> None:
    directory, private = tmp_path / "pod", runtime / "bridge/files/1-0"  # pid 1 did not start at 0 ticks
    (private / "1").mkdir(parents=True)
    (directory / "etc").mkdir(parents=True)
    (directory / "etc/config").symlink_to(private / "1")
    (private / "at.json").write_text(json.dumps({"directory": str(directory), "made": True}))
    (private.parent / "1-1").mkdir()  # killed before it had written anything
    with outside(tmp_path / "other") as at:
        assert at is not None
        clear_up()
        at.link("/etc/config", at.place())
        assert (tmp_path / "other/etc/config").is_symlink()
    assert not directory.exists()
    assert not private.parent.exists()

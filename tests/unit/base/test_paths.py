import os
from pathlib import Path

import pytest

from bridge.errors import UsageError
from bridge.paths import config_file, private_directory, runtime_directory, state_directory


def test_directories_are_those_of_the_xdg_specification() -> None:
    home = {"HOME": "/home/ann"}
    assert config_file(home) == Path("/home/ann/.config/bridge/config.toml")
    assert state_directory(home) == Path("/home/ann/.local/state/bridge")
    assert runtime_directory(home) == Path("/home/ann/.local/state/bridge/run")
    xdg = home | {"XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/run/user/1"}
    assert config_file(xdg) == Path("/c/bridge/config.toml")
    assert state_directory(xdg) == Path("/s/bridge")
    assert runtime_directory(xdg) == Path("/run/user/1/bridge")


def test_a_relative_path_is_ignored() -> None:
    assert state_directory({"HOME": "/h", "XDG_STATE_HOME": "state"}) == Path("/h/.local/state/bridge")


def test_a_private_directory_is_the_users_alone(tmp_path: Path) -> None:
    made = private_directory(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700
    made.chmod(0o755)
    assert private_directory(made).stat().st_mode & 0o777 == 0o700


def test_what_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="can't be made"):
        private_directory(tmp_path / "file" / "x")


@pytest.mark.skipif(os.getuid() == 0, reason="root owns /")
def test_another_users_directory_is_refused() -> None:
    with pytest.raises(UsageError, match="belongs to another user"):
        private_directory(Path("/"))

from pathlib import Path

import pytest

from bridge import __version__
from bridge.config import Config, parse_duration
from bridge.errors import UsageError


def test_without_file_and_variables_there_are_defaults() -> None:
    assert Config.parse("", {}) == Config(image=f"bridge-proxy:{__version__}", timeout=60)


def test_a_variable_wins_over_the_file() -> None:
    file = 'image = "of-file:1"\ntimeout = 5\n'
    assert Config.parse(file, {}) == Config("of-file:1", 5)
    assert Config.parse(file, {"BRIDGE_IMAGE": "of-variable:1"}) == Config("of-variable:1", 5)


def test_an_empty_variable_is_as_none() -> None:
    assert Config.parse("", {"BRIDGE_TIMEOUT": ""}).timeout == 60


def test_an_unknown_setting_names_the_near_one() -> None:
    with pytest.raises(UsageError, match="no setting 'imgae'") as caught:
        Config.parse('imgae = "x"', {}, path="/c.toml")
    assert caught.value.hint == "Did you mean image?"
    assert caught.value.message.startswith("/c.toml: ")


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "inf", "true"])
def test_a_time_is_a_positive_number(value: str) -> None:
    with pytest.raises(UsageError, match=r"BRIDGE_TIMEOUT: .* is no time"):
        Config.parse("", {"BRIDGE_TIMEOUT": value})


@pytest.mark.parametrize("toml", ["image = 1", 'image = ""', 'image = "a b"', "timeout = true"])
def test_values_in_the_file_are_checked(toml: str) -> None:
    with pytest.raises(UsageError, match=r"config\.toml: (image|timeout)"):
        Config.parse(toml, {})


def test_a_file_that_is_no_toml_is_told() -> None:
    with pytest.raises(UsageError, match=r"c\.toml: "):
        Config.parse("image", {}, path="c.toml")


def test_the_file_is_found_in_the_users_configuration(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    assert Config.load(environ) == Config()
    file = tmp_path / ".config/bridge/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("timeout = 7")
    assert Config.load(environ).timeout == 7
    file.write_bytes(b"\xff")
    with pytest.raises(UsageError, match=r"config\.toml can't be read"):
        Config.load(environ)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1h", 3600), ("1h30m", 5400), (" 2m5s ", 125)]
)
def test_a_duration_is_written_as_kubernetes_does(text: str, seconds: float) -> None:
    assert parse_duration(text, "--linger") == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "10 m", "m", "-5", "1.5h", "5x", "10ms"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--linger"):
        parse_duration(text, "--linger")

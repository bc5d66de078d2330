import pytest

from bridge.errors import CommandError
from bridge.laptop.command import check_command
from bridge.laptop.init.child import candidates
from bridge.laptop.process import Exit


def script(path, mode=0o755):
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def test_a_command_is_looked_for_in_path(tmp_path):
    (tmp_path / "bin").mkdir()
    found = script(tmp_path / "bin" / "tool")
    assert check_command(["tool"], {"PATH": f"/nowhere:{tmp_path}/bin"}, "/") == str(found)


def test_a_relative_command_is_looked_for_in_the_working_directory(tmp_path):
    script(tmp_path / "tool")
    assert check_command(["./tool"], {"PATH": ""}, str(tmp_path)) == f"{tmp_path}/./tool"


def test_a_missing_command_is_127(tmp_path):
    with pytest.raises(CommandError, match="tool: command not found") as caught:
        check_command(["tool"], {"PATH": str(tmp_path)}, "/")
    assert caught.value.exit_code == 127


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_cannot_be_executed_is_126(tmp_path, kind):
    if kind == "file":
        script(tmp_path / "tool", 0o644)
    else:
        (tmp_path / "tool").mkdir()
    with pytest.raises(CommandError) as caught:
        check_command(["tool"], {"PATH": str(tmp_path)}, "/")
    assert caught.value.exit_code == 126


def test_candidates_follow_execvp():
    assert candidates(b"a/b", b"/bin") == [b"a/b"]
    assert candidates(b"x", b"/bin::/usr/bin") == [b"/bin/x", b"./x", b"/usr/bin/x"]
    assert candidates(b"x", None) == [b"/bin/x", b"/usr/bin/x"]


@pytest.mark.parametrize(
    ("ended", "code", "text"),
    [(Exit(code=3), 3, "exit code 3"), (Exit(signal=9), 137, "signal SIGKILL"), (Exit(signal=40), 168, "signal 40")],
)
def test_an_exit_is_told_as_a_shell_does(ended, code, text):
    assert (ended.exit_code, str(ended)) == (code, text)

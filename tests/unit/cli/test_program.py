"""The program as a shell starts it, with less around it than usual. Nothing here comes as far as to a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bridge

BRIDGE = [sys.executable, "-P", "-m", "bridge"]


def shell(script: str, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script, whose arguments are bridge's program and these words."""
    environment = os.environ | {"PYTHONPATH": str(Path(bridge.__file__).parents[1])}
    command = ["sh", "-c", script, "sh", *BRIDGE, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "words",
    [
        ("run", "true"),
        ("run", "--reload", "true"),
        ("run", "--linger", "1m", "true"),
        ("up",),
        ("ide", "vscode", "app.py"),
    ],
)
def test_a_working_directory_that_is_gone_is_said_with_the_next_step(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = shell('mkdir gone; cd gone; rmdir ../gone; exec "$@"', *words, folder=tmp_path)
    assert done.returncode == 127
    assert done.stderr.splitlines()[0] == "bridge: the working directory is gone"
    assert "Change to another one" in done.stderr


def test_without_stderr_it_does_the_same_in_silence(tmp_path: Path) -> None:
    done = shell('exec "$@" 2>&-', "run", "no-such-program", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (127, "", "")


def status(stdout: int, state: Path) -> subprocess.CompletedProcess[str]:
    """Have it write a result there: that there are no sessions."""
    environment = os.environ | {"PYTHONPATH": str(Path(bridge.__file__).parents[1]), "XDG_STATE_HOME": str(state)}
    command = [*BRIDGE, "status"]
    return subprocess.run(command, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)


def test_a_result_that_nobody_reads_is_no_failure(tmp_path: Path) -> None:
    """`bridge restore | true` had restored, and said that it had failed."""
    nobody, pipe = os.pipe()
    os.close(nobody)
    try:
        done = status(pipe, tmp_path)
    finally:
        os.close(pipe)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_result_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = status(full.fileno(), tmp_path)
    assert (done.returncode, done.stderr) == (1, "bridge: the result can't be written: No space left on device\n")

"""The program that an IDE starts (`bridge_run.py`), with a stand-in for bridge that tells what it sees."""

from __future__ import annotations

import ast
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bridge.session import debuggee

if TYPE_CHECKING:
    from collections.abc import Iterator

STAND_IN = f"""#!{sys.executable} -I
import json, os, signal, sys
ending = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]
signal.pthread_sigmask(signal.SIG_BLOCK, ending)
seen = {{"argv": sys.argv[1:], "pid": os.getpid(), "group": os.getpgrp(), "env": dict(os.environ)}}
print(json.dumps(seen), flush=True)
if "--end" not in sys.argv:
    print(json.dumps({{"signal": signal.sigwait(ending)}}), flush=True)
sys.exit(7)
"""


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    """The runner in a project, and the stand-in beside it."""
    stand_in = tmp_path / "bin/bridge"
    stand_in.parent.mkdir()
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    return Path(shutil.copy(debuggee.__file__, tmp_path / "bridge_run.py"))


class Started:
    """A started runner, and what the stand-in tells."""

    def __init__(self, runner: Path, *words: str, python: tuple[str, ...] = (), **options: Any) -> None:
        env = {"PATH": f"{runner.parent}/bin:/usr/bin:/bin", **options.pop("env", {})}
        command = [sys.executable, *python, str(runner), *words]
        self.process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **options
        )

    def tells(self) -> Any:
        """The next thing that the stand-in tells; nothing more: None."""
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def says(self) -> str:
        """The next line for the user."""
        return self.process.stderr.readline().decode().rstrip()


@contextmanager
def started(runner: Path, *words: str, **options: Any) -> Iterator[Started]:
    it = Started(runner, *words, **options)
    try:
        yield it
    finally:
        it.process.kill()  # which ends the stand-in
        while it.tells() is not None:
            pass
        it.process.communicate(timeout=10)


def test_bridge_runs_the_same_python_with_all_that_the_ide_has_added(runner: Path) -> None:
    words = [
        "--swap",
        "tasks",
        "--",
        "-X",
        "frozen_modules=off",
        "/debugpy",
        "--connect",
        "127.0.0.1:5",
        "app.py",
        "--",
    ]
    with started(runner, *words, python=("-u", "-X", "utf8"), env={"PYTHONPATH": "/proj", "SHOP": "1"}) as it:
        told = it.tells()
    program = ["env", "PYTHONPATH=/proj", sys.executable, "-u", "-X", "utf8", *words[3:]]
    assert told["argv"] == ["run", "--swap", "tasks", "--", *program]
    assert told["env"]["SHOP"] == "1"
    assert "PYTHONPATH" not in told["env"]  # bridge is a Python program, too


def test_the_exit_code_is_bridge_s(runner: Path) -> None:
    with started(runner, "--", "--end") as it:
        assert it.process.wait(10) == 7


def test_a_killed_process_group_lets_bridge_put_everything_back(runner: Path) -> None:
    """The stop button of VS Code."""
    with started(runner, "--", "app.py") as it:
        told = it.tells()
        assert told["group"] == told["pid"] != it.process.pid
        os.killpg(it.process.pid, signal.SIGKILL)
        assert it.tells() == {"signal": signal.SIGTERM}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_asks_for_the_end_is_passed_on_and_waited_for(runner: Path, number: signal.Signals) -> None:
    with started(runner, "--", "app.py") as it:
        it.tells()
        it.process.send_signal(number)
        assert it.tells() == {"signal": number}
        assert it.process.wait(10) == 7


def test_an_interrupt_is_bridge_s_own_business(runner: Path) -> None:
    """PyCharm's stop button interrupts each process of the tree."""
    with started(runner, "--", "app.py") as it:
        told = it.tells()
        it.process.send_signal(signal.SIGINT)
        os.kill(told["pid"], signal.SIGINT)
        assert it.tells() == {"signal": signal.SIGINT}
        assert it.process.wait(10) == 7


def test_a_restart_waits_for_the_session_before(runner: Path) -> None:
    with started(runner, "--swap", "tasks", "--", "app.py") as first:
        told = first.tells()
        with started(runner, "--swap", "search", "--", "app.py") as other:
            assert other.tells()["argv"][2] == "search"  # another target's session is not in the way
        with started(runner, "--swap", "tasks", "--", "app.py") as second:
            assert second.says() == "bridge: the session before puts everything back; this one begins after it ..."
            os.kill(told["pid"], signal.SIGKILL)  # however it ends
            assert second.tells()["argv"][2] == "tasks"


def test_bridge_has_the_terminal(runner: Path) -> None:
    master, slave = pty.openpty()
    command = ["setsid", "--ctty", "--wait", sys.executable, str(runner), "--", "app.py"]
    env = {"PATH": f"{runner.parent}/bin:/usr/bin:/bin"}
    process = subprocess.Popen(command, env=env, stdin=slave, stdout=slave, stderr=slave)
    try:
        told = json.loads(_shown(master))
        assert os.tcgetpgrp(master) == told["pid"]
        os.write(master, b"\x03")  # Ctrl-C
        assert "signal" in _shown(master, skip="^C")
        assert process.wait(10) == 7
    finally:
        os.close(slave)
        os.close(master)
        process.wait(10)


def _shown(master: int, skip: str = "") -> str:
    """The next line on the screen."""
    text = ""
    while "\n" not in text:
        assert select.select([master], [], [], 10)[0], text
        text += os.read(master, 65536).decode().removeprefix(skip)
    return text


def test_bridge_is_found_beside_the_interpreter_at_home_or_where_it_is_said(runner: Path, tmp_path: Path) -> None:
    at_home = tmp_path / "home/.local/bin"
    at_home.mkdir(parents=True)
    shutil.move(tmp_path / "bin/bridge", at_home / "bridge")
    for env in ({"HOME": f"{tmp_path}/home"}, {"BRIDGE": f"{at_home}/bridge"}):
        with started(runner, "--", "app.py", env=env) as it:
            assert it.tells()["argv"][-1] == "app.py"


def test_the_bridge_of_iproute2_is_not_taken_for_ours(runner: Path, tmp_path: Path) -> None:
    other = tmp_path / "sbin/bridge"
    other.parent.mkdir()
    shutil.copy("/bin/true", other)
    with started(runner, "--", "app.py", env={"PATH": f"{other.parent}:{tmp_path}/bin"}) as it:
        assert it.tells()["argv"][-1] == "app.py"


def test_the_oldest_python_that_is_promised_can_read_it() -> None:
    ast.parse(Path(debuggee.__file__).read_text(), feature_version=(3, 7))


def test_options_without_an_end_are_refused(runner: Path) -> None:
    done = subprocess.run([sys.executable, runner, "--swap", "tasks", "app.py"], capture_output=True, check=False)
    assert (done.returncode, b'"--" behind the options' in done.stderr) == (2, True)


def test_a_missing_bridge_is_said(runner: Path, tmp_path: Path) -> None:
    python = tmp_path / "venv/python"  # none beside it
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    done = subprocess.run(
        [python, runner, "--", "app.py"],
        env={"PATH": "/nowhere", "HOME": "/"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 127
    assert "bridge is not installed, or not in the PATH of this IDE" in done.stderr

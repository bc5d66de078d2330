"""The process's business is its own: terminal, signals, files, tree; and sessions that come and go leave nothing."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.e2e.places import LANES, place
from tests.e2e.running import PROGRAM, Bridge, assert_nothing_left, assert_restored

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.cluster.access import AnyLaptop, Cluster, Kubectl

SERVER = "tests/e2e/apps/server.py"


class Terminal:
    """A terminal in which a program runs; types, and waits for what it shows."""

    def __init__(self, master: int) -> None:
        self._master = master
        self.text = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait_for(self, pattern: str, timeout: float = 30) -> None:
        deadline = time.monotonic() + timeout
        while not re.search(pattern, self.text):
            left = deadline - time.monotonic()
            assert left > 0, f"no {pattern!r} in:\n{self.text}"
            if select.select([self._master], [], [], left)[0]:
                self.text += self._read(pattern)

    def _read(self, pattern: str) -> str:
        try:
            return os.read(self._master, 65536).decode(errors="replace")
        except OSError as error:  # EIO: everybody has closed it
            raise AssertionError(f"ended without {pattern!r}:\n{self.text}") from error


@contextmanager
def in_terminal(
    laptop: AnyLaptop, *words: str, program: str = PROGRAM
) -> Iterator[tuple[Terminal, subprocess.Popen[bytes]]]:
    """Run bridge, or another ``program``, as the foreground job of a terminal of its own."""
    master, slave = pty.openpty()
    # setsid --ctty: a session of its own, with this terminal as its controlling one.
    command = ["setsid", "--ctty", "--wait", program, *words]
    process = laptop.popen(command, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    try:
        yield Terminal(master), process
    finally:
        os.close(master)
        process.wait(60)


def test_a_pdb_prompt_works_and_ctrl_c_is_the_debugger_s(laptop: AnyLaptop, shop: str) -> None:
    # os.write: Ctrl-C in the middle of a print() would be pdb's own undoing (its handler prints, too).
    program = "import os, time\nbreakpoint()\nos.write(1, b'going' + b' on')\nwhile True: time.sleep(0.1)"
    with in_terminal(laptop, "run", "-n", shop, "python", "-c", program) as (terminal, process):
        terminal.wait_for(r"\(Pdb\) ")
        terminal.type("p 6 * 7\n")
        terminal.wait_for("42")
        terminal.type("c\n")
        terminal.wait_for("going on")
        terminal.type("\x03")  # pdb's handler stops the program again, instead of ending it
        terminal.wait_for(r"Program interrupted[\s\S]*\(Pdb\) ")
        terminal.type("q\n")
        terminal.wait_for("removed from the cluster")
        assert process.wait(60) == 1  # as Python ends on pdb's quit


@pytest.mark.parametrize(("words", "end"), [((), "removed from the cluster"), (("--linger", "1s"), "kept for 1s")])
def test_ctrl_backslash_is_the_process_s(laptop: AnyLaptop, shop: str, words: tuple[str, ...], end: str) -> None:
    """With it one gets a thread dump of a JVM, which goes on."""
    program = (
        "import os, signal, time; signal.signal(signal.SIGQUIT, lambda *_: os.write(1, b'thread' + b' dump'))\n"
        "os.write(1, b'going' + b' on')\nwhile True: time.sleep(0.1)"
    )
    command = ["run", "-n", shop, *words, "python", "-c", program]
    with in_terminal(laptop, *command) as (terminal, process):
        terminal.wait_for("going on")
        terminal.type("\x1c")
        terminal.wait_for("thread dump")
        terminal.type("\x03")
        terminal.wait_for(end)
        assert process.wait(60) == 128 + signal.SIGINT


def test_a_closed_terminal_restores(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    with in_terminal(laptop, "run", "-n", shop, "-s", "web", "python", SERVER, "8080") as (terminal, _):
        terminal.wait_for("is now answered by")
    kubectl.rollout("deployment/web")
    assert "bridge.internal" not in json.dumps(kubectl.json("get", "deployment/web"))


def test_working_directory_uid_and_arguments_pass_through(laptop: AnyLaptop, shop: str) -> None:
    script = 'pwd; id -u; umask; printf "%s|" "$@"'
    words = ["run", "-n", shop, "--", "sh", "-c", script, "sh", "a b", "", "*", "--help", "é"]
    done = laptop.run([PROGRAM, *words], cwd="/tmp")  # the laptop's
    uid = laptop.run(["id", "-u"]).stdout
    umask = laptop.run(["sh", "-c", "umask"]).stdout
    assert done.stdout == f"/tmp\n{uid}{umask}a b||*|--help|é|"


def test_env_files_hold_the_pod_s_environment_for_their_owner_only(laptop: AnyLaptop, shop: str) -> None:
    folder = laptop.run(["mktemp", "-d"]).stdout.strip()
    words = ["--env-file", f"{folder}/env", "--env-json", f"{folder}/env.json"]
    assert laptop.run([PROGRAM, "run", "-n", shop, "-s", "web", *words, "true"]).returncode == 0
    told = json.loads(laptop.run(["cat", f"{folder}/env.json"]).stdout)
    assert told["WEB_SERVICE_PORT"] == "80"
    assert "PATH" not in told
    assert "WEB_SERVICE_PORT='80'" in laptop.run(["cat", f"{folder}/env"]).stdout
    assert laptop.run(["stat", "-c", "%a", f"{folder}/env", f"{folder}/env.json"]).stdout == "600\n600\n"


def test_a_process_that_ends_before_its_pod_is_ready_has_its_exit_code_and_takes_nothing(
    laptop: AnyLaptop, kubectl: Kubectl, shop: str
) -> None:
    """A readiness gate that nobody opens: the process accepts, and its pod does not get Ready all the same."""
    kubectl("rollout", "pause", "deployment/web")  # the original stays as it is, and Ready
    gated = {"spec": {"template": {"spec": {"readinessGates": [{"conditionType": "tests.example/gate"}]}}}}
    kubectl("patch", "deployment/web", "--type=merge", "--patch", json.dumps(gated))
    before = kubectl.json("get", "deployment/web")["spec"]
    program = "import socket, time; there = socket.create_server(('', 8080)); time.sleep(8); raise SystemExit(7)"
    done = laptop.run([PROGRAM, "run", "-n", shop, "-s", "web", "python", "-c", program], timeout=60)
    assert done.returncode == 7, done.stderr
    assert "in time" not in done.stderr
    after = kubectl.json("get", "deployment/web")
    assert (after["spec"], after["status"]["readyReplicas"]) == (before, 1)
    assert_nothing_left(kubectl)


@pytest.mark.timeout(600)
def test_twenty_sessions_leave_the_target_as_it_was(laptop: AnyLaptop, cluster: Cluster) -> None:
    """Every fourth of them is ended by a person who mashes Ctrl-C."""
    with ThreadPoolExecutor(LANES) as lanes:
        list(lanes.map(lambda _: _sessions(laptop, cluster, 7), range(LANES)))


def _sessions(laptop: AnyLaptop, cluster: Cluster, count: int) -> None:
    with place(cluster) as (kubectl, namespace, before):
        annotations = kubectl.json("get", "deployment/web")["metadata"].get("annotations")
        for number in range(count):
            with Bridge(laptop, "run", "-n", namespace, "-s", "web", "python", SERVER, "8080") as session:
                session.swapped()
                for _ in range(5 if number % 4 == 0 else 1):
                    session.process.send_signal(signal.SIGINT)
                    select.select([], [], [], 0.05)
                session.wait()
        assert_restored(kubectl, before)
        assert kubectl.json("get", "deployment/web")["metadata"].get("annotations") == annotations
        assert namespace not in laptop.run(["sh", "-c", "cat ~/.local/state/bridge/sessions/*"]).stdout

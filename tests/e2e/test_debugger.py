"""Debugging in the cluster's place, with the real debugpy: what `bridge ide` writes is what is started here."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import threading
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.dap import Debugger
from tests.e2e.running import PROGRAM, Bridge, assert_restored, bridge, spec_of, status
from tests.e2e.workloads import client, deployment, manifest, service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.access import AnyLaptop, Kubectl

HELD = float(os.environ.get("BREAKPOINT_SECONDS", "15"))
"""Seconds that a breakpoint is held with traffic arriving: longer than anything is held by itself. 300 is promised."""
WAITING = 12
"""Requests that come meanwhile: more than the server's backlog of 5 takes."""


@pytest.fixture
def tasks(kubectl: Kubectl, namespace: str) -> str:
    """The demo's `tasks` and its database, as far as its code can tell: another image stands in for its own."""
    env = [{"name": "DB_HOST", "value": "tasks-db"}, {"name": "DB_PASSWORD", "value": "secret"}]
    kubectl.apply(manifest(deployment("tasks", container={"env": env}), service("tasks"), client(), *database()))
    for name in ("tasks", "tasks-db"):
        kubectl.rollout(f"deployment/{name}")
    kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
    return namespace


def database() -> list[dict[str, Any]]:
    """Redis with a password, in memory."""
    redis = {
        "image": "bridge-demo-database:1",
        "command": ["redis-server", "--requirepass", "secret", "--save", ""],
        "ports": [{"name": "redis", "containerPort": 6379}],
        "readinessProbe": {"tcpSocket": {"port": "redis"}, "periodSeconds": 1},
    }
    return [deployment("tasks-db", container=redis), service("tasks-db", port=6379, target="redis")]


@pytest.fixture
def project(laptop: AnyLaptop) -> Iterator[str]:
    """The demo's `tasks` as a project of the laptop's user."""
    folder = laptop.run(["mktemp", "-d"], check=True).stdout.strip()
    laptop.run(["cp", "-r", "docs/demo/tasks/.", folder], check=True)
    yield folder
    laptop.run(["rm", "-rf", folder], check=True)


class Project:
    """A project that is open in the IDE."""

    def __init__(self, laptop: AnyLaptop, folder: str) -> None:
        self._laptop = laptop
        self._folder = folder
        self.program = f"{folder}/app.py"
        self.python = self._run("python", "-c", "import sys; print(sys.executable)").strip()
        """The interpreter that is chosen in the IDE."""

    def _run(self, *words: str) -> str:
        return self._laptop.run(words, cwd=self._folder, check=True).stdout

    def vscode_starts(self, *words: str) -> dict[str, Any]:
        """What F5 starts: the entry that is written, with what VS Code and its extension put in."""
        self._run(PROGRAM, "ide", "vscode", *words)
        text = self._run("cat", ".vscode/launch.json").replace("${workspaceFolder}", self._folder)
        entry: dict[str, Any] = json.loads(text)["configurations"][0]
        return {**entry, "python": self.python}

    def pycharm_starts(self, *words: str) -> list[str]:
        """The command line of PyCharm's Debug button, for the configuration that is written; pydevd is debugpy's."""
        self._run(PROGRAM, "ide", "pycharm", *words)
        text = self._run("cat", ".run/bridge_tasks.run.xml").replace("$PROJECT_DIR$", self._folder)
        said = {each.attrib["name"]: each.attrib["value"] for each in ET.fromstring(text).iter("option")}
        folder = self._run(
            self.python, "-c", "import debugpy._vendored as it; print(it.project_root('pydevd'))"
        ).strip()
        debugger = [f"{folder}/pydevd.py", "--multiprocess", "--client", "127.0.0.1", "--port", "{port}", "--file"]
        return [self.python, *shlex.split(said["INTERPRETER_OPTIONS"]), *debugger, said["SCRIPT_NAME"]]

    def line_of(self, code: str) -> int:
        """The line of the program in which this is."""
        lines = self._run("cat", self.program).splitlines()
        return next(number for number, line in enumerate(lines, 1) if code in line)


@pytest.mark.timeout(HELD + 120)
def test_a_breakpoint_in_tasks_is_hit_from_the_cluster_and_held_while_traffic_arrives(
    laptop: AnyLaptop, kubectl: Kubectl, tasks: str, project: str
) -> None:
    before = spec_of(kubectl, "deployment/tasks")
    opened = Project(laptop, project)
    with Debugger(laptop, project) as ide:
        adds_a_task = opened.line_of("'RPUSH'")
        ide.start(opened.vscode_starts("--swap", "tasks", "-n", tasks, "app.py"), {opened.program: [adds_a_task]})
        ide.screen.wait_for("is now answered by", 60)

        asking = post(kubectl, "buy milk")
        thread, frame = ide.stopped()
        assert (frame["name"], frame["line"]) == ("add", adds_a_task)
        assert ide.variables(frame)["task"] == "'buy milk'"
        assert ide.evaluate(frame, "self.database.ask('LLEN', 'tasks')") == "0"  # the cluster's database

        waiting = [post(kubectl, f"task {number}") for number in range(WAITING)]
        threading.Event().wait(HELD)
        assert [each.poll() for each in (asking, *waiting)] == [None] * (WAITING + 1)
        assert status(laptop, tasks)["state"] == "connected"
        assert is_swapped(kubectl)

        ide.request("setBreakpoints", {"source": {"path": opened.program}, "breakpoints": []})
        ide.go_on(thread)
        answers = {each.communicate(timeout=60)[0] for each in (asking, *waiting)}
        assert answers == {f"{number} tasks\n200" for number in range(1, WAITING + 2)}
        ide.stop()
    assert_restored(kubectl, before, "deployment/tasks")


def test_the_stop_button_the_restart_button_and_a_killed_ide_put_everything_back(
    laptop: AnyLaptop, kubectl: Kubectl, tasks: str, project: str
) -> None:
    """Stopped while a breakpoint holds it and a request waits; begun again at once; then the IDE dies as it can."""
    before = spec_of(kubectl, "deployment/tasks")
    opened = Project(laptop, project)
    entry = opened.vscode_starts("--swap", "tasks", "-n", tasks, "app.py")
    with Debugger(laptop, project) as ide:
        ide.start(entry, {opened.program: [opened.line_of("'RPUSH'")]})
        ide.screen.wait_for("is now answered by", 60)
        asking = post(kubectl, "buy milk")
        ide.stopped()
        ide.stop()
        with Debugger(laptop, project) as again:
            again.start(entry, {})
            again.screen.wait_for("the session before puts everything back", 30)
            ide.screen.wait_for("removed from the cluster", 60)
            again.screen.wait_for("is now answered by", 60)
            assert post(kubectl, "buy bread").communicate(timeout=30)[0].endswith("200")
            again.kill()
            assert_restored(kubectl, before, "deployment/tasks")
        asking.communicate(timeout=30)


def test_pycharm_s_debugger_stops_in_tasks_and_its_stop_button_puts_everything_back(
    laptop: AnyLaptop, kubectl: Kubectl, tasks: str, project: str
) -> None:
    before = spec_of(kubectl, "deployment/tasks")
    opened = Project(laptop, project)
    command = opened.pycharm_starts("--swap", "tasks", "-n", tasks, "app.py")
    pycharm = ["python", "tests/e2e/apps/pycharm.py", opened.program, str(opened.line_of("'RPUSH'"))]
    with Bridge(laptop, *command, program=pycharm, stdin=subprocess.PIPE) as ide:
        ide.out.wait_for(r"version \S", 30)
        ide.swapped()
        asking = post(kubectl, "buy milk")
        ide.out.wait_for("stopped add\nlocals .*task='?buy milk", 30)
        press(ide, "resume")
        assert asking.communicate(timeout=30)[0] == "1 tasks\n200"
        press(ide, "stop")
        ide.out.wait_for("ended [0-9]+", 60)
    assert_restored(kubectl, before, "deployment/tasks")


def test_a_debugger_attaches_to_the_port_that_the_process_listens_on(
    laptop: AnyLaptop, kubectl: Kubectl, tasks: str, project: str
) -> None:
    opened = Project(laptop, project)
    port = free_port(laptop)
    listening = ["python", "-m", "debugpy", "--listen", f"127.0.0.1:{port}", "--wait-for-client", opened.program]
    with (
        bridge(laptop, tasks, "--swap", "tasks", "--", *listening) as session,
        Debugger(laptop, project, port=port) as ide,
    ):
        attach = {"name": "x", "type": "debugpy", "request": "attach", "connect": {"host": "127.0.0.1", "port": port}}
        ide.start(attach, {opened.program: [opened.line_of("'RPUSH'")]})
        session.swapped()
        asking = post(kubectl, "buy milk")
        _, frame = ide.stopped()
        assert ide.variables(frame)["task"] == "'buy milk'"
        ide.detach()  # the process goes on without it
        assert asking.communicate(timeout=30)[0] == "1 tasks\n200"
        assert session.end() == 0


def free_port(laptop: AnyLaptop) -> int:
    """A port on which nothing listens on the laptop."""
    look = "import socket; print(socket.create_server(('127.0.0.1', 0)).getsockname()[1])"
    return int(laptop.run(["python", "-c", look], check=True).stdout)


def press(ide: Bridge, button: str) -> None:
    """Press a button of the IDE's."""
    ide.process.stdin.write(f"{button}\n".encode())
    ide.process.stdin.flush()


def post(kubectl: Kubectl, task: str) -> subprocess.Popen[str]:
    """Add a task, from a pod of the cluster: the answer and its status, however long that takes."""
    words = ["exec", "client", "--", "curl", "-s", "-w", "%{http_code}", "-d", task, "http://tasks/"]
    return subprocess.Popen(kubectl.command(*words), stdout=subprocess.PIPE, text=True)


def is_swapped(kubectl: Kubectl) -> bool:
    """The session's pod is Ready and was never started again; the original is away, and its Deployment at peace."""
    [pod] = kubectl.json("get", "pods", "-l", "bridge.internal/session")["items"]
    ready = {each["type"]: each["status"] for each in pod["status"]["conditions"]}["Ready"]
    restarts = sum(each["restartCount"] for each in pod["status"]["containerStatuses"])
    conditions = kubectl.json("get", "deployment/tasks")["status"]["conditions"]
    available = {each["type"]: each["status"] for each in conditions}["Available"]
    return (ready, restarts, available) == ("True", 0, "True")

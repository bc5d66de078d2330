"""The watchdog as a real process, beside a tiny bridge that is really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from bridge.session import aftermath
from bridge.session.restore import put_back
from bridge.session.store import this_laptops_store
from bridge.session.watching import watched
from bridge.wire.marks import UNDO_ANNOTATION
from tests.component.session.kube import SECRETS
from tests.component.session.world import WEB, S, World
from tests.unit.session.telling import Told

if TYPE_CHECKING:
    from collections.abc import Iterator


CLONE = Path(__file__).parents[3]
BRIDGE = """
import os, sys
from bridge.session.store import LocalSession, process_start, this_laptops_store
from bridge.session.watching import watched
from tests.unit.session.telling import Told

kubeconfig, session, target, started, undo = sys.argv[1:]
record = LocalSession(
    session=session, context="here", server="", namespace="ns", target=target or None, pid=os.getpid(),
    started=started or process_start(os.getpid()), undo=undo or None, kubeconfig=kubeconfig,
)
with watched(Told()):
    if session:
        this_laptops_store().write(record)
    print("ready", flush=True)
    sys.stdin.read()
    this_laptops_store().remove(session)
"""


@dataclass
class Watched:
    bridge: subprocess.Popen[str]
    watchdog: psutil.Process

    def kill(self) -> None:
        self.bridge.kill()
        self.bridge.wait(10)

    def wait_until_it_watches(self) -> None:
        """From then on signals do not end it: its interpreter has started."""
        until = time.monotonic() + 10
        while not _ignored(self.watchdog.pid) >> (signal.SIGTERM - 1) & 1:
            assert time.monotonic() < until
            os.sched_yield()

    def wait(self) -> None:
        """Wait for the watchdog's end."""
        self.watchdog.wait(20)


def _ignored(pid: int) -> int:
    """The mask of the signals that a process ignores (proc(5), SigIgn)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("SigIgn")), 16)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "bridge"


@pytest.fixture
def world(world: World) -> World:
    """A target that is swapped."""
    world.whole(world.swap())
    world.kube.log.clear()
    return world


@contextmanager
def a_bridge(
    world: World, *, session: str = S, target: str = "deployment/web", started: str = "", undo: str = ""
) -> Iterator[Watched]:
    """It runs, with a watchdog, and the record of a session on the disk."""
    kubeconfig = str(world.folder.parent / "config")
    command = [sys.executable, "-c", BRIDGE, kubeconfig, session, target, started, undo]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=CLONE, text=True, **pipes) as bridge:
        assert bridge.stdout
        assert bridge.stdout.readline() == "ready\n"
        (watchdog,) = psutil.Process(bridge.pid).children()
        try:
            yield Watched(bridge, watchdog)
        finally:
            bridge.kill()
            if watchdog.is_running():
                watchdog.kill()


def test_when_bridge_is_killed_its_session_is_put_back(world: World, state: Path) -> None:
    with a_bridge(world) as there:
        there.kill()
        there.wait()
    assert world.as_is() == world.before
    assert world.kube.of_session() == []
    assert this_laptops_store().sessions() == []
    log = (state / "watchdog.log").read_text()
    assert "bridge was killed: putting back deployment/web" in log
    assert "deployment/web is back: 2 of 2 Ready" in log


def test_a_target_that_was_rolled_back_is_put_back_by_the_record_on_the_disk(world: World) -> None:
    """Nobody else has it where there are no Leases."""
    (local,) = world.store.sessions()
    world.kube.forbidden = {"GET leases"}
    world.kube.change(WEB, {"metadata": {"annotations": {UNDO_ANNOTATION: None}}})
    with a_bridge(world, undo=str(local.undo)) as there:
        there.kill()
        there.wait()
    assert world.as_is() == world.before
    assert world.kube.of_session() == []


def test_an_api_server_that_fails_is_tried_again(world: World) -> None:
    world.kube.fail("GET deployments")
    world.kube.fail("PATCH services/web")
    with a_bridge(world) as there:
        there.kill()
        there.wait()
    assert world.as_is() == world.before
    assert world.kube.of_session() == []


def test_a_log_that_can_not_be_written_keeps_nothing_from_being_put_back(world: World, state: Path) -> None:
    """On a full disk: it ended at its first line."""
    state.mkdir(parents=True)
    (state / "watchdog.log").symlink_to("/dev/full")
    with a_bridge(world) as there:
        there.kill()
        there.wait()
    assert world.as_is() == world.before
    assert world.kube.of_session() == []


def test_what_nobody_expected_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tries = [ZeroDivisionError("a bug"), None]

    def broken_at_first(*words: Any, **options: Any) -> None:
        if failure := tries.pop(0):
            raise failure
        put_back(*words, **options)

    monkeypatch.setattr(aftermath, "put_back", broken_at_first)
    (local,) = world.store.sessions()
    left = replace(local, kubeconfig=str(world.folder.parent / "config"), context="here")
    aftermath.restore_left([left], give_up_after=60, pauses=(0.01, 0.01))
    assert world.as_is() == world.before
    assert "bridge did not expect ZeroDivisionError: a bug" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_signals_that_end_a_login_do_not_end_it(world: World, number: signal.Signals) -> None:
    with a_bridge(world) as there:
        there.wait_until_it_watches()
        there.watchdog.send_signal(number)
        there.kill()
        there.wait()
    assert world.as_is() == world.before


def test_it_is_no_member_of_the_terminals_process_group(world: World) -> None:
    with a_bridge(world) as there:
        assert os.getsid(there.watchdog.pid) == there.watchdog.pid


def test_when_bridge_has_put_everything_back_there_is_nothing_to_do(world: World) -> None:
    with a_bridge(world) as there:
        assert there.bridge.stdin
        there.bridge.stdin.close()  # its end, in order: it removes its record
        assert there.bridge.wait(20) == 0
        there.wait()
    assert world.kube.log == []


def test_without_a_record_nothing_is_put_back(world: World) -> None:
    with a_bridge(world, session="") as there:
        there.kill()
        there.wait()
    assert world.kube.log == []


def test_the_record_of_an_earlier_process_with_the_same_pid_is_not_its_business(world: World) -> None:
    with a_bridge(world, started="1") as there:
        there.kill()
        there.wait()
    assert world.kube.log == []
    assert len(this_laptops_store().sessions()) == 1


def test_a_session_that_the_cluster_no_longer_has_is_forgotten(world: World) -> None:
    with a_bridge(world, session="zzzz2345") as there:
        there.kill()
        there.wait()
    assert world.replicas() == 0  # another session's
    assert this_laptops_store().sessions() == []


def test_a_secret_that_is_all_there_is_of_a_session_is_removed(world: World) -> None:
    """Secrets are not listed: only the record on the disk knows of it, and that goes."""
    alone = world.kube.get(f"{SECRETS}/bridge-{S}")
    assert alone
    alone["metadata"] |= {"name": "bridge-zzzz2345", "uid": "other"}
    world.kube.put(SECRETS, alone)
    with a_bridge(world, session="zzzz2345") as there:
        there.kill()
        there.wait()
    assert world.kube.get(f"{SECRETS}/bridge-zzzz2345") is None
    assert world.kube.get(f"{SECRETS}/bridge-{S}")
    assert this_laptops_store().sessions() == []


def test_a_laptop_that_can_not_start_one_is_told_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    told = Told()
    with watched(told):
        pass
    (warning,) = told.said("warn")
    assert warning.startswith("there is no watchdog: ")


def test_it_ends_with_the_block_and_leaves_no_process() -> None:
    before = psutil.Process().children()
    with watched(Told()):
        assert len(psutil.Process().children()) == len(before) + 1
    assert psutil.Process().children() == before

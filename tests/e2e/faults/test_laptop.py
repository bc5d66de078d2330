"""The laptop's side dies, stops, or is not as it should be."""

from __future__ import annotations

import json
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.e2e.faults.conftest import Stage, Watch
from tests.e2e.faults.guarantees import FULL, Guarantees, tries
from tests.e2e.places import LANES, place
from tests.e2e.running import PROGRAM, SERVER, Bridge, assert_restored, bridge, eventually, left, spec_of

if TYPE_CHECKING:
    from tests.cluster.access import AnyLaptop, Cluster, Kubectl
    from tests.cluster.laptop import Laptop

GRACE = 5
STARTUP = 3.0
"""Seconds that the original may take to start, on a machine that does all this at once; alone it takes one."""
STEPS = ["rooted", "leased", "created", "connected", "started", "ready", "narrowed", "scaled", "swapped"]
ENDING = ["put back", "widened"]
BEFORE_THE_KEEPER = ["rooted", "leased"]
"""Nothing was swapped yet; what is there, the laptop clears up with its next command."""


def test_a_killed_bridge_is_put_back_by_its_watchdog(stage: Stage, guarantees: Guarantees) -> None:
    bound = STARTUP + 5
    row = guarantees.row("kill -9 of bridge", who="watchdog", bound=f"{bound:g} s")
    for _ in range(tries(1, 2)):
        with stage.traffic() as meter, stage.session() as session:
            watch = Watch(meter, row)
            meter.wait_for("laptop pid=")
            watch.now()
            watchdog = session.watchdog()
            session.kill()
            watch.healthy_again("version=1", within=bound)
            watchdog.wait(60)
        watch.count()
        stage.assert_restored()


def test_a_laptop_that_is_gone_is_put_back_by_the_keeper(stage: Stage, guarantees: Guarantees) -> None:
    bound = GRACE + STARTUP + 5
    row = guarantees.row(f"kill -9 of all on the laptop (--grace {GRACE})", who="keeper", bound=f"{bound:g} s")
    for _ in range(tries(1, 2)):
        with stage.traffic() as meter, stage.session("--grace", str(GRACE)) as session:
            watch = Watch(meter, row)
            session.err.wait_for("protection: keeper", 20)
            meter.wait_for("laptop pid=")
            watch.now()
            session.kill_all()
            watch.healthy_again("version=1", within=bound)
        watch.count()
        stage.assert_restored()


def test_it_is_put_back_whatever_step_the_laptop_died_at(laptop: AnyLaptop, cluster: Cluster) -> None:
    steps = [*STEPS, *ENDING]
    with ThreadPoolExecutor(LANES) as lanes:
        list(lanes.map(lambda number: _steps(laptop, cluster, steps[number::LANES]), range(LANES)))


def _steps(laptop: AnyLaptop, cluster: Cluster, steps: list[str]) -> None:
    with place(cluster) as (kubectl, namespace, before):
        for step in steps:
            try:
                _died_at(laptop, kubectl, namespace, before, step)
            except BaseException as error:
                error.add_note(f"step {step}")
                raise


def _died_at(laptop: AnyLaptop, kubectl: Kubectl, namespace: str, before: object, step: str) -> None:
    words = ("--grace", str(GRACE), "-s", "web", "python", SERVER, "8080")
    with bridge(laptop, namespace, *words, env={"BRIDGE_STOP_AT": step}) as session:
        if step in ENDING:
            session.swapped()
            session.process.send_signal(signal.SIGTERM)
        _wait_until_stopped(session)
        session.kill_all()
    eventually(lambda: str(ready(kubectl)), "True", GRACE + STARTUP + 5)
    if step in BEFORE_THE_KEEPER:
        assert laptop.run([PROGRAM, "restore", "-n", namespace]).returncode == 0
    eventually(lambda: str("bridge.internal" in kubectl("get", "deployment/web", "-o", "json")), "False", 20)
    assert_restored(kubectl, before)


def _wait_until_stopped(session: Bridge) -> None:
    deadline = time.monotonic() + 60
    while not _is_stopped(session):
        assert time.monotonic() < deadline, session.err.text
        time.sleep(0.02)  # noqa: TID251  # nobody tells that a process has stopped


def _is_stopped(session: Bridge) -> bool:
    import psutil

    return psutil.Process(session.process.pid).status() == psutil.STATUS_STOPPED


def ready(kubectl: Kubectl, name: str = "deployment/web") -> bool:
    """Whether the original serves: Ready, and its Service selects it."""
    found = kubectl.json("get", name)
    selector = kubectl.json("get", "service/web")["spec"]["selector"]
    wanted = found["spec"]["replicas"]
    return wanted == found["status"].get("readyReplicas", 0) > 0 and "bridge.internal/session" not in selector


# ---- at random moments ---------------------------------------------------------------------------------------------
def test_it_is_put_back_whenever_all_of_the_laptop_is_killed(
    laptop: AnyLaptop, cluster: Cluster, guarantees: Guarantees
) -> None:
    """Kills at random moments, several sessions at once, each in a namespace of its own."""
    bound = GRACE + STARTUP + 5
    row = guarantees.row(
        f"kill -9 of all on the laptop, at random moments (--grace {GRACE})", who="keeper", bound=f"{bound:g} s"
    )
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    kills = [moments.uniform(0.2, 6.0) for _ in range(tries(12, 102))]
    with ThreadPoolExecutor(LANES) as lanes:
        for took in lanes.map(lambda number: _lane(laptop, cluster, kills[number::LANES], bound), range(LANES)):
            row.back += took


def _lane(laptop: AnyLaptop, cluster: Cluster, kills: list[float], bound: float) -> list[float]:
    with place(cluster) as (kubectl, namespace, before):
        return [_killed_after(laptop, kubectl, namespace, before, moment, bound) for moment in kills]


def _killed_after(
    laptop: AnyLaptop, kubectl: Kubectl, namespace: str, before: object, moment: float, bound: float
) -> float:
    with bridge(laptop, namespace, "--grace", str(GRACE), "-s", "web", "python", SERVER, "8080") as session:
        time.sleep(moment)  # noqa: TID251  # the moment is what is tried
        session.kill_all()
        died = time.monotonic()
        eventually(lambda: str(ready(kubectl)), "True", bound)
        took = time.monotonic() - died
        try:
            eventually(lambda: str(left(kubectl)), "[]", 30)
        except AssertionError:  # killed in the first milliseconds, before there was a keeper: nothing was swapped yet
            assert spec_of(kubectl) == before
            assert took < 1
            assert laptop.run([PROGRAM, "restore", "-n", namespace]).returncode == 0
            print(f"killed after {moment:.2f} s, before there was a keeper")
            eventually(lambda: str(left(kubectl)), "[]", 30)
        assert spec_of(kubectl) == before
    return took


# ---- not dead, but away --------------------------------------------------------------------------------------------
def test_a_bridge_that_was_stopped_for_longer_than_the_grace_time_swaps_again(
    stage: Stage, guarantees: Guarantees
) -> None:
    seconds = 40 if FULL else 12
    row = guarantees.row(
        f"SIGSTOP of bridge for {seconds} s; from SIGCONT (--grace {GRACE})", who="keeper, bridge", bound="15 s"
    )
    for _ in range(tries(1, 2)):
        with stage.traffic(timeout=15) as meter, stage.session("--grace", str(GRACE)) as session:
            watch = Watch(meter, row)
            session.err.wait_for("protection: keeper", 20)
            who = session.served_by()
            session.process.send_signal(signal.SIGSTOP)
            meter.wait_for("version=1", timeout=40)
            time.sleep(seconds - GRACE)  # noqa: TID251  # what the row says
            watch.now()
            session.process.send_signal(signal.SIGCONT)
            watch.healthy_again(who, within=15)
            session.end()
        watch.count()
        stage.assert_restored()


def test_a_disk_that_is_full_stops_a_session_before_anything_changes(stage: Stage, local_laptop: Laptop) -> None:
    full = "/tmp/full"  # on the laptop, whose /tmp is its own
    local_laptop.run(["mkdir", "-p", full], as_root=True, check=True)
    local_laptop.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=777", "tmpfs", full], as_root=True, check=True)
    try:
        local_laptop.run(["sh", "-c", f"dd if=/dev/zero of={full}/rest bs=4k count=1"], check=True)
        done = local_laptop.run(
            [PROGRAM, "run", "-n", stage.namespace, "-s", "web", "true"], env={"XDG_STATE_HOME": full}
        )
    finally:
        local_laptop.run(["umount", full], as_root=True, check=True)
    assert done.returncode != 0
    assert "can't be written" in done.stderr or "can't be made" in done.stderr
    assert "Traceback" not in done.stderr
    stage.assert_restored()


def test_a_laptop_whose_clock_is_an_hour_wrong_holds_and_restores_as_any_other(stage: Stage) -> None:
    """Ages and claims go by the API server's clock: any other laptop sees this session as alive."""
    program = ["python", "tests/e2e/apps/wrong_clock.py", "3600"]
    with stage.session("--grace", str(GRACE), program=program) as session:
        session.err.wait_for("protection: keeper", 20)
        time.sleep(GRACE * 2)  # noqa: TID251  # long enough for a wrong clock to matter
        elsewhere = {"HOME": "/tmp", "KUBECONFIG": "/home/dev/.kube/config"}  # knows nothing of the session
        listed = stage.laptop.run([PROGRAM, "list", "-n", stage.namespace, "-o", "json"], env=elsewhere)
        refused = stage.laptop.run([*program, "run", "-n", stage.namespace, "-s", "web", "true"], env=elsewhere)
        session.end()
    (found,) = json.loads(listed.stdout)["sessions"]
    assert found["life"] == "alive"
    assert found["heartbeat_age"] < GRACE * 2
    assert "already swapped by" in refused.stderr
    stage.assert_restored()

"""No process is left on the laptop. All of its processes are looked at, so nothing else may run there meanwhile."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.running import PROGRAM, SERVER, Bridge, assert_nothing_left

if TYPE_CHECKING:
    from tests.cluster.access import Kubectl
    from tests.cluster.laptop import Laptop


@pytest.mark.local_cluster
def test_the_whole_tree_ends_with_the_session(local_laptop: Laptop, shop: str) -> None:
    before = set(local_laptop.processes())
    script = "(setsid sleep 1000 &) ; (setsid sh -c 'trap \"\" TERM; sleep 1000' &) ; exit 5"
    done = local_laptop.run([PROGRAM, "run", "-n", shop, "sh", "-c", script], timeout=60)
    assert done.returncode == 5
    assert set(local_laptop.processes()) <= before


@pytest.mark.local_cluster
def test_a_killed_bridge_leaves_no_process(local_laptop: Laptop, kubectl: Kubectl, shop: str) -> None:
    before = set(local_laptop.processes())
    with Bridge(local_laptop, "run", "-n", shop, "-s", "web", "python", SERVER, "8080") as session:
        session.swapped()
        session.process.kill()
        session.wait()
        deadline = time.monotonic() + 20
        while not set(local_laptop.processes()) <= before:
            assert time.monotonic() < deadline, "processes of the session are still there"
            select.select([], [], [], 0.1)
    assert_nothing_left(kubectl)  # the watchdog was the last of them

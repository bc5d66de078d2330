"""Two developers want the same target in the same moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.e2e.faults.guarantees import NO_BOUND, Guarantees, tries
from tests.e2e.places import LANES, place
from tests.e2e.running import Bridge, assert_restored, bridge

if TYPE_CHECKING:
    from tests.cluster.access import AnyLaptop, Cluster

TWO = ("ann", "bob")


def test_exactly_one_of_two_developers_gets_the_target(
    laptop: AnyLaptop, cluster: Cluster, guarantees: Guarantees
) -> None:
    row = guarantees.row("two developers race for one target: exactly one wins", who="Lease", bound=NO_BOUND)
    races = tries(6, 51)
    with ThreadPoolExecutor(LANES) as lanes:
        for won in lanes.map(lambda _: _races(laptop, cluster, races // LANES), range(LANES)):
            row.back += [0.0] * won


def _races(laptop: AnyLaptop, cluster: Cluster, count: int) -> int:
    with place(cluster) as (kubectl, namespace, before):
        for _ in range(count):
            _race(laptop, namespace)
        assert_restored(kubectl, before)
    return count


def _race(laptop: AnyLaptop, namespace: str) -> None:
    words = ("-s", "web", "sleep", "60")
    with ExitStack() as stack:
        racers = {
            name: stack.enter_context(bridge(laptop, namespace, *words, env={"LOGNAME": name, "USER": name}))
            for name in TWO
        }
        winner = _winner(racers)
        (loser,) = set(TWO) - {winner}
        assert racers[loser].wait(30) == 3
        assert f"already swapped by {winner}@" in racers[loser].err.text
        racers[winner].end()


def _winner(racers: dict[str, Bridge]) -> str:
    """Wait until both are decided: one has started its process, the other has ended."""
    started = []
    for name, racer in racers.items():
        racer.err.wait_for(r"started sleep|already swapped by", 60)
        if "started sleep" in racer.err.text:
            started.append(name)
    assert len(started) == 1, {name: racer.err.text for name, racer in racers.items()}
    return started[0]

"""Two developers want the same target in the same moment."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.e2e.faults.guarantees import Guarantees, tries
from tests.e2e.running import Bridge, bridge

if TYPE_CHECKING:
    from tests.e2e.faults.conftest import Stage

TWO = ("ann", "bob")


def test_exactly_one_of_two_developers_gets_the_target(stage: Stage, guarantees: Guarantees) -> None:
    row = guarantees.row("two developers race for one target: exactly one wins", who="Lease", bound="-")
    for _ in range(tries(5, 50)):
        with ExitStack() as stack:
            racers = {
                name: stack.enter_context(
                    bridge(
                        stage.laptop, stage.namespace, "-s", "web", "sleep", "60", env={"LOGNAME": name, "USER": name}
                    )
                )
                for name in TWO
            }
            winner = _winner(racers)
            (loser,) = set(TWO) - {winner}
            assert racers[loser].wait(30) == 3
            assert f"already swapped by {winner}@" in racers[loser].err.text
            racers[winner].process.send_signal(signal.SIGTERM)
            racers[winner].wait()
        row.back.append(0.0)
    stage.assert_restored()


def _winner(racers: dict[str, Bridge]) -> str:
    """Wait until both are decided: one has started its process, the other has ended."""
    started = []
    for name, racer in racers.items():
        racer.err.wait_for(r"started sleep|already swapped by", 60)
        if "started sleep" in racer.err.text:
            started.append(name)
    assert len(started) == 1, {name: racer.err.text for name, racer in racers.items()}
    return started[0]

"""No failed request: across swap, restart of the process and restore, with a target that dies at once on SIGTERM."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.e2e.faults.guarantees import Guarantees, tries
from tests.e2e.running import SERVER, bridge

if TYPE_CHECKING:
    from tests.e2e.faults.conftest import Stage
    from tests.e2e.faults.traffic import Meter

RESTARTING = f"""
trap 'kill $P; exit 0' TERM
python {SERVER} 8080 & P=$!
sleep 3
kill $P; wait $P
python {SERVER} 8080 & P=$!
wait $P
wait $P
"""
"""A process that is restarted once, as by an edit: nobody listens in between."""


def test_no_request_fails_across_swap_restart_and_restore(stage: Stage, guarantees: Guarantees) -> None:
    row = guarantees.row(
        "swap, restart of the process, Ctrl-C and restore, one after another", who="bridge", bound="0 failed"
    )
    with stage.traffic() as meter:
        for _ in range(tries(3, 20)):
            with bridge(stage.laptop, stage.namespace, "-s", "web", "sh", "-c", RESTARTING) as session:
                session.swapped()
                session.out.wait_for(r"serving.*\n(.*\n)*.*serving", 20)
                meter.wait_for("laptop pid=")
                ended = time.monotonic()
                session.end()
            stage.assert_restored()
            row.back.append(_first_answer(meter, "version=1", ended))
    row.sent, row.failed = len(meter.of("new")), len(meter.failed("new"))
    assert meter.failed("new") == [], meter


def _first_answer(meter: Meter, who: str, since: float) -> float:
    """Seconds until somebody answered a request that was sent after that moment."""
    return min(one.ended for one in meter.look().answered_by(who, "new") if one.began >= since) - since


def test_no_request_fails_with_the_original_kept(stage: Stage, guarantees: Guarantees) -> None:
    row = guarantees.row("the same with --keep-original", who="bridge", bound="0 failed")
    with stage.traffic() as meter:
        for _ in range(tries(1, 2)):
            with stage.session("--keep-original") as session:
                meter.wait_for("laptop pid=")
                ended = time.monotonic()
                session.end()
            stage.assert_restored()
            row.back.append(meter.look().first_success_after(ended).ended - ended)
    row.sent, row.failed = len(meter.of("new")), len(meter.failed("new"))
    assert meter.failed("new") == [], meter

"""No failed request: across swap, restart of the process and restore, with a target that dies at once on SIGTERM."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.e2e.faults.traffic import traffic
from tests.e2e.running import SERVER, assert_restored, bridge, spec_of

if TYPE_CHECKING:
    from tests.cluster.access import AnyLaptop, Kubectl


def test_no_request_fails_across_swap_restart_and_restore(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    before = spec_of(kubectl)
    twice = f"python {SERVER} 8080 & P=$!; trap 'kill $P; exit 0' TERM; sleep 3; kill $P; wait $P; python {SERVER} 8080 & P=$!; wait $P; wait $P"
    with traffic(kubectl) as meter:
        for _ in range(6):
            with bridge(laptop, shop, "-s", "web", "sh", "-c", twice) as session:
                session.swapped()
                meter.wait_for("laptop pid=")
                session.out.wait_for(r"serving.*\n(.*\n)*.*serving", 20)
                session.process.send_signal(signal.SIGTERM)
                session.wait()
                print(session.err.text)
            assert_restored(kubectl, before)
    print(meter)
    assert meter.failed("new") == []

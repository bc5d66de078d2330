"""How long a start takes: from the command to the process's first line, and to the first request that it answers.

On the local cluster, image present, one session after another. Medians and spread are printed, nothing is asserted:
figures of one machine say little about another's.

    python -m tests.bench.start [RUNS]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from tests.cluster import access
from tests.e2e.running import PROGRAM, Bridge
from tests.e2e.workloads import client, deployment, manifest, service

if TYPE_CHECKING:
    from tests.cluster.access import Cluster

NAMESPACE = "bench-start"
# A second each: one that kube-proxy still sent to a pod that has gone would wait for its own timeout.
ASKING = "while :; do curl -s --max-time 1 http://web/ | head -c 6; echo; sleep 0.02; done"
SERVER = "tests/e2e/apps/server.py"


class Observer:
    """Asks from a pod of the cluster all the time, and knows when it was last answered by the laptop."""

    def __init__(self, cluster: Cluster) -> None:
        command = [cluster.kubectl.program, "--kubeconfig", str(cluster.kubectl.kubeconfig), "-n", NAMESPACE]
        self._asking = subprocess.Popen([*command, "exec", "client", "--", "sh", "-c", ASKING], stdout=subprocess.PIPE)
        self._answered = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()  # noqa: TID251  # the observer's

    def wait_for_laptop(self) -> None:
        """Wait for an answer from the laptop that comes from now on."""
        self._answered.clear()
        assert self._answered.wait(60)

    def close(self) -> None:
        """Stop looking; the pod is deleted with its namespace."""
        self._asking.kill()
        self._asking.wait()

    def _read(self) -> None:
        assert self._asking.stdout
        for line in self._asking.stdout:
            if line.startswith(b"laptop"):
                self._answered.set()


def one_start(cluster: Cluster, observer: Observer) -> tuple[float, float]:
    """Start one session; return the seconds to the first line and to the first answered request."""
    with Bridge(cluster.laptop, "run", "-n", NAMESPACE, "-s", "web", "python", SERVER, "8080") as session:
        session.out.wait_for("serving", 60)
        line = time.monotonic() - session.began
        observer.wait_for_laptop()
        return line, time.monotonic() - session.began


def spread(figures: list[float]) -> str:
    """Write median, minimum and maximum."""
    return f"median {statistics.median(figures):.2f} s  (min {min(figures):.2f}, max {max(figures):.2f})"


def helped(cluster: Cluster) -> float:
    """Return the seconds that ``bridge --help`` takes."""
    begun = time.monotonic()
    cluster.laptop.run([PROGRAM, "--help"], check=True)
    return time.monotonic() - begun


def main() -> None:
    """Measure and print."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with access.cluster(None, print) as cluster:
        cluster.kubectl("create", "namespace", NAMESPACE, check=False)
        kubectl = cluster.kubectl.within(NAMESPACE)
        kubectl.apply(manifest(deployment(), service(), client()))
        kubectl.rollout("deployment/web")
        kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
        observer = Observer(cluster)
        try:
            starts = [one_start(cluster, observer) for _ in range(runs + 1)][1:]  # the first warms caches
            print(f"first line of the process      {spread([line for line, _ in starts])}")
            print(f"first request answered by it   {spread([request for _, request in starts])}")
            print(f"bridge --help                  {spread([helped(cluster) for _ in range(runs)])}")
        finally:
            observer.close()
            cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


if __name__ == "__main__":
    main()

"""The pod's volumes, live: bridge beside `sshfs` over `kubectl port-forward`, on the same volumes, in turn.

Each workload has a volume with random files. Its process, started by bridge, and a program beside a plain `sshfs` read
them and write as many; all workloads at once. What was read and written is compared with what is in the cluster.

    python -m tests.bench.files [--workloads 4] [--files 3] [--mib 100] [--rounds 3]

Not part of `make bench`: it moves gigabytes, and its peer is another one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.tunnel.keys import SessionKeys, make_session_keys
from tests.cluster import access
from tests.e2e.running import PROGRAM, eventually
from tests.e2e.workloads import client, deployment, manifest

from . import ways
from .stage import staged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .stage import Stage

WORKER = "tests/bench/files_worker.py"
OURS, THEIRS = "bridge", "sshfs"


@dataclass(frozen=True)
class Size:
    """How much there is of everything."""

    workloads: int
    files: int
    mib: int

    @property
    def total(self) -> int:
        """MiB that all workloads together read, or write."""
        return self.workloads * self.files * self.mib


class Worker:
    """The program that reads and writes, in one folder."""

    def __init__(self, process: subprocess.Popen[Any]) -> None:
        self._process = process
        self.wait()

    def begin(self, task: str) -> None:
        """Have it read or write."""
        self._process.stdin.write(task + "\n")
        self._process.stdin.flush()

    def wait(self) -> dict[str, str]:
        """Wait until it is done; return the digest of each file."""
        line = self._process.stdout.readline()
        assert line, "the worker has ended"
        return json.loads(line)  # type: ignore[no-any-return]


# -- the cluster's side ------------------------------------------------------------------------------------------------
@contextmanager
def volumes(stage: Stage, size: Size) -> Iterator[None]:
    """The workloads, and `keeper`, a pod that sees all of their volumes."""
    keeper = client("keeper")
    keeper["spec"]["securityContext"] = {"runAsUser": 0}
    _mount(keeper["spec"], f"/tmp/{stage.namespace}", "/all")
    stage.kubectl.apply(manifest(keeper))
    stage.kubectl("wait", "--for=condition=Ready", "pod/keeper", "--timeout=60s")
    fill = (
        "for w in $(seq {0}); do mkdir -p /all/$w; chmod 777 /all/$w; "
        "for f in $(seq {1}); do head -c $(({2} * 1048576)) /dev/urandom > /all/$w/in-$f; done; done"
    )
    in_keeper(stage, fill.format(size.workloads, size.files, size.mib))
    try:
        stage.kubectl.apply(manifest(*(_workload(stage, number) for number in numbers(size))))
        for number in numbers(size):
            stage.kubectl.rollout(f"deployment/web-{number}")
        yield
    finally:
        in_keeper(stage, "rm -rf /all/*")


def in_keeper(stage: Stage, script: str) -> str:
    """Run a script that sees all volumes below /all."""
    return stage.kubectl("exec", "keeper", "--", "sh", "-c", script)


def digests(stage: Stage, number: int, name: str) -> dict[str, str]:
    """The digest of each file of a workload that is called so, as the cluster has it."""
    lines = in_keeper(stage, f"cd /all/{number} && sha256sum {name}-*").splitlines()
    return {path: digest for digest, path in (line.split() for line in lines)}


def numbers(size: Size) -> range:
    """The workloads are numbered."""
    return range(1, size.workloads + 1)


def _workload(stage: Stage, number: int) -> dict[str, Any]:
    workload = deployment(f"web-{number}")
    _mount(workload["spec"]["template"]["spec"], f"/tmp/{stage.namespace}/{number}", "/data")
    return workload


def _mount(pod: dict[str, Any], folder: str, path: str) -> None:
    pod.setdefault("volumes", []).append({"name": "data", "hostPath": {"path": folder, "type": "DirectoryOrCreate"}})
    pod["containers"][0].setdefault("volumeMounts", []).append({"name": "data", "mountPath": path})


# -- the two ways ------------------------------------------------------------------------------------------------------
@contextmanager
def ours(stage: Stage, size: Size) -> Iterator[list[Worker]]:
    """Each workload's process, started by bridge."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                _worker(stage, "/data", size, PROGRAM, "run", "-n", stage.namespace, "-s", f"web-{number}", "--")
            )
            for number in numbers(size)
        ]


@contextmanager
def theirs(stage: Stage, size: Size) -> Iterator[list[Worker]]:
    """For each workload a pod with sshd and its volume, `kubectl port-forward` to it, and `sshfs` through that."""
    keys = make_session_keys()
    with ExitStack() as stack:
        stage.kubectl.apply(ways._sshd_settings(keys))
        yield [stack.enter_context(_by_sshfs(stage, number, keys, size)) for number in numbers(size)]


@contextmanager
def _by_sshfs(stage: Stage, number: int, keys: SessionKeys, size: Size) -> Iterator[Worker]:
    pod = ways._sshd_pod()
    pod["metadata"]["name"] = f"sshd-{number}"
    pod["spec"]["containers"][0]["args"] = ["-o", "Subsystem=sftp internal-sftp"]
    _mount(pod["spec"], f"/tmp/{stage.namespace}/{number}", "/data")
    stage.kubectl.apply(pod)
    stage.kubectl("wait", "--for=condition=Ready", f"pod/sshd-{number}", "--timeout=60s")
    with ways._forwarding(stage, f"sshd-{number}", ways.SSHD_PORT) as (port, _):
        folder = stage.laptop.run(["mktemp", "-d"]).stdout.strip()
        key = f"{folder}.key"
        stage.laptop.write(key, keys.client_private, mode=0o600)
        options = f"port={port},IdentityFile={key},StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null"
        command = ["sshfs", "-f", "-F", "none", "-o", f"{options},Ciphers=aes128-gcm@openssh.com,LogLevel=ERROR"]
        process = stage.start(*command, "user@127.0.0.1:/data", folder, stdin=subprocess.DEVNULL)
        try:
            _wait_mounted(stage, folder)
            with _worker(stage, folder, size) as worker:
                yield worker
        finally:
            stage.laptop.run(["fusermount3", "-u", folder], check=False)
            process.terminate()
            process.wait(10)
            stage.laptop.run(["rm", "-r", folder, key], check=False)


def _wait_mounted(stage: Stage, folder: str) -> None:
    eventually(lambda: stage.laptop.run(["ls", folder]).stdout, "in-1")


@contextmanager
def _worker(stage: Stage, folder: str, size: Size, *starter: str) -> Iterator[Worker]:
    words = [*starter, "python", WORKER, folder, str(size.files), str(size.mib)]
    process = stage.start(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Worker(process)
    finally:
        process.stdin.close()  # it ends with its tasks
        process.wait(60)
        process.stdout.close()


# -- measuring ---------------------------------------------------------------------------------------------------------
def measured(stage: Stage, size: Size, workers: list[Worker], task: str) -> float:
    """Have all of them do it at once; return MiB/s of all together. What they had is what the cluster has."""
    begun = time.monotonic()
    for worker in workers:
        worker.begin(task)
    found = [worker.wait() for worker in workers]
    took = time.monotonic() - begun
    name = "in" if task == "read" else "out"
    for number, files in zip(numbers(size), found, strict=True):
        assert len(files) == size.files
        assert files == digests(stage, number, name), f"workload {number}: {task} is not identical"
    return size.total / took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.files", description=__doc__.split("\n")[0])
    parser.add_argument("--workloads", type=int, default=4)
    parser.add_argument("--files", type=int, default=3, help="of each workload")
    parser.add_argument("--mib", type=int, default=100, help="of each file")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    size = Size(asked.workloads, asked.files, asked.mib)
    with (
        access.cluster(None, lambda text: print(text, file=sys.stderr)) as cluster,
        staged(cluster) as stage,
        volumes(stage, size),
        ours(stage, size) as own,
        theirs(stage, size) as other,
    ):
        for task in ("read", "write"):
            rounds = [
                {way: measured(stage, size, workers, task) for way, workers in ((OURS, own), (THEIRS, other))}
                for _ in range(asked.rounds)
            ]
            rates = {way: statistics.median(each[way] for each in rounds) for way in (OURS, THEIRS)}
            ratios = [each[OURS] / each[THEIRS] for each in rounds]
            shown = ", ".join(f"{way} {rate:.0f} MiB/s" for way, rate in rates.items())
            print(f"{task:6} {shown}; ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} .. {max(ratios):.2f})")


if __name__ == "__main__":
    main()

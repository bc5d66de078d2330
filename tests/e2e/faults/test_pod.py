"""The cluster's side of a session dies: its pod, what runs in it, its node."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.cluster import second_node
from tests.e2e.faults.conftest import Stage, Watch
from tests.e2e.faults.guarantees import Guarantees, tries
from tests.e2e.running import answered_by
from tests.e2e.workloads import deployment

if TYPE_CHECKING:
    from tests.cluster.access import Kubectl
    from tests.cluster.settings import Settings

POD_STARTS = 2.5
"""Seconds that a proxy pod may take to start, on a machine that does all this at once; alone it takes one."""


def in_proxy_pod(kubectl: Kubectl, word: str) -> list[psutil.Process]:
    """The processes of the namespace's proxy pod that have ``word`` in their command line."""
    (pod,) = kubectl.json("get", "pods", "-l", "bridge.internal/session")["items"]
    uid = pod["metadata"]["uid"]
    found = []
    for process in psutil.process_iter():
        try:
            ours = uid in Path(f"/proc/{process.pid}/cgroup").read_text()
            if ours and any(word in part for part in process.cmdline()):
                found.append(process)
        except (OSError, psutil.Error):
            continue
    assert found
    return found


def kill(processes: list[psutil.Process]) -> None:
    """Kill them all; one of them may take another one along."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def test_a_deleted_proxy_pod_is_made_anew_and_found(stage: Stage, guarantees: Guarantees) -> None:
    bound = POD_STARTS + 5
    row = guarantees.row("the proxy pod is deleted", who="ReplicaSet, bridge", bound=f"{bound:g} s")
    for _ in range(tries(1, 2)):
        with stage.traffic() as meter, stage.session() as session:
            watch, who = Watch(meter, row), session.served_by()
            meter.wait_for(who)
            watch.now()
            stage.kubectl("delete", "pod", "-l", "bridge.internal/session", "--wait=false")
            session.err.wait_for("connected again to", 30)
            watch.healthy_again(who, within=bound)
            answered_by(stage.kubectl, who)
            session.end()
        watch.count()
        stage.assert_restored()


@pytest.mark.parametrize(("what", "word"), [("sshd", "sshd"), ("keeper", "entrypoint.py")])
def test_what_is_killed_in_the_proxy_pod_comes_back(stage: Stage, guarantees: Guarantees, what: str, word: str) -> None:
    bound = POD_STARTS + 5
    row = guarantees.row(f"kill -9 of the {what} in the proxy pod", who="keeper, kubelet, bridge", bound=f"{bound:g} s")
    for _ in range(tries(1, 2)):
        with stage.traffic() as meter, stage.session() as session:
            watch, who = Watch(meter, row), session.served_by()
            session.err.wait_for("protection: keeper", 20)
            meter.wait_for(who)
            watch.now()
            kill(in_proxy_pod(stage.kubectl, word))
            session.err.wait_for("connected again to", 30)
            watch.healthy_again(who, within=bound)
            answered_by(stage.kubectl, who)
            session.end()
        watch.count()
        stage.assert_restored()


def test_a_keeper_that_was_killed_restores_all_the_same(stage: Stage, guarantees: Guarantees) -> None:
    grace, bound = 5, 5 + POD_STARTS + 3 + 5
    row = guarantees.row(
        f"kill -9 of all on the laptop, then of the keeper (--grace {grace})", who="keeper", bound=f"{bound:g} s"
    )
    for _ in range(tries(1, 2)):
        with stage.traffic() as meter, stage.session("--grace", str(grace)) as session:
            watch = Watch(meter, row)
            session.err.wait_for("protection: keeper", 20)
            meter.wait_for("laptop pid=")
            watch.now()
            session.kill_all()
            kill(in_proxy_pod(stage.kubectl, "entrypoint.py"))
            watch.healthy_again("version=1", within=bound)
        watch.count()
        stage.assert_restored()


def test_a_proxy_pod_whose_node_is_gone_is_made_anew_on_another(
    stage: Stage, settings: Settings, guarantees: Guarantees
) -> None:
    """The cluster takes about 26 s until it gives a silent node's pods up (here: its settings are shortened)."""
    bound = 45.0
    row = guarantees.row("the proxy pod's node is gone (silent)", who="cluster, bridge", bound=f"{bound:g} s")
    with second_node.started(settings):
        stage.kubectl.apply(deployment(affinity=_prefers("node2")))
        stage.kubectl.rollout("deployment/web")
        stage.before = stage.kubectl.json("get", "deployment/web")["spec"]
        for _ in range(tries(1, 2)):
            with stage.traffic() as meter, stage.session() as session:
                watch, who = Watch(meter, row), session.served_by()
                meter.wait_for(who)
                (pod,) = stage.kubectl.json("get", "pods", "-l", "bridge.internal/session")["items"]
                assert pod["spec"]["nodeName"] == "node2"
                watch.now()
                second_node.vanish(settings)
                session.err.wait_for("connected again to", 90)
                watch.healthy_again(who, within=bound)
                second_node.start(settings)
                answered_by(stage.kubectl, who)
                session.end()
            watch.count()
            stage.assert_restored()


def _prefers(node: str) -> dict[str, object]:
    there = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    preferred = [{"weight": 100, "preference": there}]
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}

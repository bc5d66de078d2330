"""Pods that do not run, as kubelets and schedulers tell of them."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.cluster.trouble import Trouble, explain_pod, explain_replica_set, is_ready, progress


def pod(*containers: dict[str, Any], node: str = "n1", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": "Pending", "containerStatuses": list(containers), **status},
    }


def waiting(reason: str, message: str = "", name: str = "app", **rest: Any) -> dict[str, Any]:
    return {"name": name, "image": "img:1", "state": {"waiting": {"reason": reason, "message": message}}, **rest}


def event(reason: str, message: str, when: str = "2026-01-01T00:00:00Z", kind: str = "Warning") -> dict[str, Any]:
    return {"type": kind, "reason": reason, "message": message, "lastTimestamp": when}


def unscheduled(message: str, **status: Any) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return pod(node="", conditions=[condition], **status)


CREATING = waiting("ContainerCreating")


def told(trouble: Trouble | None) -> Trouble:
    assert trouble is not None
    assert trouble.message
    assert trouble.hint
    return trouble


@pytest.mark.parametrize(
    "fine",
    [
        pod(),
        pod(CREATING),
        pod(waiting("PodInitializing")),
        pod({"name": "app", "state": {"running": {}}}),
        pod({"name": "app", "state": {"terminated": {"exitCode": 0}}}),
    ],
)
def test_a_pod_that_may_still_come_has_no_trouble(fine: dict[str, Any]) -> None:
    assert explain_pod(fine, [event("Pulling", 'Pulling image "img:1"', kind="Normal")]) is None


def test_an_image_that_is_not_there() -> None:
    trouble = told(explain_pod(pod(waiting("ErrImagePull", "not found")), proxy="app"))
    assert trouble.message == "the proxy image img:1 can't be pulled (ErrImagePull): not found"
    assert "make proxy-image IMAGE=registry/name:tag" in trouble.hint
    again = told(explain_pod(pod(waiting("ImagePullBackOff", "Back-off pulling")), proxy="app"))
    assert again.about == trouble.about


def test_an_image_that_may_not_be_pulled() -> None:
    message = "pull access denied, repository does not exist or may require authorization"
    assert "pull secret" in told(explain_pod(pod(waiting("ErrImagePull", message)), proxy="app")).hint


def test_an_image_of_a_sidecar() -> None:
    trouble = told(explain_pod(pod(waiting("ErrImagePull", name="envoy")), proxy="app"))
    assert "the image img:1 of container envoy" in trouble.message
    assert "proxy-image" not in trouble.hint


@pytest.mark.parametrize("reason", ["InvalidImageName", "ErrImageNeverPull"])
def test_what_can_not_get_better_needs_no_patience(reason: str) -> None:
    assert told(explain_pod(pod(waiting(reason)), proxy="app")).patience == 0


def test_a_missing_key() -> None:
    message = "couldn't find key PASSWORD in Secret ns/db"
    trouble = told(explain_pod(pod(waiting("CreateContainerConfigError", message))))
    assert trouble.message == f"container app of pod p can't be configured: {message}"


def test_a_crash_of_our_own_and_of_a_sidecar() -> None:
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": "sshd: no host key"}}
    ours = told(explain_pod(pod({"name": "app", "state": ended}), proxy="app"))
    assert ours.message == "container app ended with exit code 1: Error sshd: no host key"
    assert ours.container == "app"
    looping = waiting("CrashLoopBackOff", name="envoy", lastState=ended)
    theirs = told(explain_pod(pod(looping), proxy="app"))
    assert "exit code 1" in theirs.message
    assert theirs.patience > ours.patience


def test_init_containers_come_first() -> None:
    initial = {"name": "migrate", "state": {"terminated": {"exitCode": 2}}}
    trouble = told(explain_pod(pod(waiting("PodInitializing"), initContainerStatuses=[initial])))
    assert "container migrate ended with exit code 2" in trouble.message


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("0/3 nodes are available: 3 Insufficient memory. preemption: 0/3 nodes...", "Free memory in the cluster"),
        ("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.", "Free nvidia.com/gpu in"),
        ("0/1 nodes are available: 1 node(s) had untolerated taint {dedicated: db}.", "tolerate the taint"),
        ("0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules.", "The target's anti-affinity"),
        ("0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.", "hostPort"),
        ("pod has unbound immediate PersistentVolumeClaims.", "kubectl get pvc"),
        ("something of tomorrow", "kubectl describe"),
    ],
)
def test_a_pod_without_a_node(message: str, hint: str) -> None:
    trouble = told(explain_pod(unscheduled(message)))
    assert trouble.message.startswith("no node takes pod p: ")
    assert "preemption" not in trouble.message
    assert hint in trouble.hint


def test_a_node_that_is_being_made_is_waited_for() -> None:
    lonely = unscheduled("0/1 nodes are available: 1 Insufficient cpu.")
    assert told(explain_pod(lonely)).patience < 10
    assert told(explain_pod(lonely, [event("TriggeredScaleUp", "", kind="Normal")])).patience == 60
    assert told(explain_pod(unscheduled("x", nominatedNodeName="n"))).patience > 10


def test_an_evicted_pod() -> None:
    gone = pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory.")
    trouble = told(explain_pod(gone))
    assert trouble.message == "pod p was ended by the cluster (Evicted: The node was low on resource: memory.)"
    assert "kubectl describe node" in trouble.hint


def test_a_pod_on_its_way_out() -> None:
    going = pod(CREATING)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert "is being deleted" in told(explain_pod(going)).message
    assert not is_ready(going)


def test_volumes_that_can_not_be_mounted_show_in_events() -> None:
    late = event(
        "FailedMount", 'MountVolume.SetUp failed for volume "v" : configmap "c" not found', "2026-01-02T00:00:00Z"
    )
    early = event("FailedMount", 'MountVolume.SetUp failed for volume "w" : timed out', "2026-01-01T00:00:00Z")
    trouble = told(explain_pod(pod(CREATING), [early, late]))
    assert trouble.message == 'volume v of pod p can\'t be mounted: configmap "c" not found'
    assert "Create the configmap c" in trouble.hint
    slow = told(explain_pod(pod(CREATING), [early]))
    assert slow.patience > trouble.patience
    assert explain_pod(pod({"name": "app", "state": {"running": {}}}), [late]) is None


def test_a_sandbox_that_can_not_be_made_shows_in_events() -> None:
    trouble = told(explain_pod(pod(CREATING), [event("FailedCreatePodSandBox", "no addresses left")]))
    assert "can't be set up on its node: no addresses left" in trouble.message


def test_a_replica_set_that_can_not_create_its_pod() -> None:
    def of(message: str) -> Trouble | None:
        condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
        return explain_replica_set(
            {"metadata": {"name": "r", "namespace": "ns"}, "status": {"conditions": [condition]}}
        )

    quota = 'pods "r-x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2'
    assert "the quota q has no room for the pod" in told(of(quota)).message
    assert told(of("something of tomorrow")).message.endswith("can't be created: something of tomorrow")
    assert told(of(quota)).patience == 0
    assert explain_replica_set({"metadata": {}}) is None


@pytest.mark.parametrize(
    ("item", "events", "expected"),
    [
        (pod(node=""), [], "waiting for a node"),
        (pod(), [], "starting its containers on n1"),
        (pod(CREATING), [], "starting app on n1"),
        (pod(CREATING), [event("Pulling", 'Pulling image "img:1"')], 'pulling image "img:1"'),
        (
            pod(CREATING),
            [event("Pulling", "x"), event("Pulled", "y", "2026-01-01T00:00:09Z")],
            "starting app on n1",
        ),
        (pod({"name": "app", "state": {"running": {}}, "ready": False}), [], "waiting for app to be Ready"),
        (pod({"name": "app", "state": {"running": {}}, "ready": True}), [], "running"),
    ],
)
def test_progress_in_a_few_words(item: dict[str, Any], events: list[dict[str, Any]], expected: str) -> None:
    assert progress(item, events) == expected

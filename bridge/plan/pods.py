"""Whose a pod is.

Selectors alone do not tell: those of two workloads may overlap, as ``app: x`` does with ``app: x, component: worker``.
Each has pods of its own all the same, for Deployments tell theirs by a hash. So who controls a pod counts, too; that is
read off the pod itself, as asking for its ReplicaSet would be one more request.

    it is controlled by                          it is of
    -------------------------------------------  --------------------------------------------------------------------
    a ReplicaSet named NAME-HASH, by its label   deployment/NAME
    anything else                                that
    nobody                                       each workload that selects it
    a session's ReplicaSet: it is a proxy pod    each workload that selects it, but it is not one of the original
"""

from bridge.plan.objects import Object, controller_of, is_ending, labels_of, name_of
from bridge.plan.placement import selects
from bridge.plan.target import describe
from bridge.wire.marks import SESSION_LABEL

POD_HASH_LABEL = "pod-template-hash"
_ENDED = ("Succeeded", "Failed")


def is_original(workload: Object, pod: Object) -> bool:
    """Tell a pod of the target's own, which stays, from a proxy pod and from another workload's."""
    stays = not (is_ending(pod) or has_ended(pod))
    return stays and SESSION_LABEL not in labels_of(pod) and is_own(workload, pod)


def has_ended(pod: Object) -> bool:
    """Tell a pod in which nothing runs any more: it may be there for long, as one that was evicted."""
    return (pod.get("status") or {}).get("phase") in _ENDED


def is_own(workload: Object, pod: Object) -> bool:
    """Tell the target's pods, and proxies, from another workload's."""
    free = controller_of(pod) is None or SESSION_LABEL in labels_of(pod)
    return selects(workload["spec"]["selector"], labels_of(pod)) and (free or who_runs(pod) == describe(workload))


def who_runs(pod: Object) -> str:
    """Name a pod by its controller; a Deployment's ReplicaSet is named after it and the pod's hash."""
    owner = controller_of(pod)
    if SESSION_LABEL in labels_of(pod):
        return f"session {labels_of(pod)[SESSION_LABEL]}"
    if owner is None:
        return f"pod/{name_of(pod)}"
    suffix = f"-{labels_of(pod).get(POD_HASH_LABEL, '')}"
    if owner["kind"] == "ReplicaSet" and len(suffix) > 1 and owner["name"].endswith(suffix):
        return f"deployment/{owner['name'].removesuffix(suffix)}"
    return f"{owner['kind'].lower()}/{owner['name']}"

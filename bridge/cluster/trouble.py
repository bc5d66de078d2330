"""Why a pod does not run, in the cluster's own words, and what to do. Pure: JSON in, a value out.

    where it shows                                   what                                                    patience
    -----------------------------------------------  ------------------------------------------------------  --------
    ReplicaSet, condition ReplicaFailure             quota, LimitRange, Pod Security, a webhook said no      0 s
    phase Failed                                     evicted, refused by the kubelet                         0 s
    condition PodScheduled = False                   no node fits                                            4 s (1)
    container waiting: ErrImagePull...               the image can't be pulled                               3 s (2)
    container waiting: CreateContainerConfigError    a ConfigMap, Secret or key is missing                   2 s
    container waiting: RunContainerError...          the runtime can't start it                              2 s
    container crashes                                our own: 1 s; a sidecar, which may wait for something   15 s
    events FailedMount, FailedAttachVolume           a volume can't be mounted                               3 s (3)
    event FailedCreatePodSandBox                     the node's network or runtime                           8 s

*Patience* is for how long a sign must stay to be believed. (1) A minute where an autoscaler said that it makes a node,
and always until a preempted pod is gone. (2) None for what can't get better: a wrong name, a pull policy of Never.
(3) 20 s where it may be slowness: a cache, an attachment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.cluster.calls import Call
from bridge.cluster.errors import rejection
from bridge.plan.objects import is_ending, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bridge.plan.objects import Object


@dataclass(frozen=True)
class Trouble:
    """Why a pod does not run. ``about``: the same while it is the same trouble; ``container``: whose log may help."""

    about: str
    message: str
    hint: str
    patience: float = 0.0
    container: str | None = None

    def __str__(self) -> str:
        return self.message


def explain_pod(pod: Object, events: Sequence[Object] = (), *, proxy: str | None = None) -> Trouble | None:
    """Return what keeps ``pod`` from running, None where nothing does (it may just not be there yet).

    ``events``: those of the pod. ``proxy``: the name of the container that is bridge's own.
    """
    for look in (_failed, _going, _unscheduled):
        trouble = look(pod, events)
        if trouble:
            return trouble
    for status in _container_statuses(pod):
        trouble = _of_container(pod, status, proxy)
        if trouble:
            return trouble
    return _of_events(pod, events)


def explain_replica_set(replica_set: Object) -> Trouble | None:
    """Return why a ReplicaSet can't create its pod."""
    for condition in (replica_set.get("status") or {}).get("conditions") or []:
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return _not_created(replica_set, str(condition.get("message") or condition.get("reason")))
    return None


def _not_created(replica_set: Object, message: str) -> Trouble:
    namespace = replica_set["metadata"].get("namespace", "")
    subject = Call(method="POST", path=f"/api/v1/namespaces/{namespace}/pods").subject
    rejected = rejection(message, subject)
    if rejected:
        return Trouble("rejected", rejected.message, rejected.hint)
    return Trouble(
        "rejected", f"the proxy pod can't be created: {message}", "See kubectl describe replicaset for its events."
    )


# -- the pod -------------------------------------------------------------------------------------------------------


def _status(pod: Object) -> Object:
    status: Object = pod.get("status") or {}
    return status


def _failed(pod: Object, _events: Sequence[Object]) -> Trouble | None:
    status = _status(pod)
    if status.get("phase") != "Failed":
        return None
    reason, message = status.get("reason") or "it failed", status.get("message") or ""
    said = f"{reason}: {message}" if message else reason
    hint = "The node is short of something: see kubectl describe node." if reason == "Evicted" else "Run it again."
    return Trouble("failed", f"pod {name_of(pod)} was ended by the cluster ({said})", hint)


def _going(pod: Object, _events: Sequence[Object]) -> Trouble | None:
    if not is_ending(pod):
        return None
    return Trouble("going", f"pod {name_of(pod)} is being deleted", "Run it again.", 2.0)


def _unscheduled(pod: Object, events: Sequence[Object]) -> Trouble | None:
    for condition in _status(pod).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            message = str(condition.get("message") or condition.get("reason") or "no reason given")
            return Trouble(
                "unscheduled",
                f"no node takes pod {name_of(pod)}: {_BESIDE.sub('', message).rstrip('.')}",
                _where_to_look(message),
                _scheduling_patience(pod, events),
            )
    return None


# What the scheduler adds on other ways that it tried.
_BESIDE = re.compile(r" (no new claims to deallocate|preemption:).*$", re.S)

_SCHEDULING = (
    (r"Insufficient ([\w./-]*\w)", "Free {0} in the cluster, or lower what the target's sidecars request."),
    (r"node\(s\) had untolerated taint(?:\(s\)| \{([^:}]+))?", "The target's template must tolerate the taint."),
    (r"didn't match Pod's node affinity/selector", "The target's nodeSelector or affinity fits no node."),
    (r"didn't match pod anti-affinity", "The target's anti-affinity keeps it off nodes that the original is on."),
    (r"didn't satisfy existing pods anti-affinity", "Another pod's anti-affinity keeps it off its node."),
    (r"didn't match pod topology spread", "The target's topologySpreadConstraints fit no node."),
    (r'persistentvolumeclaim "([^"]+)" not found', "Create the PersistentVolumeClaim {0}."),
    (r"unbound immediate PersistentVolumeClaims", "A volume claim is not bound: see kubectl get pvc."),
    (r"volume node affinity conflict", "Its volume is bound to another node or zone."),
    (r"didn't have free ports", "The target asks for a hostPort that the original still holds."),
    (r"Too many pods", "The nodes are full: free one, or ask for another node."),
)


def _where_to_look(message: str) -> str:
    for pattern, hint in _SCHEDULING:
        match = re.search(pattern, message)
        if match:
            return hint.format(*(group or "" for group in match.groups()))
    return "See kubectl describe pod, and kubectl describe nodes."


def _scheduling_patience(pod: Object, events: Sequence[Object]) -> float:
    if _status(pod).get("nominatedNodeName"):
        return 30.0
    growing = any(event.get("reason") in ("TriggeredScaleUp", "Nominated") for event in events)
    return 60.0 if growing else 4.0


# -- its containers ------------------------------------------------------------------------------------------------


def _container_statuses(pod: Object) -> Iterator[Object]:
    status = _status(pod)
    for key in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(key) or []


_NEVER_BETTER = {"InvalidImageName", "ErrImageNeverPull"}
_PULLING = {"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError", "SignatureValidationFailed"}
_STARTING = {"CreateContainerError", "RunContainerError", "ContainerCannotRun", "StartError"}


def _of_container(pod: Object, status: Object, proxy: str | None) -> Trouble | None:
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason, message = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    if reason in _PULLING | _NEVER_BETTER:
        return _unpulled(status, reason, message, proxy)
    name = status["name"]
    if reason == "CreateContainerConfigError":
        return Trouble(
            f"config of {name}",
            f"container {name} of pod {name_of(pod)} can't be configured: {message}",
            "Create what is missing: the target's own pods could not start without it either.",
            2.0,
        )
    if reason in _STARTING:
        return Trouble(
            f"start of {name}", f"container {name} can't be started: {message or reason}", _SEE_POD, 2.0, name
        )
    return _crashed(status, reason, proxy)


_SEE_POD = "See kubectl describe pod."


def _unpulled(status: Object, reason: str, message: str, proxy: str | None) -> Trouble:
    image, name = status.get("image") or "?", status["name"]
    ours = name == proxy
    what = f"the proxy image {image}" if ours else f"the image {image} of container {name}"
    return Trouble(
        f"image of {name}",
        f"{what} can't be pulled ({reason}){f': {message}' if message else ''}",
        _image_hint(message, ours=ours),
        0.0 if reason in _NEVER_BETTER else 3.0,
    )


def _image_hint(message: str, *, ours: bool) -> str:
    refused = re.search(r"unauthorized|denied|401|403|authentication required|credentials", message, re.I)
    secrets = "The nodes need a pull secret for that registry: the proxy pod has those of the target. "
    if not ours:
        return "It is the target's own container: its pods could not start either."
    return (
        f"{secrets if refused else ''}Build it where the nodes can pull it: make proxy-image "
        "IMAGE=registry/name:tag, push it, then give --image registry/name:tag (or BRIDGE_IMAGE)."
    )


def _crashed(status: Object, reason: str, proxy: str | None) -> Trouble | None:
    name = status["name"]
    ended = (status.get("state") or {}).get("terminated") or {}
    if reason == "CrashLoopBackOff":
        ended = (status.get("lastState") or {}).get("terminated") or {"exitCode": "?"}
    if ended.get("exitCode") in (None, 0):
        return None
    why = " ".join(str(ended.get(key) or "") for key in ("reason", "message")).strip()
    return Trouble(
        f"crash of {name}",
        f"container {name} ended with exit code {ended['exitCode']}{f': {why}' if why else ''}",
        "Its log: kubectl logs --previous." if name != proxy else "This is bridge's own: please report it.",
        1.0 if name == proxy else 15.0,
        name,
    )


# -- events --------------------------------------------------------------------------------------------------------


def _of_events(pod: Object, events: Sequence[Object]) -> Trouble | None:
    """Read what shows in events only. An old event tells nothing of a pod whose containers run."""
    if not any("waiting" in (status.get("state") or {}) for status in _container_statuses(pod)):
        return None
    for event in sorted(events, key=_when, reverse=True):
        if event.get("type") == "Warning" and event.get("reason") in _WARNINGS:
            return _warned(pod, str(event["reason"]), str(event.get("message") or ""))
    return None


_WARNINGS = {"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"}
_SLOW = re.compile(r"timed out|timeout|failed to sync|not yet|Multi-Attach", re.I)
_VOLUME = re.compile(r'for volume "([^"]+)" ?: ?(.*)', re.S)
_MISSING = re.compile(r'(configmap|secret|persistentvolumeclaim) "([^"]+)" not found', re.I)


def _when(event: Object) -> str:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((time for time in times if time), "")


def _warned(pod: Object, reason: str, message: str) -> Trouble:
    if reason == "FailedCreatePodSandBox":
        hint = "Its node's network or container runtime is at fault: tell who runs the cluster."
        return Trouble("sandbox", f"pod {name_of(pod)} can't be set up on its node: {message}", hint, 8.0)
    volume, missing = _VOLUME.search(message), _MISSING.search(message)
    where, why = (f"volume {volume[1]}", volume[2]) if volume else ("a volume", message)
    hint = f"Create the {missing[1]} {missing[2]}: the target's own pods need it too." if missing else _SEE_POD
    patience = 20.0 if _SLOW.search(message) and not missing else 3.0
    return Trouble("mount", f"{where} of pod {name_of(pod)} can't be mounted: {why.strip()}", hint, patience)


# -- progress ------------------------------------------------------------------------------------------------------


def progress(pod: Object, events: Sequence[Object] = ()) -> str:
    """Say in a few words what the pod waits for."""
    if not pod["spec"].get("nodeName"):
        return "waiting for a node"
    latest = max((event for event in events if event.get("reason") in ("Pulling", "Pulled")), key=_when, default=None)
    if latest is not None and latest["reason"] == "Pulling":
        return str(latest.get("message") or "pulling the image")[:1].lower() + str(latest.get("message"))[1:]
    waiting = [status["name"] for status in _container_statuses(pod) if "waiting" in (status.get("state") or {})]
    if waiting or not list(_container_statuses(pod)):
        return f"starting {', '.join(waiting) or 'its containers'} on {pod['spec']['nodeName']}"
    unready = [status["name"] for status in _status(pod).get("containerStatuses") or [] if not status.get("ready")]
    return f"waiting for {', '.join(unready)} to be Ready" if unready else "running"


def is_ready(pod: Object) -> bool:
    """Tell whether Services send traffic to the pod."""
    if is_ending(pod):
        return False
    conditions = _status(pod).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

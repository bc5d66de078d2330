"""Waiting for pods: a state is watched and decided on purely (``trouble``); what goes wrong is told within seconds.

A wait ends in one of three ways: what is waited for is there; a trouble has stayed for longer than its patience, then
it is raised as ClusterError with the cluster's reason; the deadline (of ``time.monotonic``) has come, then the same
with the trouble of that moment. ``on_progress`` gets a few words when what is waited for changes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bridge.cluster.errors import ApiError, MissingRight
from bridge.cluster.trouble import Trouble, explain_pod, explain_replica_set, is_ready, progress
from bridge.cluster.workloads import selector_of
from bridge.errors import ClusterError, TargetError
from bridge.plan.manifest import dry_run_pod
from bridge.plan.objects import is_ending, name_of
from bridge.plan.pods import is_original
from bridge.plan.target import WorkloadKind, describe
from bridge.wire.marks import SESSION_LABEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from bridge.cluster.client import Cluster
    from bridge.plan.objects import Object

LOG_LINES = 5
MOST_LOOKED_AT = 3  # pods of a workload that are not Ready: mostly they all have the same trouble
LOOK_EVERY = 1.0
"""Seconds between two looks at what no watch tells: events, the ReplicaSet."""


def _say_nothing(_text: str) -> None:
    """Nobody listens."""


# -- the proxy pod -------------------------------------------------------------------------------------------------


class ProxyPod:
    """The proxy pod of one session: found by its label, looked at until it runs."""

    def __init__(self, cluster: Cluster, *, session: str, replica_set: str, container: str) -> None:
        self._cluster = cluster
        self._selector = f"{SESSION_LABEL}={session}"
        self._replica_set = replica_set
        self._judge = _Judge(cluster, container)

    @property
    def _pods(self) -> str:
        return f"/api/v1/namespaces/{self._cluster.namespace}/pods"

    def current(self, *, besides: str = "") -> Object | None:
        """Return the pod as it is now, None if there is none that stays; ``besides``: not the one of this name."""
        pods = self._cluster.list_(self._pods, label_selector=self._selector)
        staying = [pod for pod in pods if not is_ending(pod) and name_of(pod) != besides]
        return _current(staying)

    def is_wanted(self) -> bool:
        """Tell whether the cluster keeps such a pod: its ReplicaSet is there, and stays."""
        there = self._owner()
        return there is not None and not is_ending(there)

    def _owner(self) -> Object | None:
        """Return the pod's ReplicaSet, if it is there: by its label, for to list them is a right that a session has."""
        path = WorkloadKind.REPLICA_SET.path(self._cluster.namespace)
        return next(iter(self._cluster.list_(path, label_selector=self._selector)), None)

    def wait_for_node(self, *, deadline: float, on_progress: Callable[[str], None] = _say_nothing) -> Object:
        """Return the pod as soon as it has a node: from then on its port may answer before its status says so."""
        say = _Changing(on_progress)
        for pods in self._cluster.follow(self._pods, label_selector=self._selector, deadline=deadline):
            pod = _current(pods.values())
            if pod and pod["spec"].get("nodeName"):
                return pod
            say(self._looked_at(pod))
        raise self._judge.too_late("the proxy pod did not get a node in time")

    def look(self) -> str:
        """Say in a few words how far it is. Raise ClusterError when it is clear that it won't run."""
        return self._looked_at(_current(self._cluster.list_(self._pods, label_selector=self._selector)))

    def wait_ready(self, *, deadline: float, on_progress: Callable[[str], None] = _say_nothing) -> Object:
        """Return the pod when it is Ready."""
        say = _Changing(on_progress)
        for pods in self._cluster.follow(self._pods, label_selector=self._selector, deadline=deadline):
            pod = _current(pods.values())
            if pod and is_ready(pod):
                return pod
            say(self._looked_at(pod))
        raise self._judge.too_late("the proxy pod did not get Ready in time")

    def _looked_at(self, pod: Object | None) -> str:
        if pod is None:
            self._judge.consider(self._why_no_pod())
            return "creating the proxy pod"
        events = self._judge.events(pod)
        self._judge.consider(explain_pod(pod, events, proxy=self._judge.proxy), pod)
        return progress(pod, events)

    def _why_no_pod(self) -> Trouble | None:
        owner = self._owner()
        if owner is None:
            hint = "Somebody deleted it, or the Secret that owns it: run it again."
            return Trouble("gone", f"replicaset/{self._replica_set} is gone", hint)
        return explain_replica_set(owner)


def wait_for_proxy(
    cluster: Cluster,
    *,
    session: str,
    replica_set: str,
    container: str,
    deadline: float,
    on_progress: Callable[[str], None] = _say_nothing,
) -> Object:
    """Return the session's proxy pod as soon as it has a node. See ``ProxyPod``."""
    proxy = ProxyPod(cluster, session=session, replica_set=replica_set, container=container)
    return proxy.wait_for_node(deadline=deadline, on_progress=on_progress)


def _current(pods: Iterable[Object]) -> Object | None:
    """Choose among the pods of a session: the newest that is not on its way out."""
    newest = sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), reverse=True)
    staying = [pod for pod in newest if not is_ending(pod)]
    return next(iter(staying or newest), None)


def ask_admission(cluster: Cluster, replica_set: Object) -> str:
    """Ask whether the pods of ``replica_set`` would be let in, changing nothing (a dry run).

    Raise Rejected when quota, LimitRange, Pod Security or a webhook says no. Return why it could not be asked, if so.
    """
    try:
        cluster.create(f"/api/v1/namespaces/{cluster.namespace}/pods", dry_run_pod(replica_set), dry_run=True)
    except MissingRight as error:
        return error.message
    except ApiError as error:
        if "dry run" in error.message:  # a webhook that does not support it
            return error.message
        raise
    return ""


# -- the original --------------------------------------------------------------------------------------------------


def wait_for_rollout(
    cluster: Cluster,
    workload: Object,
    replicas: int,
    *,
    deadline: float,
    on_progress: Callable[[str], None] = _say_nothing,
) -> None:
    """Wait until ``workload`` has ``replicas`` Ready pods again; tell why not yet, and at the deadline why not.

    It never gives up before: the original is back as it was, and Kubernetes goes on trying. Raise TargetError if it
    was deleted, ClusterError at the deadline.
    """
    path = WorkloadKind.of(workload).path(cluster.namespace)
    say, pods = _Changing(on_progress), _Stragglers(cluster, workload)
    name, count = name_of(workload), 0
    for found in _followed(cluster, path, name, deadline):
        if name not in found:
            raise TargetError(f"{describe(workload)} was deleted meanwhile", hint="There is nothing to wait for.")
        if is_rolled_out(found[name], replicas):
            return
        count = ready_replicas(found[name])
        trouble = pods.trouble()
        say(f"{count} of {replicas} Ready{f': {trouble}' if trouble else ''}")
    trouble = pods.trouble(again=True)
    why = f": {trouble}" if trouble else ""
    raise ClusterError(
        f"{describe(workload)} has its {replicas} replicas back, but {count} Ready so far{why}",
        hint=trouble.hint if trouble else f"Kubernetes goes on: kubectl rollout status {describe(workload)}",
    )


def _followed(cluster: Cluster, path: str, name: str, deadline: float) -> Iterator[Mapping[str, Object]]:
    """Yield the workload of this name (nothing, where it is gone) now and whenever it has changed.

    Who may neither list nor watch its kind looks at it every second.
    """
    try:
        yield from cluster.follow(path, field_selector=f"metadata.name={name}", deadline=deadline)
    except MissingRight:
        while time.monotonic() < deadline:
            found = cluster.find(f"{path}/{name}")
            yield {name: found} if found else {}
            cluster.transport.pause(LOOK_EVERY)


def is_rolled_out(workload: Object, replicas: int) -> bool:
    """Tell whether the controller has seen the current spec, and ``replicas`` pods are Ready."""
    status = workload.get("status") or {}
    seen = int(status.get("observedGeneration") or 0) >= int(workload["metadata"].get("generation") or 0)
    return seen and ready_replicas(workload) >= replicas


def ready_replicas(workload: Object) -> int:
    """Return how many of its pods are Ready."""
    return int((workload.get("status") or {}).get("readyReplicas") or 0)


class _Stragglers:
    """Looks, once a second at most, why pods of a workload are not Ready."""

    def __init__(self, cluster: Cluster, workload: Object) -> None:
        self._cluster = cluster
        self._workload = workload
        self._path = f"/api/v1/namespaces/{cluster.namespace}/pods"
        self._looked = 0.0
        self._trouble: Trouble | None = None

    def trouble(self, *, again: bool = False) -> Trouble | None:
        """Return the first trouble of a pod that is not Ready."""
        if again or time.monotonic() - self._looked >= LOOK_EVERY:
            self._looked = time.monotonic()
            self._trouble = self._look()
        return self._trouble

    def _look(self) -> Trouble | None:
        try:
            pods = self._cluster.list_(self._path, label_selector=selector_of(self._workload))
            unready = [pod for pod in pods if is_original(self._workload, pod) and not is_ready(pod)]
            troubles = (explain_pod(pod, events_of(self._cluster, pod)) for pod in unready[:MOST_LOOKED_AT])
            return next((trouble for trouble in troubles if trouble), None) or self._not_created()
        except ClusterError:  # what is waited for is the workload; why it lasts is a nicety
            return None

    def _not_created(self) -> Trouble | None:
        conditions = self._cluster.get(self._own_path()).get("status", {}).get("conditions") or []
        for condition in conditions:
            if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
                return Trouble("rejected", str(condition.get("message")), "See kubectl describe.")
        return None

    def _own_path(self) -> str:
        return WorkloadKind.of(self._workload).path(self._cluster.namespace, name_of(self._workload))


# -- the end -------------------------------------------------------------------------------------------------------


def wait_gone(
    cluster: Cluster,
    path: str,
    *,
    deadline: float,
    label_selector: str | None = None,
    name: str | None = None,
    on_progress: Callable[[str], None] = _say_nothing,
) -> None:
    """Wait until a collection has none of these objects any more. Raise ClusterError at the deadline."""
    say, left = _Changing(on_progress), list[str]()
    field_selector = f"metadata.name={name}" if name else None
    for found in cluster.follow(path, label_selector=label_selector, field_selector=field_selector, deadline=deadline):
        if not found:
            return
        left = sorted(found)
        say(f"waiting for {', '.join(left)} to be gone")
    kind = path.rstrip("/").rpartition("/")[2]
    raise ClusterError(
        f"{kind} {', '.join(left)} {'is' if len(left) == 1 else 'are'} still there",
        hint=f"See what holds it: kubectl get {kind} {left[0]} -o yaml (finalizers, the node's kubelet).",
    )


# -- judging -------------------------------------------------------------------------------------------------------


def events_of(cluster: Cluster, pod: Object) -> list[Object]:
    """Return the events of a pod; none where they may not be read."""
    path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/events"
    try:
        return cluster.list_(path, field_selector=f"involvedObject.uid={pod['metadata']['uid']}")
    except ApiError:
        return []


class _Judge:
    """Remembers since when there is a trouble, and raises it when it has stayed for too long."""

    FORGET = 5.0
    """Seconds without it after which a trouble begins anew: a crashing container runs in between."""

    def __init__(self, cluster: Cluster, proxy: str) -> None:
        self.proxy = proxy
        self._cluster = cluster
        self._seen: dict[str, tuple[float, float]] = {}
        self._latest: tuple[Trouble, Object | None] | None = None
        self._events: tuple[float, str, list[Object]] = (-LOOK_EVERY, "", [])

    def events(self, pod: Object) -> list[Object]:
        """Return the pod's events, read once a second at most."""
        when, uid, events = self._events
        if uid != pod["metadata"]["uid"] or time.monotonic() - when >= LOOK_EVERY:
            events = events_of(self._cluster, pod)
            self._events = (time.monotonic(), pod["metadata"]["uid"], events)
        return events

    def consider(self, trouble: Trouble | None, pod: Object | None = None) -> None:
        """Note a trouble; raise it as ClusterError when its patience is over."""
        self._latest = (trouble, pod) if trouble else None
        if trouble is None:
            return
        now = time.monotonic()
        first, last = self._seen.get(trouble.about, (now, now))
        first = now if now - last > self.FORGET else first
        self._seen[trouble.about] = (first, now)
        if now - first >= trouble.patience:
            raise self._raised(trouble, pod)

    def too_late(self, what: str) -> ClusterError:
        """Return the error for the deadline: the trouble of the moment, or just that it took too long."""
        if self._latest:
            return self._raised(*self._latest)
        return ClusterError(what, hint="Give it longer with --timeout.")

    def _raised(self, trouble: Trouble, pod: Object | None) -> ClusterError:
        log = last_words(self._cluster, pod, trouble.container) if pod and trouble.container else ""
        return ClusterError(f"{trouble.message}{f'. Its log ends: {log}' if log else ''}", hint=trouble.hint)


def last_words(cluster: Cluster, pod: Object, container: str) -> str:
    """Return the last lines of the log of a container that ended; empty if there are none.

    The kubelet keeps one ended container: that is the current one until it runs again, then the previous one.
    """
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    running = any(status["name"] == container and "running" in (status.get("state") or {}) for status in statuses)
    query = {"container": container, "tailLines": str(LOG_LINES), "previous": "true" if running else ""}
    path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{name_of(pod)}/log"
    try:
        text = cluster.text(path, query=query)
    except ClusterError:  # a nicety: no right to pods/log, or nothing was written
        return ""
    if text.startswith("unable to retrieve container logs"):  # it was removed just now; said with a status of 200
        return ""
    return " / ".join(line.strip() for line in text.splitlines() if line.strip())


class _Changing:
    """Passes on what differs from what was said before."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said = ""

    def __call__(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._say(text)

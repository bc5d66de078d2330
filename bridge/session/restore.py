"""``bridge restore``: puts back what sessions left, from any machine; it needs nothing but the cluster.

Two things tell of a session: the undo record on its target, and its ReplicaSet. A record without a ReplicaSet, or the
other way round, is a session that was killed between two steps: it is cleared all the same. Secrets are not listed:
that would take the right to read them all.

Whether a session is alive, as far as can be told:

    its bridge runs on this laptop              alive
    its bridge ran on this laptop, and is gone  dead
    its proxy pod is Ready                      alive: the pod's probe is answered by the process, through the tunnel
    it has no proxy pod, and is not young       dead
    otherwise                                   unknown: it may just start, or its laptop sleeps

``bridge restore`` without a name restores all but those that are alive; ``bridge run`` takes over from the dead alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING

from bridge.cluster import connect
from bridge.errors import TargetError
from bridge.plan.objects import HOLDER_ANNOTATION, TARGET_ANNOTATION, annotations_of, labels_of
from bridge.plan.target import TargetSpec, WorkloadKind
from bridge.plan.undo import record_of
from bridge.session.changes import Target, remove_objects, wait_until_back
from bridge.session.signals import Signals
from bridge.session.store import this_laptops_store
from bridge.wire.marks import SESSION_LABEL
from bridge.wire.undo import UndoRecord

if TYPE_CHECKING:
    from bridge.cluster import Cluster
    from bridge.plan.objects import Object
    from bridge.session.narrator import Narrator
    from bridge.session.request import RestoreRequest


YOUNG = timedelta(seconds=60)
"""A session of that age may just not have its proxy pod yet."""


class Life(Enum):
    """Whether a session is alive; see the module's docstring."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Left:
    """A session as the cluster shows it. ``record`` is None when only its objects are left (or it had no target)."""

    session: str
    target: str
    holder: str
    record: UndoRecord | None
    life: Life

    def __str__(self) -> str:
        return f"{self.target or 'a proxy pod without target'} (session {self.session} of {self.holder})"


def restore(request: RestoreRequest, narrator: Narrator) -> list[str]:
    """Restore what was asked for; return a line for each session, to be printed."""
    where = request.where
    cluster = connect(kubeconfig=where.kubeconfig, context=where.context, namespace=where.namespace)
    found = find_sessions(cluster)
    wanted = _wanted(found, request.name)
    with Signals() as signals:
        for left in wanted:
            put_back(cluster, left, narrator, signals, timeout=request.timeout)
            this_laptops_store().remove(left.session)
    spared = [left for left in found if left not in wanted]
    return [
        *(f"restored {left}" for left in wanted),
        *(f"left alone {left}: {left.life.value}; name it to restore it all the same" for left in spared),
        *([] if found else [f"nothing to restore in namespace {cluster.namespace}"]),
    ]


def put_back(cluster: Cluster, left: Left, narrator: Narrator, signals: Signals, *, timeout: float) -> None:
    """Put a session's target back, wait until it is Ready, and remove the session's objects."""
    if left.record:
        target = Target(cluster, left.record)
        narrator.doing(f"putting {left.target} back")
        workload = target.put_back()
        if workload:
            wait_until_back(cluster, workload, narrator, signals, timeout=timeout)
    remove_objects(cluster, left.session, narrator)


def find_sessions(cluster: Cluster) -> list[Left]:
    """Find all sessions of the namespace, by their records and by their objects."""
    namespace = cluster.namespace
    selector = SESSION_LABEL
    workloads, owned, pods = cluster.gather(
        lambda: [item for kind in WorkloadKind for item in cluster.list_(kind.path(namespace))],
        lambda: cluster.list_(WorkloadKind.REPLICA_SET.path(namespace), label_selector=selector),
        lambda: cluster.list_(f"/api/v1/namespaces/{namespace}/pods", label_selector=selector),
    )
    signs = _Signs(
        local={local.session: local.is_alive() for local in this_laptops_store().sessions()},
        ready={labels_of(pod)[SESSION_LABEL] for pod in pods if _is_ready(pod)},
        there={labels_of(pod)[SESSION_LABEL] for pod in pods},
        now=cluster.now(),
    )
    records = [record for workload in workloads if (record := record_of(workload))]
    found = {record.session: _of_record(record, signs) for record in records}
    for item in owned:
        left = _of_object(item, signs)
        found.setdefault(left.session, left)
    return list(found.values())


@dataclass(frozen=True, kw_only=True)
class _Signs:
    """Signs of life, by session: of bridges on this laptop, of proxy pods that are Ready, or at least there."""

    local: dict[str, bool]
    ready: set[str]
    there: set[str]
    now: datetime

    def life(self, session: str, since: str) -> Life:
        if session in self.local:
            return Life.ALIVE if self.local[session] else Life.DEAD
        if session in self.ready:
            return Life.ALIVE
        if session not in self.there and _age(since, self.now) > YOUNG:
            return Life.DEAD
        return Life.UNKNOWN


def _age(since: str, now: datetime) -> timedelta:
    try:
        return now - datetime.fromisoformat(since)
    except (ValueError, TypeError):  # written by hand
        return timedelta()


def _of_record(record: UndoRecord, signs: _Signs) -> Left:
    return Left(
        session=record.session,
        target=record.target,
        holder=record.holder,
        record=record,
        life=signs.life(record.session, record.since),
    )


def _of_object(item: Object, signs: _Signs) -> Left:
    annotations = annotations_of(item)
    session = labels_of(item)[SESSION_LABEL]
    return Left(
        session=session,
        target=annotations.get(TARGET_ANNOTATION, ""),
        holder=annotations.get(HOLDER_ANNOTATION, "somebody"),
        record=None,
        life=signs.life(session, item["metadata"]["creationTimestamp"]),
    )


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _wanted(found: list[Left], name: str | None) -> list[Left]:
    if name is None:
        return [left for left in found if left.life is not Life.ALIVE]
    spec = TargetSpec.parse(name)
    wanted = [left for left in found if _names(spec, left)]
    if not wanted:
        there = ", ".join(left.target or left.session for left in found) or "none at all"
        raise TargetError(f"no session has swapped {name}", hint=f"There is: {there}.")
    return wanted


def _names(spec: TargetSpec, left: Left) -> bool:
    kind, _, name = left.target.partition("/")
    return spec.name in (name, left.session) and spec.kind in (None, WorkloadKind.parse(kind) if kind else None)

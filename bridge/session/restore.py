"""``bridge restore``: puts back what sessions left, from any machine; it needs nothing but the cluster.

Two things tell of a session: the undo record on its target, and its objects (they have its label). A record without
objects, or objects without a record, are a session that was killed between two steps: both are cleared all the same.

A session is taken for alive while its proxy pod is Ready: the pod's probe is answered by the process, through the
tunnel. Alive ones are left alone unless they are named.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.cluster import connect
from bridge.errors import TargetError
from bridge.paths import state_directory
from bridge.plan.objects import HOLDER_ANNOTATION, SESSION_LABEL, TARGET_ANNOTATION, annotations_of, labels_of
from bridge.plan.target import TargetSpec, WorkloadKind
from bridge.plan.undo import UndoRecord, record_of
from bridge.session.changes import Target, remove_objects, wait_until_back
from bridge.session.signals import Signals
from bridge.session.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.cluster import Cluster
    from bridge.plan.objects import Object
    from bridge.session.narrator import Narrator
    from bridge.session.request import RestoreRequest


@dataclass(frozen=True, kw_only=True)
class Left:
    """A session as the cluster shows it. ``record`` is None when only its objects are left (or it had no target)."""

    session: str
    target: str
    holder: str
    record: UndoRecord | None
    alive: bool

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
            Store(state_directory(os.environ) / "sessions").remove(left.session)
    spared = [left for left in found if left.alive and left not in wanted]
    return [
        *(f"restored {left}" for left in wanted),
        *(f"left alone {left}: it is alive; name it to restore it all the same" for left in spared),
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
        lambda: [
            *cluster.list_(f"/api/v1/namespaces/{namespace}/secrets", label_selector=selector),
            *cluster.list_(WorkloadKind.REPLICA_SET.path(namespace), label_selector=selector),
        ],
        lambda: cluster.list_(f"/api/v1/namespaces/{namespace}/pods", label_selector=selector),
    )
    alive = {labels_of(pod)[SESSION_LABEL] for pod in pods if _is_ready(pod)}
    records = [record for workload in workloads if (record := record_of(workload))]
    found = {record.session: _of_record(record, alive) for record in records}
    for item in owned:
        left = _of_object(item, alive)
        found.setdefault(left.session, left)
    return list(found.values())


def _of_record(record: UndoRecord, alive: Iterable[str]) -> Left:
    return Left(
        session=record.session,
        target=record.target,
        holder=record.holder,
        record=record,
        alive=record.session in alive,
    )


def _of_object(item: Object, alive: Iterable[str]) -> Left:
    annotations = annotations_of(item)
    session = labels_of(item)[SESSION_LABEL]
    return Left(
        session=session,
        target=annotations.get(TARGET_ANNOTATION, ""),
        holder=annotations.get(HOLDER_ANNOTATION, "somebody"),
        record=None,
        alive=session in alive,
    )


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _wanted(found: list[Left], name: str | None) -> list[Left]:
    if name is None:
        return [left for left in found if not left.alive]
    spec = TargetSpec.parse(name)
    wanted = [left for left in found if _names(spec, left)]
    if not wanted:
        there = ", ".join(left.target or left.session for left in found) or "none at all"
        raise TargetError(f"no session has swapped {name}", hint=f"There is: {there}.")
    return wanted


def _names(spec: TargetSpec, left: Left) -> bool:
    kind, _, name = left.target.partition("/")
    return spec.name in (name, left.session) and spec.kind in (None, WorkloadKind.parse(kind) if kind else None)

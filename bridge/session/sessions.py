"""The sessions of a namespace, as the cluster shows them to anybody, from any machine.

Four things tell of a session: the undo record on its target, its Lease, its ReplicaSet, and its id in the selector of a
Service. Any of them may be missing: a session that was killed between two steps is found, and cleared, all the same.
Secrets are not listed: that would take the right to read them all. A record that can't be read, on a target that none
of the others name, is of a session without an id.

What there is to undo is in the record on the target. Should that be gone, there are copies: this laptop's disk has one
of its own sessions, of each change; a session's Lease has one, of the claim.

Whether a session is alive, as far as can be told; the first row that applies:

    its bridge runs on this laptop              alive
    its bridge ran on this laptop, and is gone  dead
    its Lease was renewed in time               alive: heartbeats come through its tunnel
    its Lease has expired                       dead
    (no Lease) its proxy pod is Ready           alive: the pod's probe is answered by the process, through the tunnel
    it has no proxy pod, and is not young       dead
    otherwise                                   unknown: it may just start, or its laptop sleeps
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING

from bridge.cluster.errors import MissingRight
from bridge.cluster.trouble import is_ready
from bridge.cluster.workloads import workload_named
from bridge.errors import TargetError
from bridge.plan.objects import (
    HOLDER_ANNOTATION,
    TARGET_ANNOTATION,
    annotations_of,
    controller_of,
    labels_of,
    name_of,
)
from bridge.plan.target import WorkloadKind, describe
from bridge.plan.undo import parse_record, record_of
from bridge.session.claims import claims_in
from bridge.session.store import this_laptops_store
from bridge.wire.marks import SESSION_LABEL
from bridge.wire.undo import narrowed_to

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from bridge.cluster import Cluster
    from bridge.plan.lease import Claim
    from bridge.plan.objects import Object
    from bridge.wire.undo import UndoRecord

log = logging.getLogger(__name__)

YOUNG = timedelta(seconds=60)
"""A session of that age may just not have its proxy pod yet."""


class Life(Enum):
    """Whether a session is alive; see the module's docstring."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Found:
    """A session. ``record`` and ``claim`` are None where they are missing (or it has no target).

    ``session``: its id, empty where nothing that can be read tells it.

    ``copy``: the record, as elsewhere than on the target. ``unreadable``: why the record that there is can't be used.
    ``services``: those that are narrowed to it. ``since``: RFC 3339. ``heartbeat``: seconds since the latest one, None
    where nobody tells. ``lingers``: seconds for which it is still kept without a command, known on its own laptop only.
    """

    session: str
    namespace: str
    target: str
    holder: str
    since: str
    life: Life
    protection: str
    heartbeat: float | None
    services: tuple[str, ...]
    record: UndoRecord | None
    claim: Claim | None
    copy: UndoRecord | None = None
    unreadable: TargetError | None = None
    lingers: float | None = None

    def __str__(self) -> str:
        return f"{self.target or 'a proxy pod without target'} (session {self.session or '?'} of {self.holder})"


def find_sessions(cluster: Cluster) -> list[Found]:
    """Find all sessions of the cluster's namespace."""
    namespace = cluster.namespace
    workloads, pods, claims, services = cluster.gather(
        lambda: {kind: _listed(cluster, kind.path(namespace)) for kind in WorkloadKind},
        lambda: cluster.list_(f"/api/v1/namespaces/{namespace}/pods", label_selector=SESSION_LABEL),
        lambda: claims_in(cluster, label_selector=SESSION_LABEL),
        lambda: _listed(cluster, f"/api/v1/namespaces/{namespace}/services"),
    )
    local = this_laptops_store().sessions()
    there = [item for listed in workloads.values() for item in listed or ()]
    owned = {labels_of(item)[SESSION_LABEL]: item for item in there if SESSION_LABEL in labels_of(item)}
    unlisted = {str(kind) for kind, listed in workloads.items() if listed is None}
    if unlisted:
        claimed = [claim.target for claim in claims]
        marked = [annotations_of(item).get(TARGET_ANNOTATION, "") for item in owned.values()]
        on_disk = [each.target or "" for each in local if each.namespace == namespace]
        there += _named(cluster, unlisted, [*claimed, *marked, *on_disk])
    records, unreadable = _records(there)
    traces = _Traces(
        records=records,
        unreadable=unreadable,
        copies={claim.session: claim.undo for claim in claims} | {own.session: own.undo for own in local if own.undo},
        claims={claim.session: claim for claim in claims},
        owned=owned,
        services=_by_session(services or []),
        pods=_by_label(pods),
        local={each.session: each.is_alive() for each in local},
        now=cluster.now(),
    )
    found = [traces.found(session, namespace) for session in traces.sessions()]
    return [*found, *traces.nameless(namespace, named={each.target for each in found})]


def _listed(cluster: Cluster, path: str) -> list[Object] | None:
    """List what there is; None where the right to do so is missing."""
    try:
        return cluster.list_(path)
    except MissingRight:
        return None


def _named(cluster: Cluster, kinds: Collection[str], targets: Iterable[str]) -> list[Object]:
    """Return those of the targets (``deployment/web``) that are of these kinds: each is read by its name."""
    found: list[Object | None] = []
    for target in sorted(set(targets)):
        if target.partition("/")[0] in kinds:
            with suppress(MissingRight):  # what else there is of its session is found all the same
                found.append(workload_named(cluster, target))
    return [item for item in found if item]


def _records(items: Iterable[Object]) -> tuple[dict[str, UndoRecord], dict[str, TargetError]]:
    """Return the records on objects, by session; and why one can't be read, by what it is on.

    That keeps nobody from the sessions beside it. On a Deployment's ReplicaSet it is but a copy, which the Deployment
    controller has made and leaves there.
    """
    records: dict[str, UndoRecord] = {}
    unreadable: dict[str, TargetError] = {}
    for item in items:
        try:
            record = record_of(item)
        except TargetError as error:
            log.debug("%s: %s", name_of(item), error)
            if (controller_of(item) or {}).get("kind") != WorkloadKind.DEPLOYMENT.kind:
                unreadable[describe(item)] = error
        else:
            records |= {record.session: record} if record else {}
    return records, unreadable


def _parsed(text: str) -> tuple[UndoRecord | None, TargetError | None]:
    """Read the copy of a record, empty for none; return why it can't be used, if so."""
    try:
        return (parse_record(text) if text else None), None
    except TargetError as error:
        return None, error


def _by_session(services: list[Object]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for service in services:
        if session := narrowed_to(service):
            found.setdefault(session, []).append(name_of(service))
    return found


def _by_label(pods: list[Object]) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = {}
    for pod in pods:
        found.setdefault(labels_of(pod)[SESSION_LABEL], []).append(pod)
    return found


@dataclass(frozen=True, kw_only=True)
class _Traces:
    """What was found, each by session, but ``unreadable`` by target. ``copies``: of records, as they are written."""

    records: dict[str, UndoRecord]
    unreadable: dict[str, TargetError]
    copies: dict[str, str]
    claims: dict[str, Claim]
    owned: dict[str, Object]
    services: dict[str, list[str]]
    pods: dict[str, list[Object]]
    local: dict[str, bool]
    now: datetime

    def sessions(self) -> list[str]:
        return list(dict.fromkeys([*self.records, *self.claims, *self.owned, *self.services]))

    def found(self, session: str, namespace: str) -> Found:
        record, claim, owned = self.records.get(session), self.claims.get(session), self.owned.get(session)
        marks = annotations_of(owned) if owned else {}
        copy, unusable = _parsed(self.copies.get(session, ""))
        known = record or copy
        target = known.target if known else claim.target if claim else marks.get(TARGET_ANNOTATION, "")
        since = known.since if known else claim.acquired if claim else _created(owned)
        return Found(
            session=session,
            namespace=namespace,
            target=target,
            holder=known.holder if known else claim.holder if claim else marks.get(HOLDER_ANNOTATION, "somebody"),
            since=since,
            life=self._life(session, since),
            protection=claim.protection if claim else "",
            heartbeat=claim.age(self.now) if claim else None,
            services=tuple(self.services.get(session, ())),
            record=record,
            claim=claim,
            copy=copy,
            unreadable=None if record else self.unreadable.get(target, unusable),
        )

    def nameless(self, namespace: str, *, named: Collection[str]) -> list[Found]:
        """Return the sessions of which there is nothing but a record that can't be read; ``named``: others' targets."""
        nothing = self.found("", namespace)
        return [
            replace(nothing, target=target, unreadable=error)
            for target, error in self.unreadable.items()
            if target not in named
        ]

    def _life(self, session: str, since: str) -> Life:
        if session in self.local:
            return Life.ALIVE if self.local[session] else Life.DEAD
        if claim := self.claims.get(session):
            return Life.ALIVE if claim.is_live(self.now) else Life.DEAD
        pods = self.pods.get(session, [])
        if any(is_ready(pod) for pod in pods):
            return Life.ALIVE
        if not pods and _age(since, self.now) > YOUNG:
            return Life.DEAD
        return Life.UNKNOWN


def _created(item: Object | None) -> str:
    return str(item["metadata"]["creationTimestamp"]) if item else ""


def _age(since: str, now: datetime) -> timedelta:
    try:
        return now - datetime.fromisoformat(since)
    except (ValueError, TypeError):  # written by hand, or not known
        return timedelta()

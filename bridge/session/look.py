"""``bridge list``, ``bridge status``, ``bridge leave``: who holds what, and how this laptop's own sessions are.

list      from the cluster, so from any machine: every session of a namespace, or of all
status    from the sessions' own sockets: those of this laptop, with what only they know
leave     the same way: ends one, and waits until everything is back
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bridge.cluster import connect
from bridge.cluster.errors import ApiError
from bridge.errors import ClusterError
from bridge.plan.objects import labels_of
from bridge.session.named import named
from bridge.session.sessions import find_sessions
from bridge.session.store import this_laptops_store
from bridge.session.visiting import Gone, Visitor
from bridge.wire.marks import SESSION_LABEL

if TYPE_CHECKING:
    from datetime import datetime

    from bridge.cluster import Cluster
    from bridge.session.request import ClusterChoice
    from bridge.session.sessions import Found
    from bridge.session.store import LocalSession

EVERYWHERE = (
    "/apis/apps/v1/replicasets",
    "/apis/coordination.k8s.io/v1/leases",
)
"""Where sessions of all namespaces show: each has one of these."""


def list_sessions(where: ClusterChoice, *, everywhere: bool) -> tuple[list[Found], datetime]:
    """Return the sessions of the namespace, or of all namespaces, and the API server's time."""
    with connect(kubeconfig=where.kubeconfig, context=where.context, namespace=where.namespace) as cluster:
        namespaces = _namespaces(cluster) if everywhere else [cluster.namespace]
        found = [each for namespace in namespaces for each in find_sessions(cluster.within(namespace))]
        now = cluster.now()
    kept = {each["session"]: each.get("lingers") for each in local_status(kept=True)}
    found = [replace(each, lingers=kept.get(each.session)) for each in found]
    return sorted(found, key=lambda each: (each.namespace, each.target, each.session)), now


def _namespaces(cluster: Cluster) -> list[str]:
    """Return the namespaces that have a session. Forbidden when nothing may be listed in all of them."""
    found: set[str] = set()
    refused: list[ApiError] = []
    for path in EVERYWHERE:
        try:
            items = cluster.list_(path, label_selector=SESSION_LABEL)
        except ApiError as error:
            refused.append(error)
        else:
            found |= {str(item["metadata"]["namespace"]) for item in items if SESSION_LABEL in labels_of(item)}
    if len(refused) == len(EVERYWHERE):
        raise refused[0]
    return sorted(found)


def local_status(*, kept: bool = False) -> list[dict[str, Any]]:
    """Return how each session of this laptop is, or each that is ``kept`` (``local.Status`` as JSON to be).

    One whose bridge is gone has the state ``dead``; one that does not answer, ``unknown``.
    """
    return [_status_of(session) for session in this_laptops_store().sessions() if session.kept or not kept]


def _status_of(session: LocalSession) -> dict[str, Any]:
    known = {
        "session": session.session,
        "target": session.target or "",
        "namespace": session.namespace,
        "context": session.context,
        "pid": session.pid,
    }
    if not session.is_alive():
        return {**known, "state": "dead"}
    try:
        visitor = Visitor(session.pid)
    except Gone:
        return {**known, "state": "unknown"}
    try:
        answer = visitor.ask("status")
    except Gone:
        return {**known, "state": "unknown"}
    finally:
        visitor.close()
    answer.pop("version", None)  # the socket's; the result has its own
    return {**known, "state": "unknown", **answer} if "error" not in answer else {**known, "state": "unknown"}


def leave(name: str, *, timeout: float) -> str:
    """End this laptop's session of that target (or id), and wait until everything is back; return what was done."""
    session = named(name)
    visitor = Visitor(session.pid)
    try:
        visitor.ask("leave")
        if not visitor.wait_until_gone(timeout):
            raise ClusterError(
                f"the session of {session.target or session.session} has not ended within {timeout:g} s",
                hint="It goes on putting things back; see bridge status.",
            )
    finally:
        visitor.close()
    if any(each.session == session.session for each in this_laptops_store().sessions()):
        raise ClusterError(
            f"the session of {session.target or session.session} has ended, but not everything could be put back",
            hint=f"bridge restore {session.target or session.session} {session.where}",
        )
    return f"left {session.target or 'the cluster'} (session {session.session}): everything is as it was"

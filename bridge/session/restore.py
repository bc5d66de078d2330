"""``bridge restore``: puts back what sessions left, from any machine; it needs nothing but the cluster.

Without a name it restores all sessions of the namespace but those that are alive (see ``sessions``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.cluster import connect
from bridge.cluster.access import require_rights
from bridge.cluster.errors import MissingRight
from bridge.cluster.workloads import workload_named
from bridge.errors import BridgeError, TargetError
from bridge.plan.access import Purpose, needed_rights
from bridge.plan.lease import lease_name
from bridge.plan.names import secret_name
from bridge.plan.target import TargetSpec, WorkloadKind
from bridge.plan.undo import record_of
from bridge.session import traffic
from bridge.session.changes import PATIENCE, Target, remove_objects, wait_until_back
from bridge.session.claims import release_lease
from bridge.session.housekeeping import clear_up
from bridge.session.outside import clear_up as clear_up_outside
from bridge.session.sessions import Found, Life, find_sessions
from bridge.session.signals import Signals
from bridge.session.store import this_laptops_store
from bridge.wire.undo import replicas_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.cluster import Cluster
    from bridge.plan.objects import Object
    from bridge.session.narrator import Narrator
    from bridge.session.request import RestoreRequest


def restore(request: RestoreRequest, narrator: Narrator) -> list[str]:
    """Restore what was asked for; return a line for each session, to be printed."""
    where = request.where
    with (
        Signals() as signals,
        connect(
            kubeconfig=where.kubeconfig, context=where.context, namespace=where.namespace, between=signals.look
        ) as cluster,
    ):
        with signals.interruptible():
            found = find_sessions(cluster)
        wanted = _wanted(found, request.name)
        done = _each_put_back(cluster, wanted, narrator, signals, timeout=request.timeout)
        clear_up(cluster)
        clear_up_outside()
        spared = [each for each in found if each not in wanted]
        return [
            *done,
            *(f"left alone {each}: {each.life.value}; name it to restore it all the same" for each in spared),
            *([] if found else [f"nothing to restore in namespace {cluster.namespace}"]),
        ]


def _each_put_back(
    cluster: Cluster, wanted: Sequence[Found], narrator: Narrator, signals: Signals, *, timeout: float
) -> list[str]:
    """Put these sessions' targets back; return a line for each. One that can't be keeps none of the others."""
    done, failed = list[str](), list[tuple[Found, BridgeError]]()
    for each in wanted:
        try:
            put_back(cluster, each, narrator, signals, timeout=timeout)
        except BridgeError as error:
            failed.append((each, error))
        else:
            this_laptops_store().remove(each.session)
            done.append(f"restored {each}")
    if failed:
        for line in done:
            narrator.done(line)
        raise _in_one(failed)
    return done


def put_back(cluster: Cluster, found: Found, narrator: Narrator, signals: Signals, *, timeout: float) -> None:
    """Put a session's target back, wait until it is Ready, then widen its Services and remove its objects.

    Its Lease goes as soon as the record is gone: a bridge that lives would take the one without the other for a
    rollback, and write the record again. What is still to be done then, its ReplicaSet and its Services tell.
    """
    narrator.doing(f"putting {found.target or found.session} back")
    try:
        workload = _replicas_back(cluster, found)
    except MissingRight:
        _require_rights(cluster, found.target)
        raise
    if found.claim:
        kind, _, name = found.target.partition("/")
        release_lease(cluster.patient(PATIENCE), lease_name(kind, name), found.session)
    if workload:
        wait_until_back(cluster, workload, narrator, signals, timeout=timeout)
    traffic.widen(cluster.patient(PATIENCE), found.services, found.session)
    remove_objects(cluster, found.session, narrator)


def _require_rights(cluster: Cluster, target: str) -> None:
    """Raise Forbidden with all rights that a restore needs, not just with the one that was missed first."""
    kind, _, name = target.partition("/")
    require_rights(cluster, needed_rights(Purpose.RESTORE, WorkloadKind.parse(kind), name))


def _replicas_back(cluster: Cluster, found: Found) -> Object | None:
    """Return the target, with its replicas back; None where it does not matter when it is Ready.

    TargetError where it may be swapped still, and no record says how it was: then the session's objects are to stay,
    for the keeper among them may know.
    """
    if found.unreadable:
        raise found.unreadable
    record = found.record or found.copy
    if record is None:
        _check_as_before(cluster, found)
        return None
    workload = Target(cluster, record).put_back(lost=None if found.record else record)
    return workload if record.swapped or found.services else None


def _check_as_before(cluster: Cluster, found: Found) -> None:
    """Raise TargetError unless the target is as it was: a session that died early has not come to change it."""
    workload = workload_named(cluster, found.target) if found.target else None
    if workload and replicas_of(workload) == 0 and record_of(workload) is None:
        raise TargetError(
            f"{found.target} has 0 replicas, and the undo record of session {found.session} is not found: "
            "how many there were is not known",
            hint=f"Scale it to as many as it is to have, then run this again: kubectl scale {found.target} "
            f"--replicas=N. If 0 is right: kubectl delete secret {secret_name(found.session)}",
        )


def _in_one(failed: Sequence[tuple[Found, BridgeError]]) -> BridgeError:
    """Return the first error, which tells of the others, too."""
    first = failed[0][1]
    if len(failed) == 1:
        return first
    told = "; ".join(f"{found}: {error.message}" for found, error in failed)
    return type(first)(
        f"{len(failed)} sessions could not be restored: {told}", hint=first.hint, exit_code=first.exit_code
    )


def _wanted(found: list[Found], name: str | None) -> list[Found]:
    if name is None:
        return [each for each in found if each.life is not Life.ALIVE]
    spec = TargetSpec.parse(name)
    wanted = [each for each in found if spec.means(each.target, each.session)]
    if not wanted:
        there = ", ".join(each.target or each.session for each in found) or "none at all"
        raise TargetError(f"no session has swapped {name}", hint=f"There is: {there}.")
    return wanted

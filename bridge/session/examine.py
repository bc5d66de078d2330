"""The preliminaries: what is there, what is allowed, what is in the way. Nothing is changed here."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING

from bridge.cluster.access import require_rights
from bridge.cluster.errors import ApiError, MissingRight
from bridge.cluster.execute import image_environment
from bridge.cluster.workloads import find_workload, notes_on, pods_of, require_namespace, services_of, workloads_of
from bridge.errors import TargetError
from bridge.plan.access import Purpose, needed_rights
from bridge.plan.objects import labels_of, name_of
from bridge.plan.placement import pod_template
from bridge.plan.pods import is_original
from bridge.plan.ports import selecting_services
from bridge.plan.protection import PREPARED_ACCOUNT
from bridge.plan.services import widened
from bridge.plan.target import WorkloadKind, check_swappable, describe, is_idle
from bridge.plan.undo import check_unclaimed, held, record_of, since
from bridge.session.intend import Situation
from bridge.session.sessions import Found, Life, find_sessions
from bridge.session.store import this_laptops_store

if TYPE_CHECKING:
    from bridge.cluster import Cluster
    from bridge.plan.access import Right
    from bridge.plan.objects import Object
    from bridge.plan.target import TargetSpec
    from bridge.session.narrator import Narrator
    from bridge.session.request import RunRequest


def examine(cluster: Cluster, request: RunRequest, narrator: Narrator) -> Situation:
    """Look at everything that the plan needs. Raise what stops the session."""
    narrator.doing(f"looking at namespace {cluster.namespace} of {cluster.context}")
    if request.target is None:
        lacking, prepared, _ = cluster.gather(
            lambda: require_rights(cluster, needed_rights(Purpose.JOIN)),
            lambda: _is_prepared(cluster),
            lambda: require_namespace(cluster),
        )
        return _situation(cluster, None, lacking, prepared=prepared)
    workload = _find(cluster, request.target)
    _check_not_rolled_back(cluster, workload)
    check_swappable(workload)
    replacing = _replaceable(cluster, workload, request, narrator)
    rights = needed_rights(Purpose.SWAP, WorkloadKind.of(workload), name_of(workload))
    lacking, prepared, (services, pods), workloads, notes = cluster.gather(
        lambda: require_rights(cluster, rights),
        lambda: _is_prepared(cluster),
        lambda: _services_and_pods(cluster, workload),
        lambda: workloads_of(cluster),
        lambda: notes_on(cluster, workload),
    )
    for note in notes:
        narrator.note(note)
    return _situation(
        cluster,
        workload,
        lacking,
        prepared=prepared,
        services=services,
        pods=pods,
        workloads=workloads,
        replacing=replacing,
    )


def _find(cluster: Cluster, target: TargetSpec) -> Object:
    """Find the target; who may not even read it is told all that a session needs, not just this."""
    try:
        return find_workload(cluster, target)
    except MissingRight:
        require_rights(cluster, needed_rights(Purpose.SWAP, target.kind or WorkloadKind.DEPLOYMENT, target.name))
        raise


def _is_prepared(cluster: Cluster) -> bool:
    """Tell whether an administrator has prepared an account for keepers (`bridge install`)."""
    try:
        cluster.get(f"/api/v1/namespaces/{cluster.namespace}/serviceaccounts/{PREPARED_ACCOUNT}")
    except ApiError:  # not there, or nothing that we may see
        return False
    return True


def _services_and_pods(cluster: Cluster, workload: Object) -> tuple[tuple[Object, ...], tuple[Object, ...]]:
    """Return the Services of the namespace, as no session has narrowed them, and the pods that those of ours select."""
    services = tuple(widened(service) for service in services_of(cluster))
    ours = selecting_services(services, labels_of(pod_template(workload)))
    selectors = {
        ",".join(f"{key}={value}" for key, value in sorted(service["spec"]["selector"].items())) for service in ours
    }
    path = f"/api/v1/namespaces/{cluster.namespace}/pods"
    pods = {name_of(pod): pod for selector in selectors for pod in cluster.list_(path, label_selector=selector)}
    return services, tuple(pods.values())


# ---- who holds it ----------------------------------------------------------------------------------------------------
def _replaceable(cluster: Cluster, workload: Object, request: RunRequest, narrator: Narrator) -> str:
    """Return the session that holds the target and may be replaced, empty if none does. TargetError otherwise."""
    record = record_of(workload)
    if record is None:
        return ""
    holder = next((found for found in find_sessions(cluster) if found.session == record.session), None)
    if holder is None:  # restored in this moment
        return record.session
    how_long = since(record.since, cluster.now())
    if holder.life is Life.DEAD:
        if not (request.takeover or _was_here(holder)):
            raise _offer(describe(workload), holder, how_long)
        narrator.note(f"taking over from {record.holder}, whose session is dead: it had {record.replicas} replicas")
    elif request.takeover and record.takeover:
        narrator.note(f"taking over from {record.holder}, who allows it")
    elif request.takeover:
        raise TargetError(
            f"{describe(workload)} is swapped by {record.holder} ({how_long}), whose session is {holder.life.value}",
            hint=f"Ask {record.holder} to end it: it was not begun with --allow-takeover.",
        )
    else:
        check_unclaimed(workload, now=cluster.now())
    return record.session


def _check_not_rolled_back(cluster: Cluster, workload: Object) -> None:
    """Raise TargetError if a session holds a target that has neither replicas nor a record: a rollback takes that away.

    Who scaled it up would never learn how many there were.
    """
    if not is_idle(workload):
        return
    target = describe(workload)
    holder = next((found for found in find_sessions(cluster) if found.target == target), None)
    if holder:
        raise held(target, holder.holder, since(holder.since, cluster.now()), may_be_taken=False)


def _was_here(found: Found) -> bool:
    """Tell whether the session was this laptop's: then its user knows that it died."""
    return any(local.session == found.session for local in this_laptops_store().sessions())


def _offer(target: str, holder: Found, how_long: str) -> TargetError:
    error = held(target, holder.holder, how_long, may_be_taken=True)
    silent = f", silent for {holder.heartbeat:.0f} s" if holder.heartbeat is not None else ""
    name = target.rpartition("/")[2]
    return TargetError(
        f"{error.message}, but that session is dead{silent}",
        hint=f"Take it over with --takeover, or put it back with `bridge restore {name}`.",
    )


def _situation(
    cluster: Cluster,
    workload: Object | None,
    lacking: tuple[Right, ...],
    *,
    prepared: bool,
    services: tuple[Object, ...] = (),
    pods: tuple[Object, ...] = (),
    workloads: tuple[Object, ...] = (),
    replacing: str = "",
) -> Situation:
    return Situation(
        namespace=cluster.namespace,
        workload=workload,
        services=services,
        pods=pods,
        workloads=workloads,
        now=cluster.now(),
        holder=holder(),
        lacking=lacking,
        replacing=replacing,
        prepared=prepared,
    )


def original_environment(cluster: Cluster, workload: Object, container: str, narrator: Narrator) -> bytes | None:
    """Return the environment of the running original, which has what its image sets; None where it can't be read."""
    for pod in pods_of(cluster, workload):
        if is_original(workload, pod) and pod.get("status", {}).get("phase") == "Running":
            return image_environment(cluster, name_of(pod), container, note=narrator.note)
    narrator.note("no pod of the original runs: what its image sets in the environment is not known")
    return None


def holder() -> str:
    """Tell who runs this, and where: ``ann@laptop``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a uid without a passwd entry
        user = f"uid{os.getuid()}"
    return f"{user}@{os.uname().nodename}"

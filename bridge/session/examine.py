"""The preliminaries: what is there, what is allowed, what is in the way. Nothing is changed here."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING

from bridge.cluster.access import require_rights
from bridge.cluster.errors import MissingRight
from bridge.cluster.execute import image_environment
from bridge.cluster.workloads import find_workload, notes_on, pods_of, require_namespace, services_of
from bridge.plan.access import Purpose, needed_rights
from bridge.plan.objects import labels_of, name_of
from bridge.plan.target import WorkloadKind, check_swappable
from bridge.plan.undo import check_unclaimed, record_of
from bridge.session.intend import Situation
from bridge.session.restore import Life, find_sessions
from bridge.wire.marks import SESSION_LABEL

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
        lacking, _ = cluster.gather(
            lambda: require_rights(cluster, needed_rights(Purpose.JOIN)), lambda: require_namespace(cluster)
        )
        return _situation(cluster, None, (), lacking, "")
    workload = _find(cluster, request.target)
    check_swappable(workload)
    replacing = _dead_holder(cluster, workload, narrator)
    rights = needed_rights(Purpose.SWAP, WorkloadKind.of(workload), name_of(workload))
    lacking, services, notes = cluster.gather(
        lambda: require_rights(cluster, rights), lambda: services_of(cluster), lambda: notes_on(cluster, workload)
    )
    for note in notes:
        narrator.note(note)
    return _situation(cluster, workload, services, lacking, replacing)


def _find(cluster: Cluster, target: TargetSpec) -> Object:
    """Find the target; who may not even read it is told all that a session needs, not just this."""
    try:
        return find_workload(cluster, target)
    except MissingRight:
        require_rights(cluster, needed_rights(Purpose.SWAP, target.kind or WorkloadKind.DEPLOYMENT, target.name))
        raise


def _dead_holder(cluster: Cluster, workload: Object, narrator: Narrator) -> str:
    """Return the dead session that holds the target, empty if none does. TargetError when one that lives does."""
    record = record_of(workload)
    dead = {left.session for left in find_sessions(cluster) if left.life is Life.DEAD} if record else set()
    check_unclaimed(
        workload, replacing=record.session if record and record.session in dead else None, now=cluster.now()
    )
    if record is None:
        return ""
    narrator.note(f"taking over from {record.holder}, whose session is dead: it had {record.replicas} replicas")
    return record.session


def _situation(
    cluster: Cluster,
    workload: Object | None,
    services: tuple[Object, ...],
    lacking: tuple[Right, ...],
    replacing: str,
) -> Situation:
    return Situation(
        namespace=cluster.namespace,
        workload=workload,
        services=services,
        now=cluster.now().isoformat(timespec="seconds"),
        holder=holder(),
        lacking=lacking,
        replacing=replacing,
    )


def original_environment(cluster: Cluster, workload: Object, container: str, narrator: Narrator) -> bytes | None:
    """Return the environment of the running original, which has what its image sets; None where it can't be read."""
    for pod in pods_of(cluster, workload):
        running = pod.get("status", {}).get("phase") == "Running"
        if running and SESSION_LABEL not in labels_of(pod) and not pod["metadata"].get("deletionTimestamp"):
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

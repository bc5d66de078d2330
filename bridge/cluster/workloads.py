"""The target and what is around it, found in as few round trips as there can be."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bridge.cluster.errors import ApiError, MissingRight, NotFound
from bridge.errors import TargetError
from bridge.plan.names import near_names, one_of
from bridge.plan.objects import name_of
from bridge.plan.rivals import rivals
from bridge.plan.target import WorkloadKind, choose, describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.cluster.client import Cluster
    from bridge.plan.objects import Object
    from bridge.plan.target import TargetSpec


def find_workload(cluster: Cluster, spec: TargetSpec) -> Object:
    """Return the workload that ``spec`` means, with its kind.

    It is read by its name first, which needs the least rights; only when that does not settle it, all are listed for
    the near names. Raise TargetError; MissingRight if not even reading it is allowed.
    """
    kinds = [spec.kind] if spec.kind else list(WorkloadKind)
    found = cluster.gather(*(partial(_read, cluster, kind, spec.name) for kind in kinds))
    there = [item for item in found if isinstance(item, dict)]
    refused = [item for item in found if isinstance(item, MissingRight)]
    if there:
        return choose(spec, there)
    if refused and len(refused) == len(found):
        raise refused[0]
    require_namespace(cluster)
    return choose(spec, _all(cluster, spec))


def _read(cluster: Cluster, kind: WorkloadKind, name: str) -> Object | MissingRight | None:
    try:
        return kind.stamp(cluster.get(kind.path(cluster.namespace, name)))
    except NotFound:
        return None
    except MissingRight as error:
        return error


def workload_named(cluster: Cluster, target: str) -> Object | None:
    """Return the workload that ``target`` (``deployment/web``) is, with its kind; None if there is none.

    Raise MissingRight if it may not be read.
    """
    word, _, name = target.partition("/")
    kind = WorkloadKind.parse(word)
    found = cluster.find(kind.path(cluster.namespace, name))
    return kind.stamp(found) if found else None


def _all(cluster: Cluster, spec: TargetSpec) -> list[Object]:
    """Return all workloads; raise TargetError if they may not be listed, so that the user is not told that none is."""
    lists = cluster.gather(*(partial(_list, cluster, kind.path(cluster.namespace)) for kind in WorkloadKind))
    if all(found is None for found in lists):
        raise TargetError(
            f"there is no {spec.kind or 'workload'} named {spec.name} in namespace {cluster.namespace}",
            hint="Which there are is not known: you may not list them. Is it the right --namespace?",
        )
    return [item for found in lists for item in found or []]


def _list(cluster: Cluster, path: str) -> list[Object] | None:
    """List what may be listed: for hints and notes, which may be left out."""
    try:
        return cluster.list_(path)
    except (MissingRight, NotFound):
        return None


def require_namespace(cluster: Cluster) -> None:
    """Raise TargetError if the namespace is not there; who may not look is let through."""
    try:
        cluster.get(f"/api/v1/namespaces/{cluster.namespace}")
    except MissingRight:
        return
    except NotFound:
        names = [name_of(item) for item in _list(cluster, "/api/v1/namespaces") or []]
        near = near_names(cluster.namespace, names)
        hint = f"Did you mean {one_of(near)}?" if near else f"There are: {', '.join(names[:10])}." if names else ""
        raise TargetError(
            f"there is no namespace {cluster.namespace} in context {cluster.context}",
            hint=hint or "Give another one with --namespace, or --context.",
        ) from None


def workloads_of(cluster: Cluster) -> tuple[Object, ...]:
    """Return all workloads of the namespace, each with its kind, as far as they may be listed."""
    lists = cluster.gather(*(partial(_list, cluster, kind.path(cluster.namespace)) for kind in WorkloadKind))
    return tuple(item for found in lists for item in found or [])


def services_of(cluster: Cluster) -> tuple[Object, ...]:
    """Return the Services of the namespace."""
    return tuple(cluster.list_(f"/api/v1/namespaces/{cluster.namespace}/services"))


def pods_of(cluster: Cluster, workload: Object) -> list[Object]:
    """Return the pods that the workload's selector matches: a proxy pod, too, and others (see ``plan.pods``)."""
    path = f"/api/v1/namespaces/{cluster.namespace}/pods"
    return cluster.list_(path, label_selector=selector_of(workload))


def selector_of(workload: Object) -> str:
    """Write ``spec.selector`` as the API takes it in a query."""
    selector: Object = workload["spec"].get("selector") or {}
    equal = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    return ",".join(equal + [_expression(item) for item in selector.get("matchExpressions") or []])


def _expression(item: Object) -> str:
    key, values = item["key"], ",".join(item.get("values") or [])
    written = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
    return str(written.get(item["operator"], f"!{key}"))


# -- what is in the way --------------------------------------------------------------------------------------------


def notes_on(cluster: Cluster, workload: Object) -> tuple[str, ...]:
    """Say what else changes the workload, and what that means for a swap."""
    path = f"/apis/autoscaling/v2/namespaces/{cluster.namespace}/horizontalpodautoscalers"
    try:
        scalers = _list(cluster, path) or []
    except ApiError:  # a cluster without them
        scalers = []
    return (*scaler_notes(workload, scalers), *rivals(workload))


def scaler_notes(workload: Object, scalers: Sequence[Object]) -> list[str]:
    """Say which autoscalers have ``workload`` as their target."""
    notes = []
    for scaler in scalers:
        target = scaler["spec"]["scaleTargetRef"]
        if (target["kind"], target["name"]) != (WorkloadKind.of(workload).kind, name_of(workload)):
            continue
        if any(owner.get("kind") == "ScaledObject" for owner in scaler["metadata"].get("ownerReferences") or []):
            notes.append(
                f"KEDA scales {describe(workload)}: it may bring the original back during the session "
                "(annotation autoscaling.keda.sh/paused on the ScaledObject stops it)"
            )
        else:
            notes.append(
                f"the HorizontalPodAutoscaler {name_of(scaler)} scales {describe(workload)}: it rests while there are "
                "0 replicas; what is kept of the original it goes on scaling"
            )
    return notes

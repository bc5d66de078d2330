"""Which Services a session narrows to its proxy pod, and who gets their connections.

While a target is swapped, ``bridge.internal/session`` with the session's id is in the selector of its Services, beside
what is there: only the proxy pod has that label, so only it is in their endpoints, whoever scales the original. And the
original leaves them before it ends: a program that dies at once on SIGTERM loses nothing.

A Service that selects somebody else's pods, too, would be taken from them. So it stays as it is, with a note:

    others are                                                               told as
    -----------------------------------------------------------------------  -----------------------------------------
    pods that run, unless they match the target's selector, as its proxies   their controller, or ``pod/x``; a session
    do, and nobody else controls them
    other workloads, by their template; with 0 replicas, too: they may be    the workload, ``deployment/y``
    scaled up, or be another session's target
    a ReplicaSet that another workload controls                              that workload; an old revision not at all

A Service that a dead session has left narrowed is compared as it was before.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from bridge.errors import TargetError
from bridge.plan.objects import Object, controller_of, labels_of, name_of
from bridge.plan.placement import pod_template
from bridge.plan.pods import has_ended, is_own, who_runs
from bridge.plan.ports import selecting_services
from bridge.plan.target import WorkloadKind, describe
from bridge.wire.marks import SESSION_LABEL
from bridge.wire.undo import as_read, replicas_of


@dataclass(frozen=True)
class Narrowing:
    """The names of the Services to narrow, and a line for each that can't be."""

    services: tuple[str, ...]
    notes: tuple[str, ...]


def choose_services(
    workload: Object, services: Iterable[Object], pods: Iterable[Object], workloads: Iterable[Object]
) -> Narrowing:
    """Choose among ``services`` those that select the pods of ``workload``, and nobody else's.

    ``pods`` and ``workloads`` (each with its kind) are those of the namespace, as far as they may be listed.
    """
    others = [*_other_workloads(workload, workloads), *_other_pods(workload, pods)]
    chosen, notes = [], []
    for service in selecting_services(map(widened, services), labels_of(pod_template(workload))):
        shared = dict.fromkeys(who for who, labels in others if _selector(service).items() <= labels.items())
        if shared:
            notes.append(
                f"service/{name_of(service)} also selects {', '.join(shared)}: it is not narrowed, "
                "so the original leaves it only when it ends"
            )
        else:
            chosen.append(name_of(service))
    return Narrowing(tuple(chosen), tuple(notes))


def widened(service: Object) -> Object:
    """Return ``service`` as it is without any session."""
    selector = {key: value for key, value in _selector(service).items() if key != SESSION_LABEL}
    return {**service, "spec": {**service["spec"], "selector": selector}}


def _selector(service: Object) -> dict[str, str]:
    return service["spec"].get("selector") or {}


_Other = tuple[str, dict[str, str]]
"""Who it is, and the labels by which Services find its pods."""


def _other_workloads(workload: Object, workloads: Iterable[Object]) -> Iterator[_Other]:
    there = [item for item in workloads if SESSION_LABEL not in labels_of(item)]
    named = {_identity(item) for item in there} | {_identity(workload)}
    for item in there:
        owner = controller_of(item)
        told = owner is not None and ((owner["kind"], owner["name"]) in named or replicas_of(item) == 0)
        if not told and _identity(item) != _identity(workload):
            yield describe(item), labels_of(pod_template(item))


def _identity(workload: Object) -> tuple[str, str]:
    return WorkloadKind.of(workload).kind, name_of(workload)


def _other_pods(workload: Object, pods: Iterable[Object]) -> Iterator[_Other]:
    for pod in pods:
        if not is_own(workload, pod) and not has_ended(pod):
            yield who_runs(pod), labels_of(pod)


def narrow_patch(service: Object, session: str, *, replacing: str = "") -> Object | None:
    """Narrow ``service`` (as just read) to the pod of ``session``; None where it is already.

    Raise TargetError where it is narrowed to a session that is neither this one nor the one ``replacing``. What undoes
    it is ``wire.undo.widen_patch``.
    """
    current = _selector(service).get(SESSION_LABEL)
    if current == session:
        return None
    if current not in (None, replacing):
        raise TargetError(
            f"service/{name_of(service)} is narrowed to session {current}",
            hint=f"If that session is dead, run `bridge restore {current}`.",
        )
    return {"metadata": as_read(service), "spec": {"selector": {SESSION_LABEL: session}}}


def ready_pods(slices: Iterable[Object]) -> frozenset[str]:
    """Return the names of the pods that get new connections, from the EndpointSlices of a Service.

    An endpoint without the condition counts as ready, as it does for kube-proxy. (Where none is ready, kube-proxy
    falls back to those that end but still serve, KEP-1669: not counted.)
    """
    endpoints = [cast("Object", endpoint) for item in slices for endpoint in item.get("endpoints") or []]
    references = [
        endpoint.get("targetRef") or {}
        for endpoint in endpoints
        if (endpoint.get("conditions") or {}).get("ready") is not False
    ]
    return frozenset(str(reference["name"]) for reference in references if reference.get("kind") == "Pod")

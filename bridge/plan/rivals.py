"""Who else decides how many replicas the target has, and may scale it up again during a swap.

Found on the target alone, without more rights than reading it:

    an owner that is a controller       an operator's custom resource, an Argo Rollout
    Argo CD's tracking id, or label     with self-heal it resets what differs from Git
    Flux's kustomization or release     it reapplies what it manages at each interval
    Helm's release                      somebody may upgrade it

Autoscalers are found elsewhere (``cluster.workloads``): they name their target, it does not name them.
"""

from collections.abc import Mapping

from bridge.plan.objects import Object, annotations_of, controller_of, labels_of
from bridge.plan.target import describe

_ARGO_CD = "Argo CD application {name} manages {target}: with self-heal on, it brings the original back"
_MARKS: Mapping[str, str] = {
    "argocd.argoproj.io/tracking-id": _ARGO_CD,
    "argocd.argoproj.io/instance": _ARGO_CD,
    "kustomize.toolkit.fluxcd.io/name": (
        "Flux kustomization {name} manages {target}: it may bring the original back when it reconciles"
    ),
    "helm.toolkit.fluxcd.io/name": (
        "Flux release {name} manages {target}: it may bring the original back (drift detection)"
    ),
    "meta.helm.sh/release-name": "Helm release {name} has {target}: an upgrade brings the original back",
}


def rivals(workload: Object) -> tuple[str, ...]:
    """Return a line for each, to be told before the swap; none is certain to interfere."""
    target, marks = describe(workload), labels_of(workload) | annotations_of(workload)
    named = (
        text.format(name=marks[mark].partition(":")[0], target=target)  # a tracking id goes on after the name
        for mark, text in _MARKS.items()
        if mark in marks
    )
    return tuple(dict.fromkeys([*_operator(workload), *named]))


def _operator(workload: Object) -> list[str]:
    owner = controller_of(workload)
    if owner is None:
        return []
    who = f"{owner['kind'].lower()}/{owner['name']}"
    return [f"{who} manages {describe(workload)}: its controller may bring the original back"]

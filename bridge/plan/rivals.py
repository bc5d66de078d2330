"""Who else decides how many replicas the target has, and might scale it up again during a swap.

Found on the target alone, without more rights than reading it:

    an owner that is a controller       an operator's custom resource, an Argo Rollout
    Argo CD's tracking id               with self-heal it resets what differs from Git
    Flux's kustomization or release     it reapplies what it manages at each interval

A HorizontalPodAutoscaler is no rival: it leaves a target with 0 replicas alone (autoscaling is off at 0).
"""

from bridge.plan.objects import Object, annotations_of, controller_of, labels_of
from bridge.plan.target import describe

_ARGO_CD = "argocd.argoproj.io/tracking-id"
_FLUX = {
    "kustomize.toolkit.fluxcd.io/name": "Flux kustomization",
    "helm.toolkit.fluxcd.io/name": "Flux release",
}


def rivals(workload: Object) -> tuple[str, ...]:
    """Return a line for each, to be told before the swap; none is certain to interfere."""
    return tuple(
        f"{who} manages {describe(workload)} and may scale it up again during the session" for who in _rivals(workload)
    )


def _rivals(workload: Object) -> list[str]:
    found = []
    owner = controller_of(workload)
    if owner:
        found.append(f"{owner['kind'].lower()}/{owner['name']}")
    application = annotations_of(workload).get(_ARGO_CD, "").partition(":")[0]
    if application:
        found.append(f"Argo CD application {application}")
    labels = labels_of(workload)
    found += [f"{what} {labels[label]}" for label, what in _FLUX.items() if label in labels]
    return found

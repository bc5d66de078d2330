"""Where the proxy pod can run beside the original, and as whom.

A StatefulSet's pods are not alike: each has its name, its claims and its own DNS record. The proxy goes as the first
of them: same host name under the same headless Service, same claims, and the labels by which per-pod Services select.
(The StatefulSet never adopts it: it has another controller.)

    a claim (PVC)             draws the proxy to the node that has it mounted: others may not be able to
    required anti-affinity    of the target's pods to each other holds for the proxy too, also if it were left out here
                              (the scheduler honours the rules of pods that are there): nothing to change, so a hint
    readiness gates           somebody else's controller sets them: a hint, if it does not
"""

import copy
from collections.abc import Mapping

from bridge.plan.objects import Object, labels_of, name_of, pod_spec
from bridge.plan.target import WorkloadKind

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"
HOST = "kubernetes.io/hostname"


def pod_template(workload: Object) -> Object:
    """Return a copy of the template of the pod whose place the proxy takes: its labels, host name and volumes."""
    template: Object = copy.deepcopy(workload["spec"]["template"])
    if WorkloadKind.of(workload) is WorkloadKind.STATEFUL_SET:
        _become_first_ordinal(template, workload)
    return template


def _become_first_ordinal(template: Object, workload: Object) -> None:
    spec = workload["spec"]
    index = (spec.get("ordinals") or {}).get("start", 0)
    name = f"{name_of(workload)}-{index}"
    metadata = template.setdefault("metadata", {})
    metadata["labels"] = (metadata.get("labels") or {}) | {POD_NAME_LABEL: name, POD_INDEX_LABEL: str(index)}
    pod = pod_spec(template)
    pod["hostname"] = name
    if spec.get("serviceName"):
        pod["subdomain"] = spec["serviceName"]
    claims = {name_of(claim): f"{name_of(claim)}-{name}" for claim in spec.get("volumeClaimTemplates") or []}
    others = [volume for volume in pod.get("volumes") or [] if volume["name"] not in claims]
    volumes = [{"name": volume, "persistentVolumeClaim": {"claimName": claim}} for volume, claim in claims.items()]
    if others or volumes:
        pod["volumes"] = others + volumes


def prefer_the_node_of_claims(template: Object, workload: Object) -> None:
    """Draw the proxy to a node where the original runs, if ``template`` (ours to change) mounts a claim.

    Preferred, not required: a claim that many nodes can mount must not fail on a full one.
    """
    pod = pod_spec(template)
    if not _claims(pod):
        return
    beside: Object = {"labelSelector": _selector_of_original(template, workload), "topologyKey": HOST}
    affinity = pod["affinity"] = dict(pod.get("affinity") or {})
    pod_affinity = affinity["podAffinity"] = dict(affinity.get("podAffinity") or {})
    key = "preferredDuringSchedulingIgnoredDuringExecution"
    pod_affinity[key] = [*(pod_affinity.get(key) or []), {"weight": 100, "podAffinityTerm": beside}]


def _claims(pod: Object) -> list[str]:
    return [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in pod.get("volumes") or []
        if volume.get("persistentVolumeClaim")
    ]


def _selector_of_original(template: Object, workload: Object) -> Object:
    own_name = labels_of(template).get(POD_NAME_LABEL)
    if own_name:
        return {"matchLabels": {POD_NAME_LABEL: own_name}}
    selector: Object = copy.deepcopy(workload["spec"]["selector"])
    return selector


def placement_hints(template: Object) -> tuple[str, ...]:
    """Say what may keep the proxy pod from running or from getting Ready: worth reading when it does not."""
    pod = pod_spec(template)
    hints = []
    if _keeps_its_pods_apart(template):
        hints.append("The target's pods may not share a node (podAntiAffinity): the proxy needs one without them.")
    hints += [
        f"Volume claim {claim}: if only one node or pod may use it, the proxy must run on the original's node."
        for claim in _claims(pod)
    ]
    hints += [
        f"Readiness gate {gate['conditionType']}: the pod is Ready only when its controller says so."
        for gate in pod.get("readinessGates") or []
    ]
    return tuple(hints)


def _keeps_its_pods_apart(template: Object) -> bool:
    rules = (pod_spec(template).get("affinity") or {}).get("podAntiAffinity") or {}
    terms = rules.get("requiredDuringSchedulingIgnoredDuringExecution") or []
    return any(
        term.get("topologyKey") == HOST and selects(term.get("labelSelector"), labels_of(template)) for term in terms
    )


def selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Evaluate a label selector (matchLabels and matchExpressions); an empty one selects all, None selects nothing."""
    if selector is None:
        return False
    exact: dict[str, str] = selector.get("matchLabels") or {}
    expressions: list[Object] = selector.get("matchExpressions") or []
    return exact.items() <= labels.items() and all(_holds(expression, labels) for expression in expressions)


def _holds(expression: Object, labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or []
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels

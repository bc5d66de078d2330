"""Kubernetes objects as plain JSON, and the names that bridge puts on them.

Why plain JSON: client models drop fields they don't know, and a proxy pod must lose nothing of its target. So an
object is what the API server sent, and each function here touches only the path that it names.
"""

from typing import Any, TypeAlias

from bridge.wire.marks import PREFIX, SESSION_LABEL

# What the API server sends and takes. The values are checked where they are used, never re-modelled.
Object: TypeAlias = dict[str, Any]

HOLDER_ANNOTATION = PREFIX + "holder"
TARGET_ANNOTATION = PREFIX + "target"
TAKEOVER_ANNOTATION = PREFIX + "takeover"
PROTECTION_ANNOTATION = PREFIX + "protection"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGER = "bridge"


def name_of(item: Object) -> str:
    """Return ``metadata.name``."""
    return str(item["metadata"]["name"])


def labels_of(item: Object) -> dict[str, str]:
    """Return ``metadata.labels``, empty where there are none."""
    return item.get("metadata", {}).get("labels") or {}


def annotations_of(item: Object) -> dict[str, str]:
    """Return ``metadata.annotations``, empty where there are none."""
    return item.get("metadata", {}).get("annotations") or {}


def is_ending(item: Object) -> bool:
    """Tell whether it was deleted, and is on its way out."""
    return bool(item["metadata"].get("deletionTimestamp"))


def controller_of(item: Object) -> Object | None:
    """Return the owner reference of the controller that manages ``item``, if one does."""
    owners: list[Object] = item.get("metadata", {}).get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def session_labels(session: str) -> dict[str, str]:
    """Return the labels of every object of a session: how it is found, and found again after a crash."""
    return {SESSION_LABEL: session, MANAGED_BY_LABEL: MANAGER}


def pod_spec(template: Object) -> Object:
    """Return the pod spec of a pod template (or of a Pod: the shape is the same)."""
    spec: Object = template["spec"]
    return spec


def containers_of(template: Object) -> list[Object]:
    """Return the ordinary containers of a pod template."""
    return pod_spec(template).get("containers") or []


def init_containers_of(template: Object) -> list[Object]:
    """Return ``initContainers``: those that run to their end, and native sidecars."""
    return pod_spec(template).get("initContainers") or []


def is_sidecar(init_container: Object) -> bool:
    """Tell a native sidecar (KEP-753: an init container that keeps running) from one that ends."""
    return init_container.get("restartPolicy") == "Always"


def sidecars_of(template: Object) -> list[Object]:
    """Return the native sidecars of a pod template."""
    return [container for container in init_containers_of(template) if is_sidecar(container)]


def running_containers(template: Object) -> list[Object]:
    """Return all that run while the pod does: the kubelet and Services look for named ports in these."""
    return containers_of(template) + sidecars_of(template)

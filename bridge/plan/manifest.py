"""The objects of a session: its Secret, and the ReplicaSet whose one pod takes the target's place.

The proxy pod is the target's pod template, deep-copied as plain JSON (what bridge doesn't know is kept), with the
chosen container running bridge's image. Pure; what becomes of each part, and why:

    chosen container
      image, args            ours; command, lifecycle, workingDir, stdin, tty, probes go: they belong to the program
      readinessProbe         ours: answered end to end by the process on the laptop
      env, envFrom, volumes  kept: they are what the process shall see; ours added, among them the keeper's token
      ports                  kept (Services find named ports in them), the missing ones added, hostPort dropped
      resources              see ``resources``
      securityContext        the restricted profile (see ``security``)
    pod
      other containers       kept, without hostPort (the original still holds it on its node)
      init containers        native sidecars kept; the others only when asked for: their work is done
      labels, annotations    kept, plus the session's label
      hostNetwork            dropped: the original holds the node's ports, and every pod of the node's network
                             could reach the tunnel's sshd
      grace period           the keeper's: open connections may end, and it goes sooner; the original's may be minutes
      readiness gates        kept: a load balancer's gate is what makes its hand-over safe
      affinity, node name,   kept: who placed the original there had a reason; a claim that only one node can
      spread, tolerations    mount draws the proxy to the original's node
      PVC templates          (StatefulSet) the claims of its first ordinal, under whose name the proxy also goes

The ReplicaSet's own labels are the session's alone: with the target's, its Deployment would adopt it.
"""

import base64
import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

from bridge.plan.names import secret_name, workload_name
from bridge.plan.objects import (
    HOLDER_ANNOTATION,
    TARGET_ANNOTATION,
    Object,
    containers_of,
    init_containers_of,
    is_sidecar,
    name_of,
    pod_spec,
    session_labels,
)
from bridge.plan.placement import placement_hints, pod_template, prefer_the_node_of_claims
from bridge.plan.ports import FIRST_ORDINARY_PORT, InternalPorts, PortMap
from bridge.plan.resources import ALONE, proxy_resources
from bridge.plan.security import APPARMOR_ANNOTATION, allow_low_ports, restricted
from bridge.plan.target import describe
from bridge.plan.volumes import drop_shadowing_mounts, mount_ours
from bridge.wire.marks import SESSION_LABEL

GRACE_SECONDS = 15  # more than the keeper takes: it lets open connections end, for 12 s at most (its --drain)
LINGER_SECONDS = 1  # kube-proxy follows the endpoints within that; what still comes is relayed to the original
READY_PATH = "/ready"


@dataclass(frozen=True)
class ProxySettings:
    """What the objects of one session have in common. ``session`` is its id, ``holder`` who runs it and where.

    ``guard``: the Secret with the token by which the keeper restores, empty where there is none (``protection``).
    """

    session: str
    namespace: str
    image: str
    holder: str
    internal: InternalPorts = field(default_factory=InternalPorts)
    pull_policy: str = "IfNotPresent"
    guard: str = ""


@dataclass(frozen=True)
class Proxy:
    """The ReplicaSet to create.

    ``notes``: how the proxy differs from its target, to be told; ``hints``: what may be the reason when its pod does
    not run or does not get Ready.
    """

    replica_set: Object
    notes: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()


def build_secret(
    settings: ProxySettings, *, host_key: str, authorized_keys: str, token: str, target: str, orders: str = ""
) -> Object:
    """Build the root of the session's objects: all others go when it is deleted. It can't be changed, only deleted.

    ``orders``: what the keeper's guard is told (``wire.orders``), empty where it guards nothing.
    """
    data = {"host_key": host_key, "authorized_keys": authorized_keys, "token": token}
    data |= {"orders": orders} if orders else {}
    metadata = _metadata(secret_name(settings.session), settings, target)
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "immutable": True,
        "data": encoded,
    }


def owned_by(item: Object, owner: Object) -> Object:
    """Return ``item`` with ``owner``, as the API server created it, as its owner: the garbage collector follows it."""
    reference = {
        "apiVersion": owner["apiVersion"], "kind": owner["kind"],
        "name": name_of(owner), "uid": owner["metadata"]["uid"],
    }  # fmt: skip
    others = item["metadata"].get("ownerReferences") or []
    return {**item, "metadata": {**item["metadata"], "ownerReferences": [*others, reference]}}


def dry_run_pod(replica_set: Object) -> Object:
    """Return the Pod to create as a dry run: quota, LimitRange and Pod Security judge pods, not ReplicaSets."""
    template = copy.deepcopy(replica_set["spec"]["template"])
    metadata = {**template["metadata"], "generateName": f"{name_of(replica_set)}-"}
    metadata["namespace"] = replica_set["metadata"]["namespace"]
    return {**template, "apiVersion": "v1", "kind": "Pod", "metadata": metadata}


def build_bare_proxy(settings: ProxySettings, ports: Sequence[PortMap] = ()) -> Proxy:
    """Build the proxy of a session without target: a pod of its own, which no Service selects.

    ``ports``: what was exposed, at the pod's own address.
    """
    container = {"name": "bridge", "resources": copy.deepcopy(ALONE)}
    template: Object = {"metadata": {}, "spec": {"containers": [container], "automountServiceAccountToken": False}}
    _become_proxy(template, container, settings, ports)
    return Proxy(_replica_set(template, secret_name(settings.session), settings, target=""))


def build_proxy(
    workload: Object,
    settings: ProxySettings,
    *,
    container: str,
    ports: Sequence[PortMap],
    run_init_containers: bool = False,
    keep_resources: bool = False,
) -> Proxy:
    """Build the proxy of ``workload`` (as the API server sent it, with its kind), replacing ``container``.

    ``run_init_containers``: run those that end again, too. ``keep_resources``: ask of the node just what the
    original asks (for namespaces whose LimitRange wants it so).
    """
    template = pod_template(workload)
    hints = placement_hints(template)
    chosen = next(item for item in containers_of(template) if item["name"] == container)
    notes = _drop_what_the_original_holds(template)
    if not run_init_containers:
        notes += _drop_init_containers(template)
    if not keep_resources:
        _ask_for_less(template, chosen)
    prefer_the_node_of_claims(template, workload)
    notes += drop_shadowing_mounts(template, chosen)
    _become_proxy(template, chosen, settings, ports)
    name = workload_name(name_of(workload), settings.session)
    return Proxy(_replica_set(template, name, settings, target=describe(workload)), tuple(notes), hints)


def _metadata(name: str, settings: ProxySettings, target: str) -> Object:
    annotations = {HOLDER_ANNOTATION: settings.holder} | ({TARGET_ANNOTATION: target} if target else {})
    return {
        "name": name, "namespace": settings.namespace,
        "labels": session_labels(settings.session), "annotations": annotations,
    }  # fmt: skip


def _replica_set(template: Object, name: str, settings: ProxySettings, *, target: str) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": _metadata(name, settings, target),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {SESSION_LABEL: settings.session}},
            "template": template,
        },
    }


def _become_proxy(template: Object, container: Object, settings: ProxySettings, ports: Sequence[PortMap]) -> None:
    """Make ``container`` of ``template`` (ours to change) the one with sshd and the keeper."""
    _label(template, container, settings)
    pod = pod_spec(template)
    pod["terminationGracePeriodSeconds"] = GRACE_SECONDS
    _run_our_image(container, settings, ports)
    mount_ours(pod, container, secret=secret_name(settings.session), guard=settings.guard)
    container["securityContext"] = restricted(pod, container)
    if any(port_map.pod < FIRST_ORDINARY_PORT for port_map in ports):
        allow_low_ports(pod)


def _label(template: Object, container: Object, settings: ProxySettings) -> None:
    metadata = template.setdefault("metadata", {})
    metadata.pop("creationTimestamp", None)  # null in every template that the API server sends
    metadata["labels"] = (metadata.get("labels") or {}) | {SESSION_LABEL: settings.session}
    # A profile made for the original program would stop ours.
    (metadata.get("annotations") or {}).pop(APPARMOR_ANNOTATION + container["name"], None)


_THE_PROGRAMS = (
    "command", "lifecycle", "livenessProbe", "startupProbe", "workingDir", "stdin", "stdinOnce", "tty",
    "terminationMessagePath", "resizePolicy", "restartPolicy", "restartPolicyRules",
)  # fmt: skip


def _run_our_image(container: Object, settings: ProxySettings, ports: Sequence[PortMap]) -> None:
    for key in _THE_PROGRAMS:
        container.pop(key, None)
    container["image"] = settings.image
    container["imagePullPolicy"] = settings.pull_policy
    container["args"] = _args(settings.internal, ports)
    declared = container.get("ports") or []
    known = {port["containerPort"] for port in declared if (port.get("protocol") or "TCP") == "TCP"}
    added = [{"containerPort": item.pod, "protocol": "TCP"} for item in ports if item.pod not in known]
    if declared or added:
        container["ports"] = declared + added
    container["terminationMessagePolicy"] = "FallbackToLogsOnError"  # so that the status says why ours died
    container["readinessProbe"] = _readiness(settings.internal)


def _args(internal: InternalPorts, ports: Sequence[PortMap]) -> list[str]:
    ports_of_ours = ("--ssh-port", internal.ssh, "--keeper-port", internal.keeper, "--probe-port", internal.probe)
    listen = [word for port_map in ports for word in ("--listen", port_map.pod)]
    return [str(word) for word in (*ports_of_ours, "--linger", LINGER_SECONDS, *listen)]


def _readiness(internal: InternalPorts) -> Object:
    """Build our probe: the keeper holds each until bridge answers, so the pod is Ready when the process accepts.

    Three failures in a row, about 25 s of a process that does not accept, take the pod out of its Services: shorter
    pauses are a restart, during which connections are held instead of refused.
    """
    return {
        "httpGet": {"path": READY_PATH, "port": internal.probe, "scheme": "HTTP"},
        "periodSeconds": 1, "timeoutSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
    }  # fmt: skip


def _drop_what_the_original_holds(template: Object) -> list[str]:
    """Take out what the original has of its node while both run: the node's network and its ports."""
    notes = []
    pod = pod_spec(template)
    if pod.pop("hostNetwork", False):
        notes.append("the target uses its node's network; the proxy pod has a network of its own, as other pods have")
        if pod.get("dnsPolicy") == "ClusterFirst":
            pod["dnsPolicy"] = "Default"  # what ClusterFirst means on the node's network
    ports = [
        port for item in containers_of(template) + init_containers_of(template) for port in item.get("ports") or []
    ]
    held = [port.pop("hostPort") for port in ports if port.get("hostPort")]
    for port in ports:
        port.pop("hostIP", None)
    if held:
        notes.append(
            f"the node's port {', '.join(map(str, held))} stays with the original: it does not reach the laptop"
        )
    return notes


def _drop_init_containers(template: Object) -> list[str]:
    """Leave out init containers that end; say what they may have prepared in an emptyDir."""
    pod = pod_spec(template)
    everything = init_containers_of(template)
    dropped = [item for item in everything if not is_sidecar(item)]
    kept = [item for item in everything if is_sidecar(item)]
    if everything:
        pod["initContainers"] = kept
    if not kept:
        pod.pop("initContainers", None)
    scratch = {volume["name"] for volume in pod.get("volumes") or [] if "emptyDir" in volume}
    read = set().union(*(_mounted(item) for item in containers_of(template) + kept))
    writers = [item["name"] for item in dropped if scratch & read & _mounted(item)]
    return [
        f"init container {name} is not run again: what it writes to a volume is missing (--run-init-containers runs it)"
        for name in writers
    ]


def _mounted(container: Object) -> set[str]:
    return {mount["name"] for mount in container.get("volumeMounts") or []}


def _ask_for_less(template: Object, chosen: Object) -> None:
    """Fit the proxy beside the original, and give up device claims (KEP-4381) that only ``chosen`` used."""
    resources = proxy_resources(template, chosen)
    if resources or "resources" in chosen:
        chosen["resources"] = resources
    pod = pod_spec(template)
    if "resourceClaims" in pod:
        everyone = containers_of(template) + init_containers_of(template)
        used = {claim["name"] for item in everyone for claim in (item.get("resources") or {}).get("claims") or []}
        pod["resourceClaims"] = [claim for claim in pod["resourceClaims"] or [] if claim["name"] in used]

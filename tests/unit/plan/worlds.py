"""Kubernetes objects as an API server sends them, for the tests of pure decisions: plain examples and strategies."""

import copy
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

names = st.from_regex(r"[a-z]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
ports = st.integers(1, 65535)


def deployment(name: str = "web", *, kind: str = "Deployment", replicas: int | None = 2, **pod: Any) -> Json:
    """A small workload, with the fields that an API server adds."""
    labels = {"app": name}
    spec: Json = {
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"creationTimestamp": None, "labels": dict(labels)},
            "spec": {"containers": [container("app", 8080)], "restartPolicy": "Always", "dnsPolicy": "ClusterFirst"}
            | pod,
        },
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-{name}", "resourceVersion": "7"},
        "spec": spec,
    }


def container(name: str, *container_ports: int | Json, **fields: Any) -> Json:
    declared = [{"containerPort": port} if isinstance(port, int) else port for port in container_ports]
    return {"name": name, "image": f"{name}:1"} | ({"ports": declared} if declared else {}) | fields


def service(name: str = "web", *service_ports: Json, selector: Json | None = None, **spec: Any) -> Json:
    chosen = {"app": "web"} if selector is None else selector
    return {"metadata": {"name": name}, "spec": {"selector": chosen, "ports": list(service_ports)} | spec}


def template_of(workload: Json) -> Json:
    return copy.deepcopy(workload["spec"]["template"])


@st.composite
def containers(draw: st.DrawFn, name: st.SearchStrategy[str] = names) -> Json:
    """A container with any of the fields that a proxy keeps, changes or drops, and one that nobody knows."""
    item = container(draw(name), *draw(st.lists(ports, max_size=3, unique=True)))
    anything = st.dictionaries(names, st.text(max_size=5), max_size=2)
    for key, value in {
        "command": st.lists(st.text(max_size=5), max_size=2),
        "args": st.lists(st.text(max_size=5), max_size=2),
        "env": st.lists(st.fixed_dictionaries({"name": names, "value": st.text(max_size=9)}), max_size=2),
        "livenessProbe": anything,
        "readinessProbe": anything,
        "lifecycle": anything,
        "resources": st.fixed_dictionaries({}, optional={"limits": quantities, "requests": quantities}),
        "volumeMounts": st.lists(
            st.fixed_dictionaries({"name": names, "mountPath": st.sampled_from(["/data", "/etc/app", "/usr", "/srv"])}),
            max_size=2,
        ),
        "fieldOfTheFuture": anything,
    }.items():
        if draw(st.booleans()):
            item[key] = draw(value)
    return item


quantities = st.dictionaries(
    st.sampled_from(["cpu", "memory", "ephemeral-storage", "nvidia.com/gpu"]),
    st.sampled_from(["1", "100m", "16Mi", "2Gi", "4"]),
    max_size=3,
)


@st.composite
def workloads(draw: st.DrawFn) -> Json:
    """A workload of any kind, with several containers, volumes, and unknown fields at each level."""
    kind = draw(st.sampled_from(["Deployment", "StatefulSet", "ReplicaSet"]))
    item = deployment(draw(names), kind=kind, replicas=draw(st.one_of(st.none(), st.integers(1, 5))))
    there = draw(st.lists(containers(), min_size=1, max_size=3, unique_by=lambda one: one["name"]))
    pod: Json = {"containers": there, "podFieldOfTheFuture": {"a": [1]}}
    if draw(st.booleans()):
        pod["volumes"] = [{"name": name, "emptyDir": {}} for name in draw(st.lists(names, unique=True, max_size=3))]
    if draw(st.booleans()):
        pod["securityContext"] = draw(
            st.fixed_dictionaries({}, optional={"runAsUser": st.sampled_from([0, 1000]), "fsGroup": st.just(5)})
        )
    item["spec"]["template"]["spec"] |= pod
    item["spec"]["template"]["templateFieldOfTheFuture"] = True
    item["spec"]["specFieldOfTheFuture"] = 1
    return item

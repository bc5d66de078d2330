"""The workloads that the tests swap: manifests, applied with kubectl."""

from __future__ import annotations

import json
from typing import Any

IMAGE = "bridge.local/web:1"

RESOURCES = {"requests": {"cpu": "10m", "memory": "16Mi"}}
"""What a container asks for. One that asks for nothing gets next to nothing of a processor that others want, too."""


def deployment(
    name: str = "web", *, replicas: int = 1, container: dict[str, Any] | None = None, **pod: Any
) -> dict[str, Any]:
    """A Deployment of the web server on port 8080; ``container`` and ``pod`` add to or change its parts."""
    labels = {"app": name}
    web = {
        "name": "web",
        "image": IMAGE,
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1},
        "resources": RESOURCES,
        **(container or {}),
    }
    spec = {"terminationGracePeriodSeconds": 1, "containers": [web], **pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def service(name: str = "web", *, port: int = 80, target: int | str = "http", **spec: Any) -> dict[str, Any]:
    """A Service in front of the Deployment of the same name."""
    ports = [{"name": "http", "port": port, "targetPort": target}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports, **spec},
    }


def client(name: str = "client") -> dict[str, Any]:
    """A pod with curl, dig and a shell, from which the cluster's side is seen."""
    shell = {"name": "sh", "image": "bridge.local/debug:1", "command": ["sleep", "100000"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [shell]},
    }


def manifest(*items: dict[str, Any]) -> str:
    """Objects as one text for ``kubectl apply -f -``."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(items)})

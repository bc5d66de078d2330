"""Namespaces made ready within a test: for many sessions, several of them beside each other."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.e2e.running import spec_of
from tests.e2e.workloads import deployment, manifest, service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.access import Cluster, Kubectl

LANES = 3
"""So many sessions beside each other keep this machine busy, and no more than busy."""
FIRST_NODE = {"kubernetes.io/hostname": "node1"}
"""Where a pod must be that a test of the second node shall not lose."""


@contextmanager
def place(cluster: Cluster) -> Iterator[tuple[Kubectl, str, object]]:
    """A namespace of its own with the target, for what goes on beside others; and the target's spec."""
    namespace = f"e2e-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", namespace)
    kubectl = cluster.kubectl.within(namespace)
    try:
        kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=30s")
        kubectl.apply(manifest(deployment(), service()))
        kubectl.rollout("deployment/web")
        yield kubectl, namespace, spec_of(kubectl)
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")

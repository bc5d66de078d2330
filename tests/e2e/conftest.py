"""Fixtures of the end-to-end tests: the cluster, its laptop, and a namespace for each test.

``CONTEXT=name`` chooses a cluster of the user's kubeconfig; this machine is the laptop then, and tests marked
``local_cluster`` are skipped. Otherwise the local cluster is started if it is not up.
"""

from __future__ import annotations

import os
import secrets
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cluster import access
from tests.cluster.laptop import Laptop
from tests.e2e.workloads import client, deployment, manifest, service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.settings import Settings

CONTEXT = os.environ.get("CONTEXT") or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all as end-to-end; skip what another cluster can't do."""
    for item in items:
        if "tests/e2e" not in item.path.as_posix():
            continue
        item.add_marker(pytest.mark.e2e)
        if CONTEXT and item.get_closest_marker("local_cluster"):
            item.add_marker(pytest.mark.skip(reason=f"needs the local cluster, and this is {CONTEXT}"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[access.Cluster]:
    """The cluster, up."""
    with access.cluster(CONTEXT, lambda text: print(text, file=sys.stderr)) as found:
        yield found


@pytest.fixture(scope="session")
def settings(cluster: access.Cluster) -> Settings:
    """The local cluster's names and addresses (only for tests marked ``local_cluster``)."""
    assert cluster.settings is not None
    return cluster.settings


@pytest.fixture(scope="session")
def laptop(cluster: access.Cluster) -> access.AnyLaptop:
    """Where bridge runs."""
    return cluster.laptop


@pytest.fixture(scope="session")
def local_laptop(cluster: access.Cluster) -> Laptop:
    """The laptop of the local cluster, with all it can do (only for tests marked ``local_cluster``)."""
    assert isinstance(cluster.laptop, Laptop)
    return cluster.laptop


@pytest.fixture
def namespace(cluster: access.Cluster) -> Iterator[str]:
    """A fresh namespace, ready for pods; its deletion is not waited for."""
    name = f"e2e-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("--namespace", name, "wait", "--for=create", "serviceaccount/default", "--timeout=30s")
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.fixture
def kubectl(cluster: access.Cluster, namespace: str) -> access.Kubectl:
    """Kubectl in the test's namespace, as cluster admin."""
    return cluster.kubectl.within(namespace)


@pytest.fixture
def shop(kubectl: access.Kubectl, namespace: str) -> str:
    """A namespace with the web workload, its Service and a client pod, all up."""
    kubectl.apply(manifest(deployment(), service(), client()))
    kubectl.rollout("deployment/web")
    kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
    return namespace

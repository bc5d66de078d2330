"""What all measurements share: a namespace with both ends of the work, a developer's account, the laptop.

pod target     answers outbound work             pod client   the cluster's end of inbound work, and the floor
service web    the workload that bridge swaps    flow schema  counts what is asked of the API server from here
"""

from __future__ import annotations

import re
import secrets
import socket
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.cluster.laptop import Laptop
from tests.cluster.recipes import BENCHER
from tests.e2e.workloads import RESOURCES, deployment, manifest, service

from . import agents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from tests.cluster.access import Cluster, Kubectl
    from tests.cluster.settings import Settings

    from .agents import Agent

PORT = 9000
"""Where `bencher serve` answers in a pod."""
WEB_PORT = 8080
"""The port of the workload that is swapped."""
ACCOUNT = "developer"
HOURS = 24
"""How long the developer's token holds: longer than any run."""


@dataclass(frozen=True)
class Stage:
    """A namespace ready for work. ``target``: where its server answers; ``kubeconfig``: a path on the laptop."""

    kubectl: Kubectl
    laptop: Laptop
    settings: Settings
    namespace: str
    target: str
    kubeconfig: str

    # -- the laptop ----------------------------------------------------------------------------------------------------
    @property
    def bencher(self) -> str:
        """The program, as a path on the laptop."""
        return f"{self.settings.home}/bridge/.build/bin/bencher"

    def start(self, *argv: str, **options: Any) -> subprocess.Popen[Any]:
        """Start a program on the laptop with the developer's rights."""
        return self.laptop.popen(argv, env={"KUBECONFIG": self.kubeconfig}, **options)

    def free_port(self) -> int:
        """A port of the laptop that nobody listens on now."""
        with self.laptop.in_network(), socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            return int(sock.getsockname()[1])

    def agent_on_laptop(self, *port: str) -> AbstractContextManager[Agent]:
        """The agent beside everything, for what leads through a port of the laptop."""
        return agents.running(partial(self.start, self.bencher, "agent", *port))

    # -- the cluster ---------------------------------------------------------------------------------------------------
    def agent_in_pod(self) -> AbstractContextManager[Agent]:
        """The agent in the client's pod."""
        command = self.kubectl.command("exec", "-i", "client", "--", "bencher", "agent")
        return agents.running(partial(subprocess.Popen, command))

    def requests_to_api(self) -> int:
        """How many requests the API server has taken from this namespace's accounts, port-forwards not counted."""
        metrics = self.kubectl("get", "--raw", "/metrics")
        name = "apiserver_flowcontrol_dispatched_requests_total"
        counted = rf'^{name}{{flow_schema="{self.namespace}".*}} (\S+)$'
        return sum(int(float(value)) for value in re.findall(counted, metrics, re.MULTILINE))


@contextmanager
def staged(cluster: Cluster) -> Iterator[Stage]:
    """Make the namespace; delete it in the end."""
    assert cluster.settings, "this needs the local cluster"
    assert isinstance(cluster.laptop, Laptop)
    namespace = f"bench-{secrets.token_hex(3)}"
    kubectl = cluster.kubectl.within(namespace)
    cluster.kubectl("create", "namespace", namespace)
    try:
        kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=30s")
        kubectl.apply(manifest(*_account(namespace), _flow_schema(namespace), deployment(), service()))
        kubectl.apply(manifest(pod("target"), pod("client")))
        kubectl("wait", "--for=condition=Ready", "pod/target", "pod/client", "--timeout=60s")
        kubectl.rollout("deployment/web")
        target = str(kubectl.json("get", "pod", "target")["status"]["podIP"])
        login = cluster.laptop.make_kubeconfig(ACCOUNT, namespace, hours=HOURS)
        yield Stage(kubectl, cluster.laptop, cluster.settings, namespace, f"{target}:{PORT}", login)
    finally:
        cluster.kubectl("delete", "flowschema", namespace, "--ignore-not-found")
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def pod(name: str) -> dict[str, Any]:
    """A pod that asks for what each of the others asks for: the kernel shares the processor among them by that."""
    container = {"name": "bencher", "image": BENCHER, "args": ["serve", str(PORT)], "resources": RESOURCES}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    }


def _account(namespace: str) -> list[dict[str, Any]]:
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": ACCOUNT},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
        },
    ]


def _flow_schema(namespace: str) -> dict[str, Any]:
    """What the API server counts apart: the requests of this namespace's accounts, at the usual priority."""
    everything = {
        "resourceRules": [
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
        ],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }
    group = {"kind": "Group", "group": {"name": f"system:serviceaccounts:{namespace}"}}
    return {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": namespace},
        "spec": {
            "priorityLevelConfiguration": {"name": "workload-low"},
            "matchingPrecedence": 500,
            "rules": [{"subjects": [group], **everything}],
        },
    }

"""Every path, name and address of the local cluster, in one frozen value.

Nothing else in this package spells a path or an address. ``Settings(name="check", root_port=...)`` is a second
cluster that shares nothing with the first but the builds: so a test can take one down and look for what it left.

    root namespace    127.0.0.1:16443 ---------------------------.
    bridge-laptop     eth0 10.77.0.2 --- veth (or cable) --- laptop0 10.77.0.1:6443   bridge-node
                                                             pods 10.244.0.0/24, services 10.96.0.0/16
    (on demand)       bridge-node2, eth0 10.77.0.12 --- veth --- node2 in bridge-node
                      pods 10.244.1.0/24
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLONE = HERE.parents[1]
OWNER = Path(os.environ.get("CLUSTER_CLONE") or CLONE)
"""The clone whose cluster it is: a worktree can use that of another one, beside others."""

KUBERNETES_VERSION = "1.34.4"
COREDNS_VERSION = "1.12.4"
PAUSE_VERSION = "1"


@dataclass(frozen=True)
class Node:
    """A node's names and addresses, all from its index (1, 2, ...), so that a second one is a second value."""

    cluster: str
    index: int = 1

    @property
    def name(self) -> str:
        """Its name in Kubernetes."""
        return f"node{self.index}"

    @property
    def label(self) -> str:
        """How the harness calls it, in records and logs."""
        return "node" + (str(self.index) if self.index > 1 else "")

    @property
    def namespace(self) -> str:
        """Its network namespace."""
        return f"{self.cluster}-{self.label}"

    @property
    def cgroup(self) -> str:
        """Its cgroup, in every hierarchy."""
        return self.namespace

    @property
    def address(self) -> str:
        """Where the laptop and the other nodes reach it."""
        return f"10.77.0.{1 if self.index == 1 else 10 + self.index}"

    @property
    def pod_subnet(self) -> str:
        """The addresses of its pods."""
        return f"10.244.{self.index - 1}.0/24"


@dataclass(frozen=True)
class Settings:
    """One local cluster, as seen from one of its nodes. ``name`` begins the names of its namespaces and cgroups."""

    name: str = "bridge"
    index: int = 1
    clone: Path = OWNER
    root_port: int = 16443
    proxy_mode: str = "iptables"

    laptop_address: str = "10.77.0.2"
    api_port: int = 6443
    pod_range: str = "10.244.0.0/16"
    service_range: str = "10.96.0.0/16"
    api_service: str = "10.96.0.1"
    dns_service: str = "10.96.0.10"
    cluster_domain: str = "cluster.local"

    user: str = "dev"
    user_id: int = 4242

    @classmethod
    def parse(cls, text: str) -> Settings:
        """The inverse of ``str``: how the settings reach the processes that we start."""
        fields = json.loads(text)
        return cls(**{**fields, "clone": Path(fields["clone"])})

    def __str__(self) -> str:
        return json.dumps({**asdict(self), "clone": str(self.clone)})

    # -- folders -------------------------------------------------------------------------------------------------
    @cached_property
    def build(self) -> Path:
        """What is built once and shared: binaries, packages, images. Removing it costs minutes."""
        return self.clone / ".build"

    @cached_property
    def binaries(self) -> Path:
        """The node's programs and kubectl."""
        return self.build / "bin"

    @cached_property
    def state(self) -> Path:
        """What one cluster is while it exists: certificates, etcd, containerd, logs. Only root may look."""
        return self.clone / ".cluster" if self.name == "bridge" else self.build / f"cluster-{self.name}"

    @cached_property
    def place(self) -> Path:
        """What one node is while it exists. The first node keeps it beside what is the cluster's."""
        return self.state if self.index == 1 else self.state / self.node.label

    @cached_property
    def run(self) -> Path:
        """Records of the processes that we started. Below /run, so that another clone finds what a removed one left."""
        return self.all_runs / hashlib.sha256(str(self.clone).encode()).hexdigest()[:8]

    @cached_property
    def all_runs(self) -> Path:
        """The records of every clone's cluster of this name; one at a time can be up."""
        return Path("/run") / f"{self.name}-cluster"

    @cached_property
    def control(self) -> Path:
        """How the node's first process is told what to keep running, and tells what it runs."""
        return self.place / "control"

    @cached_property
    def certificates(self) -> Path:
        """Keys, certificates and the components' kubeconfigs, those of all nodes."""
        return self.state / "certificates"

    @cached_property
    def configuration(self) -> Path:
        """The components' configuration files."""
        return self.place / "etc"

    @cached_property
    def logs(self) -> Path:
        """One log for each component."""
        return self.place / "log"

    @cached_property
    def kubeconfig(self) -> Path:
        """Cluster admin, for the root namespace."""
        return self.state / "kubeconfig"

    @cached_property
    def laptop_kubeconfig(self) -> Path:
        """Cluster admin, for the laptop namespace; the laptop's user has a copy."""
        return self.state / "laptop.kubeconfig"

    # -- names and addresses -------------------------------------------------------------------------------------
    @cached_property
    def node(self) -> Node:
        """The node that these settings are about: the first, unless `of` chose another."""
        return Node(self.name, self.index)

    @cached_property
    def first(self) -> Node:
        """The first node, which also holds the control plane."""
        return Node(self.name, 1)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes that there may be: the first, and the second, which is there on demand."""
        return (self.first, Node(self.name, 2))

    def of(self, index: int) -> Settings:
        """The same cluster from another node: its address, its folders."""
        return replace(self, index=index)

    @cached_property
    def api_address(self) -> str:
        """The API server, as every node reaches it."""
        return f"https://{self.first.address}:{self.api_port}"

    @cached_property
    def laptop_namespace(self) -> str:
        """The laptop's network namespace; also the name of its cgroup."""
        return f"{self.name}-laptop"

    @cached_property
    def home(self) -> Path:
        """The laptop user's home, in the laptop's mount namespace only."""
        return Path("/home") / self.user

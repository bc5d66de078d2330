"""A node: its configuration files and its components' command lines. `node_init` runs what is decided here.

All of it is about the node of the settings given (``settings.of(2)``: the second). One pid, mount, uts, ipc and
network namespace *is* the node. Ending its PID 1 makes the kernel end everything in it, pods and shims too, and its
mounts go with it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import cgroups, checks, recipes, store, system
from .certs import COMPONENTS

if TYPE_CHECKING:
    from .settings import Settings
    from .system import Process

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"  # in the node's own /run; from outside see `containerd_socket`
CNI_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin")
START = ("try: python -m tests.cluster node2 up", "try: make cluster")  # the second node, the first

# A dead node is noticed after NODE_GRACE, and its pods are deleted NODE_TOLERATION later (Kubernetes: 50 s and 300 s).
# A kubelet says that it lives every quarter of NODE_LEASE, so a node that lives must miss ten times in a row to be
# taken for dead: on two busy cores a kubelet may be late by some seconds, and while the API server or etcd is held
# down for a test nobody can say anything. A false alarm takes every pod out of its Service; so rather wait.
NODE_LEASE, NODE_GRACE, NODE_TOLERATION = 8, 20, 5  # seconds


def record(settings: Settings) -> Path:
    """Where the node's PID 1 is recorded."""
    return settings.run / settings.node.label


def running(settings: Settings) -> Process | None:
    """The node's PID 1, if it runs."""
    return system.load(record(settings))


def containerd_socket(node: Process) -> str:
    """The node's containerd, from the root namespaces. So short a path fits a socket address wherever the clone is."""
    return f"/proc/{node.pid}/root{CONTAINERD_SOCKET}"


def start(settings: Settings) -> Process:
    """Start the node's PID 1; it starts the components."""
    folders(settings)
    write_configuration(settings)
    cgroups.create(settings.node.cgroup)
    log_file = settings.logs / f"{settings.node.label}.log"
    with log_file.open("ab") as log:
        subprocess.run(
            [sys.executable, "-m", "tests.cluster.node_init", str(settings)],
            cwd=settings.clone,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            check=False,
        )
    process = running(settings)
    if process is None:
        raise system.HarnessError(f"{settings.node.name} did not start; see {log_file}")
    return process


def command(settings: Settings, argv: list[str]) -> list[str]:
    """The command that runs ``argv`` in all of the node's namespaces."""
    process = running(settings)
    if process is None:
        raise system.HarnessError(f"{settings.node.name} is not running; {START[settings.index == 1]}")
    path = f"PATH={settings.binaries}:/usr/sbin:/usr/bin:/sbin:/bin"
    return ["nsenter", "-t", str(process.pid), "-m", "-u", "-i", "-n", "-p", "env", path, *argv]


# -- configuration -------------------------------------------------------------------------------------------------
def folders(settings: Settings) -> None:
    """The node's folders; etcd wants its own to be private."""
    below = ("cni", "etcd", "var/kubelet", "var/cni", "var/pods", "var/containers")
    for path in (*(settings.place / name for name in below), settings.configuration, settings.logs, settings.control):
        path.mkdir(parents=True, exist_ok=True)
    (settings.place / "etcd").chmod(0o700)


def write_configuration(settings: Settings) -> None:
    """All files that the components read."""
    etc = settings.configuration
    (etc / "containerd.toml").write_text(containerd_toml(settings))
    (etc / "kubelet.json").write_text(json.dumps(kubelet_configuration(settings), indent=1))
    (etc / "kube-proxy.json").write_text(json.dumps(proxy_configuration(settings), indent=1))
    (settings.place / "cni" / "10-bridge.conflist").write_text(json.dumps(cni_configuration(settings), indent=1))
    (etc / "resolv.conf").write_text("")
    (etc / "hosts").write_text(f"127.0.0.1 localhost {settings.node.name}\n")


def containerd_toml(settings: Settings) -> str:
    """containerd's configuration.

    ``restrict_oom_score_adj``: without CAP_SYS_RESOURCE runc may not lower a sandbox's score, and dies. The
    unprivileged ports and ICMP are what kind and most distributions set.
    """
    cni = next((folder for folder in CNI_FOLDERS if Path(folder).exists()), CNI_FOLDERS[0])
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "{settings.place / "containerd"}"
state = "/run/containerd"
oom_score = 0
disabled_plugins = {json.dumps(store.UNUSED_PLUGINS)}
[grpc]
  address = "{CONTAINERD_SOCKET}"
[{cri}]
  sandbox_image = "{recipes.PAUSE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
[{cri}.cni]
  bin_dir = "{cni}"
  conf_dir = "{settings.place / "cni"}"
[{cri}.containerd]
  snapshotter = "{checks.snapshotter(settings.build)}"
[{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.runc.options]
  SystemdCgroup = false
"""


def cni_configuration(settings: Settings) -> dict[str, object]:
    """One bridge for the node's pods. Addresses are given anew after each start: the node's /run goes with it.

    Nothing is masqueraded: pods see each other's addresses, on whichever node, and there is no way out to hide behind.
    """
    addresses = {
        "type": "host-local",
        "dataDir": "/run/cni-ipam",
        "ranges": [[{"subnet": settings.node.pod_subnet}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    device = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "bridge", "plugins": [{**device, "ipam": addresses}, ports]}


def kubelet_configuration(settings: Settings) -> dict[str, object]:
    """KubeletConfiguration: as usual, but on any cgroup version, beside any swap, on a disk nearly full."""
    keys = settings.certificates
    authentication = {
        "anonymous": {"enabled": False},
        "webhook": {"enabled": True},
        "x509": {"clientCAFile": f"{keys / 'ca.crt'}"},
    }
    limits = {
        "memory.available": "100Mi",
        "nodefs.available": "1%",
        "imagefs.available": "1%",
        "nodefs.inodesFree": "1%",
    }
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "clusterDNS": [settings.dns_service],
        "clusterDomain": settings.cluster_domain,
        "resolvConf": f"{settings.configuration / 'resolv.conf'}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{settings.node.cgroup}",
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": ["pods"],
        "failCgroupV1": False,
        "failSwapOn": False,
        "authentication": authentication,
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{keys / settings.node.name}-server.crt",
        "tlsPrivateKeyFile": f"{keys / settings.node.name}-server.key",
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": limits,
        "nodeStatusUpdateFrequency": "5s",
        "nodeLeaseDurationSeconds": NODE_LEASE,
        "syncFrequency": "10s",
        "serializeImagePulls": False,
        "oomScoreAdj": 0,
    }


def proxy_configuration(settings: Settings) -> dict[str, object]:
    """KubeProxyConfiguration; conntrack's limits stay: they are read-only outside the first network namespace."""
    conntrack = {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{settings.certificates / 'kube-proxy.kubeconfig'}"},
        "mode": settings.proxy_mode,
        "clusterCIDR": settings.pod_range,
        "bindAddress": settings.node.address,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "oomScoreAdj": 0,
        "conntrack": conntrack,
        "iptables": {"minSyncPeriod": "200ms"},
        "nftables": {"minSyncPeriod": "200ms"},
    }


# -- command lines -------------------------------------------------------------------------------------------------
FIRST = ("etcd", "containerd", "kube-apiserver")  # the others wait for the API server


def command_lines(settings: Settings) -> dict[str, list[str]]:
    """The components' command lines, in the order of their start; the first node has the control plane too."""
    containerd = shutil.which("containerd") or "containerd"
    lines = {
        "containerd": [containerd, "--config", f"{settings.configuration / 'containerd.toml'}"],
        **_ours(settings, {"kubelet": kubelet(settings), "kube-proxy": kube_proxy(settings)}),
    }
    return {**control_plane(settings), **lines} if settings.index == 1 else lines


def control_plane(settings: Settings) -> dict[str, list[str]]:
    """The command lines of what there is once in a cluster."""
    lines = {
        "etcd": etcd(settings),
        "kube-apiserver": apiserver(settings),
        "kube-controller-manager": controller_manager(settings),
        "kube-scheduler": scheduler(settings),
    }
    return _ours(settings, lines)


def _ours(settings: Settings, flags: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: [str(settings.binaries / name), *words] for name, words in flags.items()}


def etcd(settings: Settings) -> list[str]:
    """etcd on loopback. Without fsync: a power cut may lose the state, which is only a test cluster's."""
    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    return [
        "--name=only",
        f"--data-dir={settings.state / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=only={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver(settings: Settings) -> list[str]:
    """The API server. PodSecurity, LimitRanger and ResourceQuota are among the plugins that are on by default."""
    keys = settings.certificates
    return [
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=0.0.0.0",
        f"--secure-port={settings.api_port}",
        f"--advertise-address={settings.node.address}",
        f"--service-cluster-ip-range={settings.service_range}",
        "--allow-privileged=true",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--default-not-ready-toleration-seconds={NODE_TOLERATION}",
        f"--default-unreachable-toleration-seconds={NODE_TOLERATION}",
        f"--client-ca-file={keys / 'ca.crt'}",
        f"--tls-cert-file={keys / 'apiserver.crt'}",
        f"--tls-private-key-file={keys / 'apiserver.key'}",
        f"--kubelet-client-certificate={keys / 'apiserver-kubelet.crt'}",
        f"--kubelet-client-key={keys / 'apiserver-kubelet.key'}",
        f"--kubelet-certificate-authority={keys / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer=https://kubernetes.default.svc.{settings.cluster_domain}",
        f"--service-account-key-file={keys / 'sa.pub'}",
        f"--service-account-signing-key-file={keys / 'sa.key'}",
        f"--requestheader-client-ca-file={keys / 'front-ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={keys / 'front.crt'}",
        f"--proxy-client-key-file={keys / 'front.key'}",
        "--profiling=false",
    ]


def controller_manager(settings: Settings) -> list[str]:
    """The controllers; with the usual limit of 20 requests a second they take 6 s to start.

    They give nodes no pod subnets: a second node that comes again would get a third one, and our CNI asks nobody.
    The pods of one node may be evicted each second (Kubernetes: each 10 s), for tests that take one down again.
    """
    keys = settings.certificates
    return [
        *_client_flags(settings, "kube-controller-manager"),
        f"--cluster-cidr={settings.pod_range}",
        "--allocate-node-cidrs=false",
        "--node-monitor-period=1s",
        f"--node-monitor-grace-period={NODE_GRACE}s",
        "--node-eviction-rate=1",
        f"--service-cluster-ip-range={settings.service_range}",
        "--use-service-account-credentials=true",
        f"--root-ca-file={keys / 'ca.crt'}",
        f"--service-account-private-key-file={keys / 'sa.key'}",
        f"--cluster-signing-cert-file={keys / 'ca.crt'}",
        f"--cluster-signing-key-file={keys / 'ca.key'}",
    ]


def scheduler(settings: Settings) -> list[str]:
    """The scheduler."""
    return _client_flags(settings, "kube-scheduler")


def kubelet(settings: Settings) -> list[str]:
    """The kubelet, in the places where everybody looks for its files."""
    return [
        f"--config={settings.configuration / 'kubelet.json'}",
        f"--kubeconfig={settings.certificates / settings.node.name}.kubeconfig",
        f"--hostname-override={settings.node.name}",
        f"--node-ip={settings.node.address}",
        "--root-dir=/var/lib/kubelet",
        "--cert-dir=/var/lib/kubelet/pki",
    ]


def kube_proxy(settings: Settings) -> list[str]:
    """kube-proxy."""
    return [f"--config={settings.configuration / 'kube-proxy.json'}", f"--hostname-override={settings.node.name}"]


def _client_flags(settings: Settings, name: str) -> list[str]:
    """What the two have in common. One of each: nobody to elect, or a warm start would wait for the old lease."""
    assert name in COMPONENTS
    config = settings.certificates / f"{name}.kubeconfig"
    kinds = ("", "authentication-", "authorization-")
    return [
        *(f"--{kind}kubeconfig={config}" for kind in kinds),
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--profiling=false",
        "--kube-api-qps=300",
        "--kube-api-burst=600",
    ]

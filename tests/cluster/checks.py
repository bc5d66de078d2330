"""Whether this machine can hold the local cluster; if not, what is missing and what to do instead."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from . import cgroups
from .system import HarnessError

INSTEAD = """
Any other cluster does as well: kind, k3d, minikube, or one far away. Give its kubeconfig context:
    make proxy-image IMAGE=bridge-proxy:0.1.0      # then: kind load docker-image, k3d image import, minikube image
    load,
                                                   # or push it to a registry of yours
    make demo CONTEXT=kind-kind                    # so also: make e2e CONTEXT=..."""

# What the kernel must have, each tried in namespaces of its own: a shell line that succeeds if it is there.
FEATURES = {
    "network namespaces and veth": "ip link add bridge0a type veth peer name bridge0b",
    "bridge devices": "ip link add bridge0c type bridge",
    "nftables": "nft add table inet bridge_check",
    "nftables nat": (
        "nft add table ip bridge_check && nft add chain ip bridge_check c '{ type nat hook output priority -100; }'"
    ),
    "iptables with comments and conntrack": (
        "iptables -A INPUT -m comment --comment x -m conntrack --ctstate NEW -j ACCEPT"
    ),
    "pid, ipc and uts namespaces": "unshare --pid --ipc --uts --fork true",
}


def root() -> None:
    """The harness makes namespaces, mounts and cgroups: nothing of that goes without root."""
    if platform.system() != "Linux":
        raise HarnessError(f"the local cluster needs Linux; this is {platform.system()}.{INSTEAD}")
    if os.geteuid() != 0:
        raise HarnessError(f"the local cluster needs root (try sudo make ...).{INSTEAD}")


def kernel() -> None:
    """What the node needs of the kernel; needs the packages."""
    missing = [name for name, line in FEATURES.items() if not _works(line)]
    if not cgroups.hierarchies():
        missing.append("cgroups mounted at /sys/fs/cgroup")
    elif not os.access(cgroups.ROOT, os.W_OK):
        missing.append("a writable /sys/fs/cgroup")
    if missing:
        raise HarnessError(f"the local cluster needs what this machine does not have: {', '.join(missing)}.{INSTEAD}")


def snapshotter(folder: Path) -> str:
    """How containerd may keep images in this folder: overlayfs; or copies, if the clone itself is on overlayfs."""
    place = folder / "overlay-check"
    place.mkdir(parents=True, exist_ok=True)
    works = _works(f"cd {place} && mkdir -p l u w m && mount -t overlay overlay -o lowerdir=l,upperdir=u,workdir=w m")
    subprocess.run(["rm", "-rf", str(place)], check=True)
    return "overlayfs" if works else "native"


def link_devices() -> None:
    """Delay and loss need TAP devices."""
    if not Path("/dev/net/tun").exists():
        raise HarnessError("delay and loss on the link need /dev/net/tun, which this machine does not have")


def _works(line: str) -> bool:
    command = ["unshare", "--net", "--mount", "sh", "-ec", line]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0

"""The network namespaces of the laptop and the nodes, and the links between them.

    bridge-laptop  eth0 10.77.0.2  --- laptop0 10.77.0.1  bridge-node  cni0 10.244.0.1/24 pods
    bridge-node2   eth0 10.77.0.12 --- node2

The laptop has no default route, and the guard lets nothing in from it but connections to the API server, so a test
that reaches a pod, a service, the kubelet or etcd from the laptop did so through bridge.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from . import system
from .system import run

if TYPE_CHECKING:
    from .settings import Node, Settings

NAMESPACES = Path("/run/netns")
LAPTOP_DEVICE = "eth0"
NODE_DEVICE = "laptop0"
CABLE_DEVICE = "cable0"  # on both sides, when the link has delay or loss: see link.py
UPLINK = "eth0"  # of a node but the first, to the first
_MADE_MARKER = "made-run-netns"

# Kernel settings of the node. Reverse-path checks would drop what comes over the cable.
NODE_SYSCTL = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/bridge/bridge-nf-call-iptables": "1",
}
LAPTOP_SYSCTL = {"net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/default/rp_filter": "0"}


SILENCE = f"""
table inet bridge_silence {{
  chain arriving {{
    type filter hook prerouting priority raw - 10; policy accept;
    iifname "{UPLINK}" drop
  }}
  chain leaving {{
    type filter hook postrouting priority raw - 10; policy accept;
    oifname "{UPLINK}" drop
  }}
}}
"""


def namespace(name: str) -> Path:
    """The file that stands for a named network namespace."""
    return NAMESPACES / name


def exists(settings: Settings) -> bool:
    """Whether the laptop's and the first node's namespaces are there."""
    return all(namespace(name).is_file() for name in (settings.laptop_namespace, settings.first.namespace))


def create(settings: Settings) -> None:
    """Make the namespaces, the link and the guard."""
    if not NAMESPACES.exists():
        (settings.state / _MADE_MARKER).touch()
    node, laptop = settings.node.namespace, settings.laptop_namespace
    for name in (node, laptop):
        run(["ip", "netns", "add", name])
        ip(name, "link set lo up")
    ip(node, f"link add {NODE_DEVICE} type veth peer name {LAPTOP_DEVICE} netns {laptop}")
    ip(node, f"addr add {settings.node.address}/24 dev {NODE_DEVICE}")
    ip(node, f"link set {NODE_DEVICE} up")
    ip(laptop, f"addr add {settings.laptop_address}/24 dev {LAPTOP_DEVICE}")
    ip(laptop, f"link set {LAPTOP_DEVICE} up")
    _route_services(settings, settings.node)
    _set(node, NODE_SYSCTL)
    _set(laptop, LAPTOP_SYSCTL)
    nft(node, guard(settings))


def join(settings: Settings) -> None:
    """Make the namespace of a further node, and link it with the first. Each routes the other's pods to the other."""
    leave(settings)
    one, other = settings.first, settings.node
    run(["ip", "netns", "add", other.namespace])
    ip(other.namespace, "link set lo up")
    ip(one.namespace, f"link add {other.label} type veth peer name {UPLINK} netns {other.namespace}")
    ip(other.namespace, f"addr add {other.address}/32 dev {UPLINK}")
    for here, device, there in ((one, other.label, other), (other, UPLINK, one)):
        ip(here.namespace, f"link set {device} up")
        ip(here.namespace, f"route add {there.address}/32 dev {device} src {here.address}")
        ip(here.namespace, f"route add {there.pod_subnet} via {there.address} dev {device} src {here.address}")
    _route_services(settings, other)
    _set(other.namespace, NODE_SYSCTL)


def leave(settings: Settings) -> None:
    """Remove what `join` made. The link first: the kernel takes its time with a namespace."""
    if namespace(settings.first.namespace).exists():
        ip(settings.first.namespace, f"link delete {settings.node.label}", check=False)
    if namespace(settings.node.namespace).exists():
        run(["ip", "netns", "delete", settings.node.namespace])


def silence(settings: Settings) -> None:
    """Let nothing more out of a node or into it, as when its power is gone: nobody is told that it closed anything.

    Neighbours still find its address, as in a network where a router would: a packet to it is lost, not returned.
    """
    nft(settings.node.namespace, SILENCE)


def guard(settings: Settings) -> str:
    """The rules that keep the laptop from everything but the API server."""
    devices = f'{{ "{NODE_DEVICE}", "{CABLE_DEVICE}" }}'
    return f"""
table inet bridge_guard {{
  chain from_laptop {{
    type filter hook prerouting priority raw; policy accept;
    iifname {devices} ip daddr {settings.node.address} tcp dport {settings.api_port} accept
    iifname {devices} meta nfproto ipv6 icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
    iifname {devices} drop comment "the laptop reaches the API server and nothing else"
  }}
}}
"""


def remove(settings: Settings) -> None:
    """Remove the namespaces, and with them their devices; and /run/netns if it came with us."""
    for name in (settings.laptop_namespace, *(node.namespace for node in settings.nodes)):
        if namespace(name).exists():
            run(["ip", "netns", "delete", name])
    marker = settings.state / _MADE_MARKER
    if marker.exists() and NAMESPACES.exists() and not any(NAMESPACES.iterdir()):
        with contextlib.suppress(OSError):  # `ip netns add` bound it on itself
            system.unmount(NAMESPACES)
        with contextlib.suppress(OSError):
            NAMESPACES.rmdir()
            marker.unlink()


def ip(name: str, command: str, *, check: bool = True) -> str:
    """An ip(8) command in a namespace."""
    return run(["ip", "-n", name, *command.split()], check=check)


def nft(name: str, rules: str) -> None:
    """Load nft rules in a namespace. Not by ``ip netns exec``: that hides the cgroups."""
    run(["nsenter", f"--net={namespace(name)}", "nft", "-f", "-"], text=rules)


def _route_services(settings: Settings, node: Node) -> None:
    """Give the node a route to service addresses: routing comes before kube-proxy's translation in the output hook.

    The bridge has no ports; a dummy device would do, but not every kernel has those.
    """
    ip(node.namespace, "link add services0 type bridge")
    ip(node.namespace, "link set services0 up")
    ip(node.namespace, f"route add {settings.service_range} dev services0 src {node.address}")


def _set(name: str, values: dict[str, str]) -> None:
    with system.in_network(namespace(name)):
        for key, value in values.items():
            Path("/proc/sys", key).write_text(value)

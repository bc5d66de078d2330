"""What of the pod's network goes into the sandbox, as text for its files. Pure.

resolv.conf is the pod's own: its search path and options make short names mean what they mean in the pod, and its
nameservers' addresses are caught by the rules. hosts is the pod's own (hostAliases, its own name), and the laptop's
name, which stands for the pod's address: a program that asks for "my address" gets the one it has in the cluster.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class NetworkSettings:
    """What ``Sandbox.apply`` sets. ``pod_ports``: ports that other containers have on the pod's loopback."""

    resolv_conf: str
    hosts: str
    pod_ips: tuple[str, ...]
    nameservers: tuple[str, ...]
    pod_ports: frozenset[int] = frozenset()

    @classmethod
    def of_pod(
        cls,
        *,
        resolv_conf: str,
        hosts: str,
        pod_ips: Iterable[str],
        pod_ports: Iterable[int] = (),
        laptop_name: str = "",
    ) -> Self:
        """From the files as they are in the pod."""
        ips = tuple(pod_ips)
        return cls(
            resolv_conf=resolv_conf,
            hosts=render_hosts(hosts, laptop_name=laptop_name, pod_ips=ips),
            pod_ips=ips,
            nameservers=parse_nameservers(resolv_conf),
            pod_ports=frozenset(pod_ports),
        )


def parse_nameservers(resolv_conf: str) -> tuple[str, ...]:
    """The addresses in resolv.conf(5), in order; what is none is passed over, as glibc does."""
    found = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                found.append(str(ipaddress.ip_address(words[1].partition("%")[0])))
            except ValueError:
                continue
    return tuple(found)


def render_hosts(pod_hosts: str, *, laptop_name: str, pod_ips: Iterable[str]) -> str:
    """The pod's hosts file, with ``localhost`` and the laptop's name where it lacks them."""
    names = {name for line in pod_hosts.splitlines() for name in line.partition("#")[0].split()[1:]}
    lines = [pod_hosts.rstrip("\n")] if pod_hosts.strip() else []
    if "localhost" not in names:
        lines += ["127.0.0.1\tlocalhost", "::1\tlocalhost"]
    if laptop_name and laptop_name not in names:
        lines += [f"{address}\t{laptop_name}" for address in pod_ips]
    return "\n".join([*lines, ""])

"""The sandbox's packet rules: what leaves by TCP comes to bridge's listener, loopback stays the kernel's.

    TCP to another address                  -> bridge's listener, which asks SO_ORIGINAL_DST where it was meant to go
    TCP to the own loopback or pod address  -> the kernel's own, exact as ever, except
        ports in laptop4, laptop6           -> the listener: the laptop's loopback has a server there
        ports in pod_ports                  -> the listener: a sidecar has a server there, on the pod's loopback
    UDP 53 to the pod's nameservers         -> bridge's DNS socket
    UDP to another address                  -> refused as by a closed port: ECONNREFUSED for a program that listens for
                                               it, silence for fire-and-forget (a reject on output would be EPERM)
    anything else (ping, SCTP)              -> EPERM at once, for lack of a carrier
    what bears MARK                         -> untouched: those are bridge's own connections into the sandbox

The text is made purely; ``run`` gives it to nft. Needs Linux 5.2 (nat chains in the inet family).
"""

import os
from collections.abc import Iterable

MARK = 0x62_72_64_67
REFUSED_PORT = 9  # discard; what gets there by our redirect is rejected, what the process has there is not touched


def base_rules(*, listener: int, dns4: int, dns6: int) -> str:
    """The table, with empty sets. Ports: those of bridge's listener and DNS sockets."""
    return f"""\
table inet sandbox {{
  set own4 {{ type ipv4_addr; flags interval; elements = {{ 127.0.0.0/8 }}; }}
  set own6 {{ type ipv6_addr; elements = {{ ::1 }}; }}
  set nameservers4 {{ type ipv4_addr; }}
  set nameservers6 {{ type ipv6_addr; }}
  set laptop4 {{ type inet_service; }}
  set laptop6 {{ type inet_service; }}
  set pod_ports {{ type inet_service; }}
  chain redirected {{
    type nat hook output priority -100
    meta mark {MARK:#x} accept
    ip daddr @nameservers4 udp dport 53 redirect to :{dns4}
    ip6 daddr @nameservers6 udp dport 53 redirect to :{dns6}
    ip daddr 127.0.0.1 tcp dport @laptop4 redirect to :{listener}
    ip6 daddr ::1 tcp dport @laptop6 redirect to :{listener}
    ip daddr @own4 tcp dport @pod_ports redirect to :{listener}
    ip6 daddr @own6 tcp dport @pod_ports redirect to :{listener}
    ip daddr @own4 accept
    ip6 daddr @own6 accept
    meta l4proto tcp redirect to :{listener}
    meta l4proto udp redirect to :{REFUSED_PORT}
  }}
  chain refused {{
    type filter hook input priority 0
    udp dport {REFUSED_PORT} ct status dnat reject with icmpx type port-unreachable
  }}
  chain not_carried {{
    type filter hook output priority 0
    ip daddr @own4 accept
    ip6 daddr @own6 accept
    meta l4proto {{ tcp, udp }} accept
    reject with icmpx type admin-prohibited
  }}
}}
"""


def network_rules(*, pod_ips: Iterable[str], nameservers: Iterable[str], pod_ports: Iterable[int]) -> str:
    """Fill the sets which the pod's settings decide."""
    return "".join(
        [
            *_addresses("own", pod_ips),
            *_addresses("nameservers", nameservers),
            _elements("pod_ports", map(str, pod_ports)),
        ]
    )


def laptop_rules(*, ports4: Iterable[int], ports6: Iterable[int]) -> str:
    """Set the ports which are looked for on the laptop's loopback, in one transaction."""
    lines = []
    for name, ports in (("laptop4", ports4), ("laptop6", ports6)):
        lines += [f"flush set inet sandbox {name}\n", _elements(name, map(str, ports))]
    return "".join(lines)


def _addresses(name: str, addresses: Iterable[str]) -> list[str]:
    listed = list(addresses)
    return [
        _elements(name + "4", (a for a in listed if ":" not in a)),
        _elements(name + "6", (a for a in listed if ":" in a)),
    ]


def _elements(name: str, values: Iterable[str]) -> str:
    listed = ", ".join(sorted(set(values)))
    return f"add element inet sandbox {name} {{ {listed} }}\n" if listed else ""


class NftError(Exception):
    """nft refused the rules; its own words."""


def run(program: str, rules: str) -> None:
    """Have nft apply ``rules``, all or none of them. Raises NftError."""
    rules_fd, said_fd = os.memfd_create("rules"), os.memfd_create("said")
    try:
        os.write(rules_fd, rules.encode())
        os.lseek(rules_fd, 0, os.SEEK_SET)
        pid = os.posix_spawn(
            program,
            [program, "-f", "-"],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, rules_fd, 0), *((os.POSIX_SPAWN_DUP2, said_fd, n) for n in (1, 2))],
        )
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status != 0:
            said = os.pread(said_fd, 4096, 0).decode(errors="replace").strip()
            raise NftError(said or f"nft ended with status {status}")
    finally:
        os.close(rules_fd)
        os.close(said_fd)

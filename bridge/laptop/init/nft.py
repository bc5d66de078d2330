"""The sandbox's packet rules: what leaves by TCP comes to bridge's listener, loopback stays the kernel's.

    TCP to another address                  -> bridge's listener, which asks SO_ORIGINAL_DST where it was meant to go
    TCP to the own loopback or pod address  -> the kernel's own, exact as ever, except
        ports in laptop4, laptop6           -> the listener: the laptop's loopback has a server there
        ports in pod_ports                  -> the listener: a sidecar has a server there, on the pod's loopback
    UDP 53 to the pod's nameservers         -> bridge's DNS socket
    UDP to another address                  -> refused as by a closed port: ECONNREFUSED for a program that listens for
                                               it, silence for fire-and-forget (a reject on output would be EPERM)
    anything else (ping, SCTP)              -> EPERM at once, for lack of a carrier
    a new TCP connection to another address -> first held in a queue, where there is one: bridge's verdict is a mark
                                               (``bridge.laptop.gate``), by which the SYN goes on or is refused
    what bears MARK                         -> untouched: those are bridge's own connections into the sandbox

The text is made purely; ``run`` gives it to nft. Needs Linux 5.2 (nat chains in the inet family).
"""

import os
from collections.abc import Iterable

MARK = 0x62_72_64_67
HELD, REFUSED, UNREACHABLE, LOST = 0x62_72_01_00, 0x62_72_01_01, 0x62_72_01_02, 0x62_72_01_03
REFUSED_PORT = 9
"""What is to be refused by ICMP is redirected here, and rejected on input (for a reject on output, the kernel sends no
ICMP over lo). Only what was redirected is: the process may have a server on this port."""


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
    meta mark {UNREACHABLE:#x} meta l4proto tcp redirect to :{REFUSED_PORT}
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
    tcp dport {REFUSED_PORT} ct status dnat reject with icmpx type host-unreachable
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


def queue_rules(queue: int, *, native: bool) -> str:
    """Hold new connections in ``queue``, and carry out what was decided. Without anybody at the queue all passes.

    Not ``native``: where nft itself has no queue (CONFIG_NFT_QUEUE), the packets only get the mark HELD, and iptables'
    NFQUEUE, at priority -150, takes them (``iptables_arguments``).
    """
    hold = f"queue num {queue} bypass" if native else f"meta mark set {HELD:#x}"
    return f"""\
table inet sandbox {{
  chain held {{
    type filter hook output priority -160
    meta mark {MARK:#x} accept
    ip daddr @own4 accept
    ip6 daddr @own6 accept
    tcp flags & (fin | syn | rst | ack) == syn {hold}
  }}
  chain decided {{
    type filter hook output priority -140
    meta mark {REFUSED:#x} meta l4proto tcp reject with tcp reset
    meta mark {LOST:#x} drop
  }}
}}
"""


def iptables_arguments(queue: int) -> list[str]:
    """For iptables and ip6tables: take what is marked HELD."""
    rule = f"-t mangle -A OUTPUT -m mark --mark {HELD:#x} -j NFQUEUE --queue-num {queue} --queue-bypass"
    return rule.split()


def network_rules(*, pod_ips: Iterable[str], nameservers: Iterable[str], pod_ports: Iterable[int]) -> str:
    """Fill the sets which the pod's settings decide."""
    return "".join(
        [
            *_addresses("own", pod_ips),
            *_addresses("nameservers", nameservers),
            _elements("pod_ports", map(str, pod_ports)),
        ]
    )


def localhost_rules(*, laptop4: Iterable[int], laptop6: Iterable[int], pod_ports: Iterable[int]) -> str:
    """Set the ports which are looked for on the laptop's loopback, and on the pod's, in one transaction."""
    lines = []
    for name, ports in (("laptop4", laptop4), ("laptop6", laptop6), ("pod_ports", pod_ports)):
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
    """The rules were refused; the program's own words."""


def run(program: str, rules: str) -> None:
    """Have nft apply ``rules``, all or none of them. Raises NftError."""
    run_program([program, "-f", "-"], rules)


def run_program(argv: list[str], given: str = "") -> None:
    """Run a program to its end, with ``given`` on stdin. Raises NftError. (subprocess takes long to import.)"""
    given_fd, said_fd = os.memfd_create("given"), os.memfd_create("said")
    try:
        os.write(given_fd, given.encode())
        os.lseek(given_fd, 0, os.SEEK_SET)
        moved = [(os.POSIX_SPAWN_DUP2, given_fd, 0), *((os.POSIX_SPAWN_DUP2, said_fd, n) for n in (1, 2))]
        pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=moved)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status != 0:
            said = os.pread(said_fd, 4096, 0).decode(errors="replace").strip()
            raise NftError(said or f"{argv[0]} ended with status {status}")
    finally:
        os.close(given_fd)
        os.close(said_fd)

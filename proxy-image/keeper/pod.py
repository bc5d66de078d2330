"""What the container was given: environment, names, addresses, volumes, and its neighbours' ports.

Parsers of the kernel's files without I/O, and one function that reads them all. Sources: proc(5), proc_pid_mountinfo(5)
and the kernel's net/ipv4/tcp_ipv4.c, net/ipv4/fib_trie.c, net/ipv6/addrconf.c.
"""

import re
import socket
import sys
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from bridge.wire.messages import Mount, Report

_OURS = ("/etc/bridge", "/etc/bridge-guard", "/run/bridge")
_THE_RUNTIMES = ("/proc", "/sys", "/dev", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv")
_LISTEN = "0A"  # TCP_LISTEN of include/net/tcp_states.h


def report(environ: bytes, version: int, *, leave_out: AbstractSet[int]) -> Report:
    """Read what the container was given. ``leave_out``: ports that are the container's own."""
    return Report(
        environ=environ,
        resolv_conf=_text("/etc/resolv.conf"),
        hosts=_text("/etc/hosts"),
        hostname=socket.gethostname(),
        pod_ips=(*ipv4_addresses(_text("/proc/net/fib_trie")), *ipv6_addresses(_text("/proc/net/if_inet6"))),
        mounts=tuple(mounts(_text("/proc/self/mountinfo"))),
        listening=listening(leave_out=leave_out),
        version=version,
    )


def own_environ() -> bytes:
    """Return our environment as it was at our start; Python changes its own copy (PEP 538)."""
    with open("/proc/self/environ", "rb") as file:  # noqa: PTH123  # pathlib takes 5 ms to import
        return file.read()


def listening(*, leave_out: AbstractSet[int]) -> tuple[int, ...]:
    """Return the TCP ports that are open on the pod's loopback, ascending."""
    ports: set[int] = set()
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(path) as file:  # noqa: PTH123
                ports |= set(loopback_listeners(file))
        except OSError:
            continue  # no such family here
    return tuple(sorted(ports - leave_out))


def loopback_listeners(lines: Iterable[str]) -> Iterable[int]:
    """Find the ports in /proc/net/tcp or tcp6 that loopback reaches: bound to it, or to any address.

    Listeners come first (tcp_get_idx), so thousands of connections after them are not looked at.
    """
    rows = iter(lines)
    next(rows, "")  # the heading
    for row in rows:
        _, local, _, state, *_ = row.split()
        if state != _LISTEN:
            return
        address, _, port = local.partition(":")
        if _is_on_loopback(_address(address)):
            yield int(port, 16)


def _address(text: str) -> bytes:
    """Read an address as the kernel prints it: 32-bit words, each a number in the machine's byte order."""
    words = (int(text[start : start + 8], 16) for start in range(0, len(text), 8))
    return b"".join(word.to_bytes(4, sys.byteorder) for word in words)


def _is_on_loopback(address: bytes) -> bool:
    if len(address) == 16 and address.startswith(bytes(10) + b"\xff\xff"):
        address = address[12:]  # an IPv4 address in an IPv6 socket
    if len(address) == 4:
        return address == bytes(4) or address[0] == 127
    return address in (bytes(16), bytes(15) + b"\x01")


def ipv4_addresses(fib_trie: str) -> list[str]:
    """Find the own addresses in /proc/net/fib_trie, without loopback's; lowest first."""
    found = re.findall(r"\|-- (\S+)\n +/32 host LOCAL", fib_trie)
    own = {address for address in found if not address.startswith("127.")}
    return sorted(own, key=socket.inet_aton)


def ipv6_addresses(if_inet6: str) -> list[str]:
    """Find the addresses in /proc/net/if_inet6 that are good beyond the link (scope 0)."""
    rows = (line.split() for line in if_inet6.splitlines())
    return [socket.inet_ntop(socket.AF_INET6, bytes.fromhex(row[0])) for row in rows if int(row[3], 16) == 0]


def mounts(mountinfo: str) -> list[Mount]:
    """Find the volumes in /proc/self/mountinfo: what is mounted, but neither the root, nor ours, nor the runtime's."""
    found: dict[str, Mount] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        _, _, _, root, path, options, *_ = map(_unescaped, before.split(" "))
        if not _is_volume(path, root):
            continue
        read_only = "ro" in options.split(",")
        found[path] = Mount(path, _kind(root, file_system=after.split(" ")[0]), read_only)  # the last one covers
    return list(found.values())


def _is_volume(path: str, root: str) -> bool:
    if path == "/" or root.endswith("/etc-hosts"):
        return False
    return not any(path == other or path.startswith(other + "/") for other in _OURS + _THE_RUNTIMES)


def _kind(root: str, *, file_system: str) -> str:
    """Name the volume plugin, where the mounted folder's path on the node tells it; else the file system.

    The kubelet keeps volumes in ``pods/UID/volumes/kubernetes.io~PLUGIN/NAME``, and what a subPath names in
    ``pods/UID/volume-subpaths/NAME/CONTAINER/INDEX``. A Secret is a tmpfs, whose root tells nothing.
    """
    match = re.search(r"/kubernetes\.io~([^/]+)/", root)
    return match[1] if match else file_system


def _unescaped(field: str) -> str:
    """Read a path of mountinfo: space, tab, newline and backslash are in octal there."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""  # no such family, or no such file: nothing to tell

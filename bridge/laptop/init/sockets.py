"""The sockets that bridge gets out of the sandbox: they belong to its network, whoever holds them.

listener   where the rules send TCP; IPv4 and IPv6
dns        where the rules send the nameservers' UDP; one a family, as the answer must come from the very address
diag       to ask who listens (sock_diag(7)); none where the kernel can't be asked
supply     for connections into the sandbox, bearing the mark which the rules let through
"""

import errno
import os
import socket
from collections.abc import Iterable

from bridge.laptop import messages
from bridge.laptop.init.nft import MARK

# Sockets a message. More of them cost less, but count while nobody has taken them: see ``Supplier.hand_out``.
_BATCH = 8
_BACKLOG = 4096
_NETLINK_SOCK_DIAG = 4
_HIGH_PORTS = range(61000, 65536)  # above those that the kernel gives out, and that programs are fond of

_SYSCTLS = {
    "net/ipv4/ip_unprivileged_port_start": "0",  # as in the proxy pod
    "net/ipv6/conf/all/disable_ipv6": "0",
    # Conntrack's table is bounded; at 500 new connections a second 120 s of TIME_WAIT fills it.
    "net/netfilter/nf_conntrack_tcp_timeout_time_wait": "5",
}


def set_sysctls() -> None:
    """Settings of this network namespace; where the kernel has one not, it is done without."""
    for name, value in _SYSCTLS.items():
        try:
            fd = os.open(f"/proc/sys/{name}", os.O_WRONLY)
        except OSError:
            continue
        try:
            os.write(fd, value.encode())
        except OSError:
            pass  # not this kernel's, or not for user namespaces
        finally:
            os.close(fd)


def _family() -> socket.AddressFamily:
    """IPv6 sockets serve both families; where the kernel has no IPv6, IPv4 is all there is."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
    except OSError as error:
        if error.errno != errno.EAFNOSUPPORT:
            raise
        return socket.AF_INET
    return socket.AF_INET6


def served(addresses: Iterable[str]) -> list[str]:
    """Those of the addresses whose family the kernel has: a pod may have both families, and the laptop only IPv4."""
    has_ipv6 = _family() == socket.AF_INET6
    return [each for each in addresses if has_ipv6 or ":" not in each]


def listener() -> socket.socket:
    """The listener, non-blocking, at a port where no program is in its way."""
    family = _family()
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    _bind_high(sock, "")
    sock.listen(_BACKLOG)
    return sock


def dns_sockets() -> list[socket.socket]:
    """The DNS sockets: 127.0.0.1's, and ::1's where there is IPv6."""
    found = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)]
    _bind_high(found[0], "127.0.0.1")
    if _family() == socket.AF_INET6:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            _bind_high(sock, "::1")
        except OSError:  # IPv6 is switched off
            sock.close()
        else:
            found.append(sock)
    for each in found:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    return found


def _bind_high(sock: socket.socket, host: str) -> None:
    while True:
        try:
            sock.bind((host, _any_high_port()))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return


def _any_high_port() -> int:
    return _HIGH_PORTS[int.from_bytes(os.urandom(4), "big") % len(_HIGH_PORTS)]


def diagnostics() -> socket.socket | None:
    """The socket for sock_diag(7)."""
    try:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
    except OSError:
        return None


class Supplier:
    """Makes marked sockets and hands them to bridge, ahead of need."""

    def __init__(self, supply: socket.socket) -> None:
        self._supply = supply
        supply.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least there is: two batches or so
        self._family = _family()
        self._one().close()  # a mark may be refused: say so now

    def hand_out(self) -> None:
        """Send a batch. Called while the buffer has room: bridge's reading is what asks for more.

        Raises OSError (ETOOMANYREFS) where all of a user's programs together have more descriptors under way than one
        of them may have open (RLIMIT_NOFILE, unix(7)): those of one session that rests are two batches.
        """
        batch = [self._one() for _ in range(_BATCH)]
        try:
            messages.send(self._supply, {"sockets": len(batch)}, [each.fileno() for each in batch])
        finally:
            for each in batch:
                each.close()

    def _one(self) -> socket.socket:
        sock = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        return sock

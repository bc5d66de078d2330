"""Addresses and routes of the sandbox's loopback, over rtnetlink(7): the ``ip`` program need not be there.

A default route over ``lo`` makes every address routable, so that a connection gets as far as the redirecting rules;
its preferred source is the pod's address, so that the process sees itself under the address that it has in the cluster.
"""

import errno
import os
import socket
import struct

_NETLINK_ROUTE = 0
_RTM_NEWLINK, _RTM_NEWADDR, _RTM_NEWROUTE = 16, 20, 24
_REQUEST, _ACK, _REPLACE, _CREATE = 0x1, 0x4, 0x100, 0x400
_IFF_UP = 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_NODAD = 0x02
_RTA_OIF, _RTA_PREFSRC = 4, 7
_RT_TABLE_MAIN, _RTPROT_STATIC, _RT_SCOPE_UNIVERSE, _RTN_UNICAST = 254, 4, 0, 1
_LOOPBACK = 1  # always the first interface of a network namespace


def loopback_up() -> None:
    """Switch ``lo`` on: 127.0.0.1 and ::1 come with it."""
    _talk(_RTM_NEWLINK, 0, struct.pack("=BxHiII", socket.AF_UNSPEC, 0, _LOOPBACK, _IFF_UP, _IFF_UP))


def add_address(address: str) -> None:
    """Give ``lo`` a further address (IPv4 or IPv6); no error when it has it already.

    Nobody else has it (NODAD): else one of IPv6 is tentative until a worker of the kernel's comes to it, and neither a
    route nor a bind() may name it.
    """
    family, packed = _parse(address)
    body = struct.pack("=BBBBI", family, len(packed) * 8, _IFA_F_NODAD, 0, _LOOPBACK)
    body += _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)
    _talk(_RTM_NEWADDR, _CREATE | _REPLACE, body)


def route_everything(source: str) -> None:
    """Send every address of ``source``'s family over ``lo``, from ``source``."""
    family, packed = _parse(source)
    header = (family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, _RT_SCOPE_UNIVERSE, _RTN_UNICAST, 0)
    body = struct.pack("=BBBBBBBBI", *header)
    body += _attribute(_RTA_OIF, struct.pack("=I", _LOOPBACK)) + _attribute(_RTA_PREFSRC, packed)
    _talk(_RTM_NEWROUTE, _CREATE | _REPLACE, body)


def _parse(address: str) -> tuple[int, bytes]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address)


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)


def _talk(kind: int, flags: int, body: bytes) -> None:
    """Send one request, read its acknowledgement (an NLMSG_ERROR, with 0 for success)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE) as sock:
        sock.bind((0, 0))
        sock.send(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | _ACK | flags, 1, 0) + body)
        reply = sock.recv(4096)
    number = -struct.unpack_from("=i", reply, 16)[0]
    if number not in (0, errno.EEXIST):
        raise OSError(number, os.strerror(number))

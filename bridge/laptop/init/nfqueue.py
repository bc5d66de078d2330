"""The socket over which the kernel asks bridge about each new outbound connection (nfnetlink_queue).

A queue belongs to the socket that bound it, and to the network namespace that the socket was made in: so it is made
here, and works in bridge, whose user owns the namespace. While it is not bound, the rules let everything pass.
"""

import os
import socket
import struct

QUEUE = 0
_NETLINK_NETFILTER = 12
_SOL_NETLINK, _NETLINK_NO_ENOBUFS = 270, 5
_MSG_CONFIG = (3 << 8) | 2  # NFNL_SUBSYS_QUEUE, NFQNL_MSG_CONFIG
_REQUEST, _ACK = 1, 4
_ERROR = 2
_CFG_CMD, _CFG_PARAMS, _CFG_QUEUE_MAXLEN = 1, 2, 3
_BIND, _UNBIND = 1, 2
_COPY_PACKET = 2
_HEADERS = 128  # bytes of each packet: IP and TCP headers
_LONGEST = 8192  # held packets; those beyond are dropped, and sent again by TCP a second later


def open_queue() -> socket.socket:
    """A non-blocking socket that can bind the queue. Raises OSError where the kernel has no such thing."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    try:
        sock.bind((0, 0))
        # A full buffer means that a SYN is lost, which TCP mends; it is no reason to fail a read.
        sock.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        bind(sock)
        unbind(sock)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def bind(sock: socket.socket) -> None:
    """From now on, packets are held for this socket."""
    _configure(sock, _CFG_CMD, struct.pack("!BxH", _BIND, socket.AF_UNSPEC))
    _configure(sock, _CFG_PARAMS, struct.pack("!IB", _HEADERS, _COPY_PACKET))
    _configure(sock, _CFG_QUEUE_MAXLEN, struct.pack("!I", _LONGEST))


def unbind(sock: socket.socket) -> None:
    """No packet is held any more; those that were are dropped, and sent again by TCP."""
    _configure(sock, _CFG_CMD, struct.pack("!BxH", _UNBIND, socket.AF_UNSPEC))


def _configure(sock: socket.socket, kind: int, value: bytes) -> None:
    attribute = struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)
    body = struct.pack("!BBH", socket.AF_UNSPEC, 0, QUEUE) + attribute
    sock.send(struct.pack("=IHHII", 16 + len(body), _MSG_CONFIG, _REQUEST | _ACK, 1, 0) + body)
    number = -struct.unpack_from("=i", _acknowledgement(sock), 16)[0]
    if number:
        raise OSError(number, os.strerror(number))


def _acknowledgement(sock: socket.socket) -> bytes:
    """The kernel answers before send() returns. Packets that are held already may come first: they are sent again."""
    while True:
        data = sock.recv(65536)
        if struct.unpack_from("=H", data, 4)[0] == _ERROR:
            return data

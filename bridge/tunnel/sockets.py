"""What the relay asks of the kernel about sockets (Linux)."""

from __future__ import annotations

import resource
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

SO_ORIGINAL_DST = 80
"""linux/netfilter_ipv4.h; IP6T_SO_ORIGINAL_DST has the same number."""
_SOCKADDR_IN, _SOCKADDR_IN6 = 16, 28
UNSENT = 128 * 1024
"""How much the kernel queues before it says stop. What waits in the kernel can't be overtaken by a small request."""
UNSENT_AT_MOST = 512 * 1024
"""The same for a long link. There the kernel's buffer is full of what is on the way, and it says go only when a third
of it is free: what may be queued by then is what fills it again. Eight copies up over 80 ms: 35 MB/s, not 32."""


def original_destination(sock: Any, source: str) -> tuple[str, int]:
    """Where a connection that nft redirected here was going. OSError when it was not redirected.

    ``sock``: a socket or what an asyncio transport gives for one. ``source``: the address that it comes from, IPv4
    (also as an IPv6 socket has it) or IPv6.
    """
    if ":" in source and not _is_mapped(source):
        data = sock.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, _SOCKADDR_IN6)
        return socket.inet_ntop(socket.AF_INET6, data[8:24]), int.from_bytes(data[2:4])
    data = sock.getsockopt(socket.IPPROTO_IP, SO_ORIGINAL_DST, _SOCKADDR_IN)
    return socket.inet_ntoa(data[4:8]), int.from_bytes(data[2:4])


def _is_mapped(address: str) -> bool:
    return address.startswith("::ffff:") and "." in address


def allow_many_descriptors() -> int:
    """Raise this process's soft limit of open files to its hard one; return the soft limit that was.

    Each relayed connection is one descriptor. The limit is inherited: give the old one back to programs that are
    started for the user (select() breaks above 1024).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft


def keep_kernel_queue_short(transport: asyncio.BaseTransport, on_the_way: int = 0) -> None:
    """Have the kernel say early that a connection is full.

    ``on_the_way``: the bytes that should be on the way to the peer at once, of which an eighth may be queued.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        unsent = min(max(on_the_way // 8, UNSENT), UNSENT_AT_MOST)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent)

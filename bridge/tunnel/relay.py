"""Joins two byte pipes, so that each end sees what it would see of a direct TCP connection to the other.

Either pipe is a socket or a channel: both are asyncio transports. What one end does shows at the other:

    sends bytes             the same bytes; when the other end reads slowly, this one is not read from
    half-closes (FIN)       half-closed; the other direction goes on
    both have half-closed   both are closed, once everything is out
    resets, or vanishes     reset (a socket: RST)

No task, no thread and no buffer of its own belongs to a connection: data goes from one transport to the other within
the call that delivers it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""struct linger: on, with no time to send what is left. close() then sends RST (socket(7))."""


def reset(transport: Any) -> None:
    """Close a transport so that its peer sees a reset, where it can be told so."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6) and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


class End(asyncio.Protocol):
    """One end of a relay; joined with ``other``, which is connected already, as soon as this one connects.

    The first end has no other yet. What comes then, while the second is being dialled, is kept, and reading stops: so
    a request is at hand the moment the second end connects. (Not reading from the start is no choice: uvloop starts to
    read after connection_made() whatever that does.)
    """

    __slots__ = ("_early", "_write", "ended", "eof", "gone", "other", "transport")

    def __init__(self, other: End | None = None) -> None:
        self.other = other
        # asyncio's transports, uvloop's and ours have no class in common.
        self.transport: Any = None
        self._write: Callable[[bytes], object] = self._keep
        self._early = b""
        self.eof = False
        self.gone = False
        self.ended: Callable[[], object] | None = None
        """Called when the connection is over while there is no other end."""

    # -- asyncio.Protocol ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin. asyncio, uvloop and sshd have set TCP_NODELAY."""
        self.transport = transport
        if self.other is not None:
            join(self.other, self)

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        self._write(data)

    def eof_received(self) -> bool:
        """Pass it on; close both once both have said it."""
        self.eof = True
        other = self.other
        if other is not None:
            if other.eof:
                other.transport.close()
                self.transport.close()
            else:
                other.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        """Have the other end read no more."""
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Have the other end read again."""
        if self.other is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """Take the other end along: closed when all was said, reset otherwise."""
        self.gone = True
        self._write = drop
        other, self.other = self.other, None
        if other is None:
            if self.ended is not None:
                self.ended()
            return
        other.other = None
        if error is None and self.eof and other.eof:
            other.transport.close()
        else:
            other.reset()

    # -- for who makes relays --------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Reset the connection: there is no other end for it."""
        if not self.gone:
            self._write = drop
            reset(self.transport)

    def _keep(self, data: bytes) -> None:
        self._early += data
        self.transport.pause_reading()

    def pass_to(self, other: End) -> None:
        """Give what comes, and what came, to ``other``."""
        self.other = other
        self.ended = None
        self._write = other.transport.write
        self.transport.resume_reading()
        if self._early:
            early, self._early = self._early, b""
            self.data_received(early)
        if self.eof:
            other.transport.write_eof()


class Listed(End):
    """An end that is in a set while it is connected."""

    __slots__ = ("_ends",)

    def __init__(self, ends: set[Listed]) -> None:
        super().__init__()
        self._ends = ends

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self._ends.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """End."""
        super().connection_lost(error)
        self._ends.discard(self)


def join(first: End, second: End) -> None:
    """Join two that are connected, or were: what one of them said meanwhile is passed on."""
    if first.gone:
        second.other = None
        second.reset()
        return
    first.pass_to(second)
    second.pass_to(first)


def drop(_: bytes) -> None:
    """Take what nobody wants any more."""

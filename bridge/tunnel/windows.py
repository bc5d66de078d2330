"""Flow control of one SSH channel (RFC 4254, 5.2): who may send how much. Pure arithmetic.

A channel's memory on this side is bounded by its receive window: what the peer may still send plus what has come and is
not read yet never passes the window's size. It opens again only as the reader reads, so a slow reader stops its writer
on the other side of the tunnel.

How large? A window smaller than (rate x round trip) leaves a long link idle; a larger one only builds a queue in which
other channels' small requests wait. So it follows the measured round trip, and shrinks when very many channels are
open, so that all of them together stay bounded.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB

SMALLEST = 64 * KIB
"""Two packets of sshd: below this a channel stops after each one."""
ON_A_SHORT_LINK = 512 * KIB
"""Measured on loopback: 128 KiB cost a third of the rate of one download; more than this adds no rate, only queue."""
LARGEST = 4 * MIB
RATE = 128 * MIB
"""Bytes a second which one channel is meant to reach on a long link, up to `LARGEST` in a round trip."""
GRANT = 128 * KIB
"""What is read is granted anew in pieces of this size, or of half a smaller window: few messages, and no waiting."""
IN_ALL = 128 * MIB
"""The receive windows of all channels together."""


class Overrun(Exception):
    """The peer breaks the rules of a window."""


def window_size(*, round_trip: float, channels: int) -> int:
    """The receive window for a channel when the shortest round trip is ``round_trip`` s and ``channels`` are open."""
    wanted = min(max(int(RATE * round_trip), ON_A_SHORT_LINK), LARGEST)
    share = IN_ALL // max(channels, 1)
    return max(min(wanted, share), SMALLEST)


def in_flight(*, round_trip: float) -> int:
    """The bytes that a channel may have on the way to the pod: sshd's window of 2 MiB is more than a short link needs.

    Never less than sshd consumes before it grants more: three of its packets, or half of what it allowed at first.
    """
    return min(max(int(RATE * round_trip), ON_A_SHORT_LINK), LARGEST)


class ReceiveWindow:
    """What the peer may send us. All sizes in bytes."""

    __slots__ = ("size", "unread", "usable")

    def __init__(self, size: int) -> None:
        self.size = size
        self.usable = size
        self.unread = 0

    def receive(self, count: int) -> None:
        """Note that the peer sent ``count`` bytes; Overrun when it was not allowed to."""
        if count > self.usable:
            raise Overrun(f"sent {count} bytes into a window of {self.usable}")
        self.usable -= count
        self.unread += count

    def pass_on(self, count: int) -> int:
        """`receive` and `read` in one, for a reader that takes everything at once."""
        self.usable -= count
        if self.usable < 0:
            raise Overrun(f"sent {count} bytes into a window of {self.usable + count}")
        missing = self.size - self.usable - self.unread
        if missing < GRANT and missing < self.size // 2:
            return 0
        self.usable += missing
        return missing

    def read(self, count: int) -> int:
        """Note that the reader took ``count`` bytes. Returns what to grant the peer now: often 0."""
        self.unread -= count
        missing = self.size - self.usable - self.unread
        if missing < GRANT and missing < self.size // 2:
            return 0
        self.usable += missing
        return missing


class SendWindow:
    """What we may send the peer. All sizes in bytes."""

    __slots__ = ("left", "packet")

    def __init__(self, left: int, packet: int) -> None:
        self.left = left
        """What may be sent before more is granted: who sends takes it off."""
        self.packet = packet
        """The most that one message may carry."""

    def grant(self, count: int) -> None:
        """Note that the peer allows ``count`` bytes more; Overrun past what RFC 4254 can express."""
        if self.left + count > 0xFFFFFFFF:
            raise Overrun("a window of more than 4 GiB")
        self.left += count

    def allowed(self) -> int:
        """How many bytes the next message may carry; 0 says wait."""
        return min(self.left, self.packet)

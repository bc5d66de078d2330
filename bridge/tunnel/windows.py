"""Flow control of one SSH channel (RFC 4254, 5.2): who may send how much. Pure arithmetic.

A channel's memory on this side is bounded by its receive window: what the peer may still send plus what has come and is
not read yet never passes the window's size. It opens again only as the reader reads, so a slow reader stops its writer
on the other side of the tunnel.

How large? A window smaller than (rate x round trip) leaves a long link idle; a larger one only builds a queue in which
other channels' small requests wait. So it follows what the link carries in a round trip (`Pace`), and is smaller when
very many channels are open: all of them together grow much more slowly than their number (`IN_ALL`).
"""

from __future__ import annotations

from collections import deque

KIB = 1024
MIB = 1024 * KIB

SMALLEST = 64 * KIB
"""Two packets of sshd: below this a channel stops after each one."""
ON_A_SHORT_LINK = 768 * KIB
"""Measured through the API server on a short link, MB/s down and up, and what a small request takes beside them (p99):
512 KiB 149, 161, 12-17 ms; 768 KiB 150, 200, 14-16 ms; 3 MiB 167, 217, 19-37 ms."""
LARGEST = 4 * MIB
ROOM = 2
"""A window has room for so many times what was carried in a round trip: where it was the limit, it doubles."""
LOOKS = 0.05
"""Seconds between two looks at the rate, or a round trip if that is longer."""
LATEST = 4
"""Of so many round trips, the latest, the shortest counts: the others have waited for what is carried beside them."""
FADING = 0.8
"""What is left, at the next look, of a rate that is not reached any more: a pause of some looks changes little."""
GRANT = 128 * KIB
"""What is read is granted anew in pieces of this size, or of half a smaller window: few messages, and no waiting."""
IN_ALL = 128 * MIB
"""Of this a receive window gets an equal share at most, when it is made and whenever more is granted.

It is not taken back when more channels come: RFC 4254 has no message for that. So while nobody reads, n windows of w
bytes grow to IN_ALL * (1 + ln(n * w / IN_ALL)) together: 440 MiB for 2000 on a short link, 655 MiB on one that wants
`LARGEST`; past 2048 each one more has `SMALLEST`. And each lane has channels of its own. To give out no more than is
left of a sum would leave the smallest one to whoever comes late, though those before are idle, as most are."""


class Overrun(Exception):
    """The peer breaks the rules of a window."""


class Pace:
    """What the link has carried in a round trip lately, in bytes: what is to be on the way at once, with `ROOM`.

    Both may change while a connection lasts (another network, a VPN, a copy beside it), and only a copy shows the rate.
    """

    def __init__(self) -> None:
        self._looked = 0.0
        self._carried = 0
        self._rate = 0.0
        self._round_trips: deque[float] = deque(maxlen=LATEST)
        self.wanted = ON_A_SHORT_LINK
        """The bytes that may be on the way at once."""

    def measured(self, round_trip: float) -> None:
        """Take a round trip through all of the tunnel (s); there is one every few seconds."""
        self._round_trips.append(round_trip)

    def look(self, now: float, carried: int) -> None:
        """Take what was ``carried`` until ``now`` (bytes in all, s)."""
        round_trip = min(self._round_trips, default=0.0)
        seconds = now - self._looked
        if seconds < max(LOOKS, round_trip):
            return
        self._rate = max((carried - self._carried) / seconds, self._rate * FADING)
        self._looked, self._carried = now, carried
        self.wanted = min(max(int(ROOM * self._rate * round_trip), ON_A_SHORT_LINK), LARGEST)


def window_size(wanted: int, *, channels: int) -> int:
    """The receive window for a channel when ``wanted`` bytes should be on the way and ``channels`` are open."""
    return max(min(wanted, IN_ALL // max(channels, 1)), SMALLEST)


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
    """What we may send the peer: all that it allows, but for what would be more than ``limit`` on the way.

    All sizes in bytes. ``allowed``: what the peer allows at first, which is what it allows again and again as it reads.
    """

    __slots__ = ("_allowed", "_kept", "left", "packet")

    def __init__(self, allowed: int, packet: int, limit: int) -> None:
        self._allowed = allowed
        self._kept = max(allowed - limit, 0)
        self.left = allowed - self._kept
        """What may be sent before more is granted: who sends takes it off. Below 0: the limit has shrunk."""
        self.packet = packet
        """The most that one message may carry."""

    def grant(self, count: int, limit: int) -> None:
        """Note that the peer allows ``count`` bytes more; Overrun past what RFC 4254 can express."""
        kept = max(self._allowed - limit, 0)
        self.left += count + self._kept - kept
        self._kept = kept
        if self.left + kept > 0xFFFFFFFF:
            raise Overrun("a window of more than 4 GiB")

    def sendable(self) -> int:
        """How many bytes the next message may carry; 0 says wait."""
        return max(min(self.left, self.packet), 0)

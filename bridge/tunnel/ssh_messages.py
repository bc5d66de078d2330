"""The messages of SSH's connection protocol (RFC 4254) as bytes, and back. Pure.

A message is its number and its fields: ``string`` is a 4-byte length and bytes, numbers are 4 bytes, big endian.
`CHANNEL_DATA`, the one that matters for speed, is put together in `packets` and taken apart in `ssh`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

DISCONNECT, IGNORE, UNIMPLEMENTED, DEBUG, SERVICE_REQUEST, SERVICE_ACCEPT, EXT_INFO = 1, 2, 3, 4, 5, 6, 7
USERAUTH_FAILURE, USERAUTH_SUCCESS, USERAUTH_BANNER = 51, 52, 53
GLOBAL_REQUEST, REQUEST_SUCCESS, REQUEST_FAILURE = 80, 81, 82
CHANNEL_OPEN, OPEN_CONFIRMATION, OPEN_FAILURE, WINDOW_ADJUST = 90, 91, 92, 93
CHANNEL_DATA, CHANNEL_EXTENDED_DATA, CHANNEL_EOF, CHANNEL_CLOSE = 94, 95, 96, 97
CHANNEL_REQUEST, CHANNEL_SUCCESS, CHANNEL_FAILURE = 98, 99, 100

BY_APPLICATION = 11
PROHIBITED, CONNECT_FAILED, UNKNOWN_TYPE, RESOURCE_SHORTAGE = 1, 2, 3, 4

MAX_PACKET = 32 * 1024
"""Data per message, both ways: OpenSSH's own; it sends and takes no more."""

_two = struct.Struct(">BI").pack
_three = struct.Struct(">BII").pack
_five = struct.Struct(">BIIII").pack
_number = struct.Struct(">I")


def string(value: str | bytes) -> bytes:
    """Render a field of bytes, or of text as UTF-8."""
    data = value.encode() if isinstance(value, str) else value
    return _number.pack(len(data)) + data


def number(value: int) -> bytes:
    """Render a number field."""
    return _number.pack(value)


# -- what we send ----------------------------------------------------------------------------------------------------


def disconnect(reason: str) -> bytes:
    """Say goodbye."""
    return _two(DISCONNECT, BY_APPLICATION) + string(reason) + string("")


def ignore() -> bytes:
    """Say nothing (RFC 4253, 11.2)."""
    return bytes([IGNORE]) + string("")


def service_request(name: str) -> bytes:
    """Ask for the authentication service."""
    return bytes([SERVICE_REQUEST]) + string(name)


def unimplemented(sequence: int) -> bytes:
    """Answer a message that we don't know (RFC 4253, 11.4)."""
    return _two(UNIMPLEMENTED, sequence)


def global_request(kind: str, fields: bytes = b"") -> bytes:
    """Ask for something that belongs to no channel; always answered, in order."""
    return bytes([GLOBAL_REQUEST]) + string(kind) + b"\x01" + fields


def request_failure() -> bytes:
    """Say no to the peer's global request."""
    return bytes([REQUEST_FAILURE])


def tcpip_forward(address: str, port: int) -> bytes:
    """Ask the pod to listen (RFC 4254, 7.1)."""
    return global_request("tcpip-forward", string(address) + number(port))


def cancel_tcpip_forward(address: str, port: int) -> bytes:
    """Ask the pod to stop listening."""
    return global_request("cancel-tcpip-forward", string(address) + number(port))


def channel_open(kind: str, channel: int, window: int, fields: bytes = b"") -> bytes:
    """Open a channel which the peer shall call ``channel``, with ``window`` bytes that it may send."""
    return bytes([CHANNEL_OPEN]) + string(kind) + struct.pack(">III", channel, window, MAX_PACKET) + fields


def direct_tcpip(host: str, port: int) -> bytes:
    """Render the fields of a channel that the pod connects to ``host``, ``port`` (RFC 4254, 7.2)."""
    return string(host) + number(port) + string("127.0.0.1") + number(0)


def open_confirmation(peer: int, channel: int, window: int) -> bytes:
    """Take a channel that the peer opens."""
    return _five(OPEN_CONFIRMATION, peer, channel, window, MAX_PACKET)


def open_failure(peer: int, reason: int, text: str) -> bytes:
    """Turn down a channel that the peer opens."""
    return _three(OPEN_FAILURE, peer, reason) + string(text) + string("")


def window_adjust(peer: int, count: int) -> bytes:
    """Allow the peer ``count`` bytes more."""
    return _three(WINDOW_ADJUST, peer, count)


def about(kind: int, peer: int) -> bytes:
    """Render a message which has nothing but its channel: EOF, CLOSE, SUCCESS, FAILURE."""
    return _two(kind, peer)


def channel_request(peer: int, kind: str, fields: bytes = b"") -> bytes:
    """Ask for something in a channel, without wanting an answer."""
    return _two(CHANNEL_REQUEST, peer) + string(kind) + b"\x00" + fields


# -- what we get -----------------------------------------------------------------------------------------------------


class Reader:
    """Takes a message's fields off one by one; ValueError past its end."""

    __slots__ = ("_data", "_end", "_start")

    def __init__(self, packet: bytes) -> None:
        """Start behind the message number of a padded ``packet`` (see `packets`)."""
        self._data = packet
        self._start = 2
        self._end = len(packet) - packet[0]

    def number(self) -> int:
        """Take 4 bytes."""
        return int.from_bytes(self._take(4))

    def string(self) -> bytes:
        """Take a length, and as many bytes."""
        return self._take(self.number())

    def text(self) -> str:
        """Take a string of UTF-8."""
        return self.string().decode(errors="replace")

    def flag(self) -> bool:
        """Take a boolean."""
        return self._take(1) != b"\x00"

    def rest(self) -> bytes:
        """Take what is left."""
        return self._take(self._end - self._start)

    def _take(self, count: int) -> bytes:
        start, end = self._start, self._start + count
        if end > self._end:
            raise ValueError("a message that ends too early")
        self._start = end
        return self._data[start:end]


@dataclass(frozen=True, kw_only=True)
class Opening:
    """A connection that the pod accepted for us and wants to hand over (forwarded-tcpip)."""

    peer: int
    window: int
    packet: int
    address: str
    port: int
    originator: tuple[str, int]

    @classmethod
    def parse(cls, peer: int, window: int, packet: int, fields: Reader) -> Opening:
        """Take the kind's own fields off a CHANNEL_OPEN (RFC 4254, 7.2)."""
        address, port = fields.text(), fields.number()
        originator = (fields.text(), fields.number())
        return cls(peer=peer, window=window, packet=packet, address=address, port=port, originator=originator)

"""How the bytes of one forwarded port lie in a WebSocket's binary messages. Pure; `stream` moves the messages.

    SPDY/3.1+portforward.k8s.io    the messages are pieces of one SPDY connection, which the API server passes on as
                                   it is: what kubectl speaks, from Kubernetes 1.30 on
    v4.channel.k8s.io              each message begins with the number of its channel

Both are offered, and the server chooses: an older one knows v4 alone. SPDY is worth its framing: v4's messages are
unmasked byte by byte by the container runtime, which took more than half a core for 125 MB/s up, and was the limit.
"""

from __future__ import annotations

import struct
import zlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADROOM = 8
"""Bytes that `wrap` may write in front of what is sent."""


class _Subprotocol(ABC):
    """One end of a WebSocket, the laptop's, for one port of the pod."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self.ready = False
        """Whether bytes for the port may be sent."""
        self.reason = ""
        """What the other side has said of why it failed."""
        self.ended = False
        """Whether the other side has ended it."""
        self.answers = b""
        """What is to be sent now; who sends it empties this."""

    @abstractmethod
    def wrap(self, buffer: bytearray, at: int) -> int:
        """Make what begins at ``at`` in the buffer a message; return where that begins, `HEADROOM` before at most."""

    @abstractmethod
    def unwrap(self, message: memoryview, *, begins: bool) -> Iterator[memoryview]:
        """Take a message, or its next part (not ``begins``); give the port's bytes in it."""


class V4(_Subprotocol):
    """Channel 0 has the bytes, channel 1 what went wrong; on each the port's number comes first, in two bytes.

    The source of truth is Kubernetes' ``pkg/cri/streaming/portforward/websocket.go``.
    """

    name = "v4.channel.k8s.io"

    def __init__(self, port: int) -> None:  # noqa: ARG002  # it is in the URL
        super().__init__()
        self.ready = True
        self._announced: set[int] = set()
        self._channel = 0

    def wrap(self, buffer: bytearray, at: int) -> int:
        """See `_Subprotocol`."""
        buffer[at - 1] = 0
        return at - 1

    def unwrap(self, message: memoryview, *, begins: bool) -> Iterator[memoryview]:
        """See `_Subprotocol`."""
        if begins and len(message):
            self._channel, message = message[0], message[1:]
            if self._channel not in self._announced:
                self._announced.add(self._channel)  # the port's number says nothing new
                return
        if self._channel == 0:
            yield message
        elif self._channel == 1:
            self.reason += bytes(message).decode(errors="replace")
            self.ended = True


class Spdy(_Subprotocol):
    """As much of SPDY/3.1 (draft-mbelshe-httpbis-spdy-00, and 3.1's changes) as one forwarded port needs.

    Two streams are opened, one for errors and one for the bytes; the other side begins when it has both, and drops what
    comes on a stream before its reply. No window is kept: Kubernetes' implementation (moby/spdystream) has none, TCP's
    and SSH's are enough. Names and values of a stream are deflated without the preset dictionary: a zlib stream says
    itself whether it needs one.
    """

    name = "SPDY/3.1+portforward.k8s.io"

    ERRORS, BYTES = 1, 3
    """The streams' numbers; a client's are odd."""
    _SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY = 1, 2, 3, 6, 7
    _CONTROL = 0x80030000
    _FIN = 1
    _LONGEST_CONTROL = 64 * 1024
    _head = struct.Struct(">II")
    _number = struct.Struct(">I")

    def __init__(self, port: int) -> None:
        super().__init__()
        deflated = zlib.compressobj()
        self.answers = b"".join(
            self._open(number, deflated, {"streamtype": kind, "port": str(port), "requestid": "0"})
            for number, kind in ((self.ERRORS, "error"), (self.BYTES, "data"))
        )
        self._unanswered = {self.ERRORS, self.BYTES}
        self._going_on = {self.ERRORS, self.BYTES}
        self._gathered = bytearray()
        self._wanted = self._head.size
        self._stream = self._left = 0
        self._last = False

    def wrap(self, buffer: bytearray, at: int) -> int:
        """See `_Subprotocol`."""
        self._head.pack_into(buffer, at - self._head.size, self.BYTES, len(buffer) - at)
        return at - self._head.size

    def unwrap(self, message: memoryview, *, begins: bool) -> Iterator[memoryview]:  # noqa: ARG002  # bytes all the same
        """See `_Subprotocol`."""
        at, end = 0, len(message)
        while at < end and not self.ended:
            if self._left:
                part = message[at : at + self._left]
                self._left -= len(part)
                if self._stream == self.BYTES:
                    yield part
                elif self._stream == self.ERRORS:
                    self.reason += bytes(part).decode(errors="replace")
                self._data_is_over()
            else:
                part = message[at : at + self._wanted - len(self._gathered)]
                self._gathered += part
                if len(self._gathered) == self._wanted:
                    self._begin_frame()
            at += len(part)

    def _open(self, number: int, deflated: zlib._Compress, headers: dict[str, str]) -> bytes:
        block = self._number.pack(len(headers))
        for pair in headers.items():
            for text in pair:
                block += self._number.pack(len(text)) + text.encode()
        fields = struct.pack(">IIH", number, 0, 0) + deflated.compress(block) + deflated.flush(zlib.Z_SYNC_FLUSH)
        return self._head.pack(self._CONTROL | self._SYN_STREAM, len(fields)) + fields

    def _begin_frame(self) -> None:
        first, flags_and_length = self._head.unpack_from(self._gathered)
        flags, length = flags_and_length >> 24, flags_and_length & 0xFFFFFF
        if not first >> 31:
            self._gathered.clear()
            self._stream, self._left, self._last = first, length, bool(flags & self._FIN)
            self._data_is_over()
        elif length > self._LONGEST_CONTROL:
            self.reason, self.ended = f"a SPDY control frame of {length} bytes", True
        elif len(self._gathered) < self._head.size + length:
            self._wanted = self._head.size + length
        else:
            self._control(first & 0xFFFF)
            self._gathered.clear()
            self._wanted = self._head.size

    def _data_is_over(self) -> None:
        if not self._left:
            self._end(self._stream if self._last else 0)

    def _end(self, number: int) -> None:
        """Note that a stream has ended (0: none). An error is said in one frame, and nothing good follows it.

        The end of the bytes alone is not the end: what went wrong may be said after it.
        """
        self._going_on.discard(number)
        self.ended = bool(self.reason) or not self._going_on

    def _control(self, kind: int) -> None:
        fields = memoryview(self._gathered)[self._head.size :]
        about = self._number.unpack_from(fields)[0] if len(fields) >= self._number.size else 0
        fields.release()
        match kind:
            case self._SYN_REPLY:
                self._unanswered.discard(about)
                self.ready = not self._unanswered
            case self._RST_STREAM:
                self._end(about)
            case self._GOAWAY:
                self.ended = True
            case self._PING if not about % 2:
                self.answers += self._gathered  # theirs are even, and want them back
            case _:
                pass


SUBPROTOCOLS: dict[str, type[Spdy | V4]] = {each.name: each for each in (Spdy, V4)}
"""In the order in which they are offered."""

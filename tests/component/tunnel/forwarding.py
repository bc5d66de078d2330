"""The cluster's end of a port-forward's two subprotocols, for the tests' server; written apart from bridge's own.

SPDY is taken apart as moby/spdystream does: what comes on a stream before its reply is dropped, headers may be deflated
with the preset dictionary or without. What goes out is cut into fragments, as the API server does it.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from picows import WSMsgType

if TYPE_CHECKING:
    from picows import WSTransport

FRAGMENT = 4096


class V4:
    """``v4.channel.k8s.io``."""

    name = "v4.channel.k8s.io"

    def __init__(self, websocket: WSTransport, port: int) -> None:
        self._websocket = websocket
        number = port.to_bytes(2, "little")
        websocket.send(WSMsgType.BINARY, b"\x00" + number)
        websocket.send(WSMsgType.BINARY, b"\x01" + number)
        self.begun = True

    def take(self, message: bytes) -> bytes:
        assert message[0] == 0
        return message[1:]

    def give(self, data: bytes) -> None:
        self._websocket.send(WSMsgType.BINARY, b"\x00" + data)

    def fail(self, reason: str) -> None:
        self._websocket.send(WSMsgType.BINARY, b"\x01" + reason.encode())


class Spdy:
    """``SPDY/3.1+portforward.k8s.io``."""

    name = "SPDY/3.1+portforward.k8s.io"

    def __init__(self, websocket: WSTransport, port: int) -> None:
        self._websocket = websocket
        self._port = port
        self._came = bytearray()
        self._inflating = zlib.decompressobj()
        self.streams: dict[str, int] = {}
        self._send(struct.pack(">III", 0x80030006, 4, 2))  # a ping, which wants itself back

    @property
    def begun(self) -> bool:
        return {"error", "data"} <= self.streams.keys()

    def take(self, message: bytes) -> bytes:
        self._came += message
        data = b""
        while len(self._came) >= 8:
            first, rest = struct.unpack_from(">II", self._came)
            length = rest & 0xFFFFFF
            if len(self._came) < 8 + length:
                break
            content = bytes(self._came[8 : 8 + length])
            del self._came[: 8 + length]
            if first == 0x80030001:
                self._open(content)
            elif first == 0x80030006:
                assert content == b"\x00\x00\x00\x02"
            else:
                assert first == self.streams["data"]
                data += content
        return data

    def give(self, data: bytes) -> None:
        self._send(struct.pack(">II", self.streams["data"], len(data)) + data)

    def fail(self, reason: str) -> None:
        self._send(struct.pack(">II", self.streams["data"], 0x01000000))
        self._send(struct.pack(">II", self.streams["error"], len(reason)) + reason.encode())

    def _open(self, content: bytes) -> None:
        (number,) = struct.unpack_from(">I", content)
        block = self._inflating.decompress(content[10:])
        texts, at = [], 4
        while at < len(block):
            (length,) = struct.unpack_from(">I", block, at)
            texts.append(block[at + 4 : at + 4 + length].decode())
            at += 4 + length
        headers = dict(zip(texts[::2], texts[1::2], strict=True))
        assert headers == {"streamtype": headers["streamtype"], "port": str(self._port), "requestid": "0"}
        self.streams[headers["streamtype"]] = number
        self._send(struct.pack(">III", 0x80030002, 4, number))

    def _send(self, frame: bytes) -> None:
        parts = [frame[at : at + FRAGMENT] for at in range(0, len(frame), FRAGMENT)]
        for index, part in enumerate(parts):
            kind = WSMsgType.CONTINUATION if index else WSMsgType.BINARY
            self._websocket.send(kind, part, fin=index == len(parts) - 1)

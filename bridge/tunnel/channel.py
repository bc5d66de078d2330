"""One SSH channel as an asyncio Transport: what a socket's transport does, over the tunnel.

So a relay joins channels and sockets without knowing which is which. How a TCP connection's ends show in a channel:

    TCP                     SSH message     here
    FIN                     EOF             eof_received(), write_eof()
    both FINs, closed       EOF, CLOSE      connection_lost(None), close()
    reset                   CLOSE           connection_lost(ConnectionResetError), abort()

A CLOSE before both EOFs means that sshd could not write to the pod's side of the connection any more: it was reset.
What came before it is read all the same, however late; what is written meanwhile goes nowhere, for sshd gives the
channel's number to the next one at once.

Reading is bounded by the receive window: data that comes while reading is paused waits here and is not granted anew.
Writing is bounded by pause_writing(): what can't go out yet (the peer's window, the stream's buffer, a key exchange)
waits here, and channels that wait take turns (`ssh`), so that no one's bulk stops another's request.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from bridge.tunnel import ssh_messages as messages
from bridge.tunnel.windows import ReceiveWindow, SendWindow

if TYPE_CHECKING:
    from collections.abc import Iterable

HIGH_WATER = 64 * 1024
LOW_WATER = 16 * 1024
AT_ONCE = 64 * 1024
"""Of one large write, what goes out before other channels have their turn."""
DELIVERY = 64 * 1024
"""Bytes handed to the protocol at once when reading resumes."""


class Mux(Protocol):
    """What a channel needs of its connection."""

    loop: asyncio.AbstractEventLoop
    clear: bool
    """Whether data may go out at once."""

    def send(self, message: bytes) -> None:
        """Send a message, after a key exchange if one is under way."""

    def send_data(self, peer: int, data: bytes | bytearray | memoryview) -> None:
        """Send data; only while ``clear``."""

    def wait_turn(self, channel: Channel) -> None:
        """Call the channel's `send_queued` when data may go out."""

    def forget(self, channel: Channel) -> None:
        """Free the channel's number: both sides have closed it."""

    def window_size(self) -> int:
        """Return the size that a receive window should have now."""

    def in_flight(self) -> int:
        """Return the bytes that a channel may have on the way."""


class Channel(asyncio.Transport):
    """A connection through the pod. Made by `ssh.Connection`, and used on its loop only."""

    __slots__ = (
        "_aborted",
        "_backlog",
        "_close_received",
        "_close_sent",
        "_closing",
        "_eof_delivered",
        "_eof_received",
        "_eof_sent",
        "_eof_wanted",
        "_high",
        "_in",
        "_lost",
        "_low",
        "_mux",
        "_out",
        "_peer",
        "_protocol",
        "_queue",
        "_reading_paused",
        "_writing_paused",
        "number",
        "peername",
        "waits_turn",
    )

    def __init__(self, mux: Mux, number: int, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self._mux = mux
        self.number = number
        """Our number for it."""
        self.peername: tuple[str, int] = ("", 0)
        """What it is connected to, or who connected: host and port in the pod's view."""
        self._protocol: Any = protocol
        self._peer = -1
        self._in = ReceiveWindow(mux.window_size())
        self._out = SendWindow(0, 0, 0)
        self._queue = bytearray()
        self._backlog = bytearray()
        self._high, self._low = HIGH_WATER, LOW_WATER
        self.waits_turn = False
        self._reading_paused = self._writing_paused = False
        self._eof_wanted = self._eof_sent = self._eof_received = self._eof_delivered = False
        self._closing = self._close_sent = self._close_received = self._aborted = self._lost = False

    def __repr__(self) -> str:
        return f"<Channel {self.number} to {self.peername}>"

    # -- asyncio.Transport: its state ------------------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give what comes to another protocol from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the current protocol."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Return ``peername``; a channel has nothing else to tell."""
        return self.peername if name == "peername" else default

    def is_closing(self) -> bool:
        """Whether it is closed, or will be once what was written is out."""
        return self._closing

    @property
    def receive_window(self) -> int:
        """The bytes that the peer may send before we grant more."""
        return self._in.usable

    # -- asyncio.Transport: reading --------------------------------------------------------------------------------

    def is_reading(self) -> bool:
        """Whether data is delivered."""
        return not self._reading_paused and not self._closing

    def pause_reading(self) -> None:
        """Deliver nothing until `resume_reading`; the peer may send what its window still allows."""
        self._reading_paused = True

    def resume_reading(self) -> None:
        """Deliver again, beginning with what came meanwhile."""
        if self._reading_paused:
            self._reading_paused = False
            if self._backlog or self._eof_received or self._close_received:
                self._mux.loop.call_soon(self._deliver)

    # -- asyncio.Transport: writing --------------------------------------------------------------------------------

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the sizes at which the protocol is told to pause and to resume writing."""
        self._high = HIGH_WATER if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return (low, high)."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """Return the bytes that wait here."""
        return len(self._queue)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data`` when the peer's window and the stream allow."""
        if self._eof_wanted and not self._closing:
            raise RuntimeError("write after write_eof")
        if self._closing or self._close_sent or not data:
            return
        if not self._queue and self._mux.clear:
            out, count = self._out, len(data)
            if count <= out.left and count <= out.packet:
                out.left -= count
                self._mux.send_data(self._peer, data)
                return
            data = self._send_some(memoryview(data))
        self._queue += data
        self._queue_changed()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send each of them."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """Say yes: SSH has half-close."""
        return True

    def write_eof(self) -> None:
        """Say that nothing more will be written; reading goes on."""
        if not self._eof_wanted and not self._closing:
            self._eof_wanted = True
            self._finish_writing()

    # -- asyncio.Transport: its end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Send what was written, then close."""
        if not self._closing:
            self._closing = True
            self._backlog.clear()
            self._finish_writing()

    def abort(self) -> None:
        """Close now; what was not sent yet is dropped."""
        self._closing = self._aborted = True
        self._queue.clear()
        self._backlog.clear()
        self._finish_writing()

    # -- what the connection calls ---------------------------------------------------------------------------------

    def opened(self, peer: int, window: int, packet: int) -> None:
        """Take the peer's number and what it allows us, and begin."""
        self._peer = peer
        self._out = SendWindow(window, min(packet, messages.MAX_PACKET), self._mux.in_flight())
        self._protocol.connection_made(self)

    def received(self, data: bytes) -> None:
        """Take data from the peer; Overrun when it sends more than it may."""
        if self._reading_paused or self._backlog:
            self._in.receive(len(data))
            self._backlog += data
            return
        more = self._in.pass_on(len(data))
        if not self._closing:
            self._protocol.data_received(data)
            if more:
                self._grant(more)

    def discard(self, count: int) -> None:
        """Take data that nobody reads."""
        if more := self._in.pass_on(count):
            self._grant(more)

    def received_eof(self) -> None:
        """Note that the peer has sent all it will."""
        self._eof_received = True
        self._deliver()

    def received_close(self) -> None:
        """Note that the peer neither sends nor takes any more."""
        self._close_received = True
        self._queue.clear()
        if not self._close_sent:
            self._close_sent = True
            self._mux.send(messages.about(messages.CHANNEL_CLOSE, self._peer))
        self._mux.forget(self)
        if self._writing_paused and not self._lost:
            self._writing_paused = False
            self._protocol.resume_writing()
        self._deliver()

    def granted(self, count: int) -> None:
        """Note that the peer allows more; Overrun when that can't be."""
        self._out.grant(count, self._mux.in_flight())
        if self._queue and not self.waits_turn:
            self._mux.wait_turn(self)

    def request(self, kind: str, fields: bytes = b"") -> None:
        """Ask the peer for something that only its kind of channel has."""
        self._mux.send(messages.channel_request(self._peer, kind, fields))

    def refuse_request(self) -> None:
        """Say no to what the peer asks for."""
        self._mux.send(messages.about(messages.CHANNEL_FAILURE, self._peer))

    def send_queued(self, quantum: int) -> None:
        """Send up to ``quantum`` of what waits, as one message; take another turn if more may go."""
        count = min(len(self._queue), quantum, self._out.sendable())
        if count:
            with memoryview(self._queue) as view, view[:count] as part:
                self._mux.send_data(self._peer, part)
            del self._queue[:count]
            self._out.left -= count
            self._queue_changed()

    def connection_ended(self, error: Exception) -> None:
        """Note that the whole SSH connection is gone."""
        self._closing = self._close_sent = self._close_received = True
        self._queue.clear()
        self._backlog.clear()
        self._lose(error)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _send_some(self, data: memoryview) -> memoryview:
        """Send packets while that is allowed, up to a fair share; give back the rest."""
        sent, share = 0, min(len(data), AT_ONCE)
        while sent < share and self._mux.clear and (count := min(share - sent, self._out.sendable())):
            self._out.left -= count
            self._mux.send_data(self._peer, data[sent : sent + count])
            sent += count
        return data[sent:]

    def _grant(self, count: int) -> None:
        if not self._close_sent:
            self._mux.send(messages.window_adjust(self._peer, count))
            self._in.size = self._mux.window_size()

    def _deliver(self) -> None:
        """Give the protocol what waits for it, in order: data, end of file, the end."""
        while self._backlog and not self._reading_paused and not self._closing:
            data = bytes(self._backlog[:DELIVERY])
            del self._backlog[:DELIVERY]
            self._protocol.data_received(data)
            if more := self._in.read(len(data)):
                self._grant(more)
        if self._backlog and not self._closing:
            return
        if self._eof_received and not self._eof_delivered and not self._closing:
            self._eof_delivered = True
            if not self._protocol.eof_received():
                self.close()
        if self._close_received:
            proper = self._closing or (self._eof_received and self._eof_sent)
            self._closing = True
            self._lose(None if proper else ConnectionResetError("the pod's side of the connection was reset"))

    def _queue_changed(self) -> None:
        """Take a turn for what waits, tell the writer to pause or resume, and finish when all is out."""
        waiting = len(self._queue)
        if waiting and not self.waits_turn and self._out.left > 0:
            self._mux.wait_turn(self)
        if waiting > self._high and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()
        elif self._writing_paused and waiting <= self._low:
            self._writing_paused = False
            self._protocol.resume_writing()
        if not self._queue:
            self._finish_writing()

    def _finish_writing(self) -> None:
        """Once nothing waits, send the end of file or the close that was asked for."""
        if self._queue:
            return
        if self._close_sent:
            if self._closing and self._close_received:  # and nobody reads any more what came before
                self._mux.loop.call_soon(self._lose, None)
            return
        if self._eof_wanted and not self._eof_sent and not self._aborted:
            self._eof_sent = True
            self._mux.send(messages.about(messages.CHANNEL_EOF, self._peer))
        if self._closing:
            self._close_sent = True
            self._mux.send(messages.about(messages.CHANNEL_CLOSE, self._peer))
            self._mux.loop.call_soon(self._lose, None)

    def _lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self._protocol.connection_lost(error)
            self._protocol = None

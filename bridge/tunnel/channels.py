"""All channels of one SSH connection: their numbers, how they come to be, and whose turn it is to send.

Who sends when? Control messages at once. Data at once too, while keys are good and the stream takes more (``clear``);
otherwise it waits in its channel, and channels that wait take turns of one packet each. So a bulk copy delays a small
request by a packet of each other channel, not by all that is queued.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Protocol

from bridge.tunnel import failures, windows
from bridge.tunnel import ssh_messages as messages
from bridge.tunnel.channel import Channel
from bridge.tunnel.packets import BadPacket
from bridge.tunnel.ssh_messages import Opening, Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.tunnel.packets import Packets

log = logging.getLogger(__name__)

FRAME = 128 * 1024
"""Data is put into one frame up to here; then the stream gets it, even before the turn ends."""


class Link(Protocol):
    """What the channels need of their connection."""

    loop: asyncio.AbstractEventLoop
    packets: Packets

    def send(self, message: bytes) -> None:
        """Send a message, after a key exchange if one is under way."""

    def flush(self) -> None:
        """Give the stream what has gathered."""

    def wanted_on_the_way(self) -> int:
        """Return the bytes that a channel should have on the way now (`windows.Pace`)."""


class Incoming:
    """A connection made in the pod, waiting to be taken. Nothing of it is read in the pod until then."""

    def __init__(self, channels: Channels, opening: Opening) -> None:
        self._channels = channels
        self._opening = opening
        self.originator = opening.originator
        """Who connected: address and port, as the pod sees it."""
        self._settled = False

    def accept(self, protocol: asyncio.BaseProtocol) -> Channel | None:
        """Take it; ``protocol`` gets connection_made at once. None when the connection has ended meanwhile."""
        assert not self._settled
        self._settled = True
        return self._channels.accept(self._opening, protocol)

    def refuse(self, reason: str) -> None:
        """Turn it down: who connected sees it closed."""
        if not self._settled:
            self._settled = True
            self._channels.refuse(self._opening, reason)


class Channels:
    """The channels of the connection ``link``; each one's `channel.Mux`."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._packets = link.packets
        self.loop = link.loop
        self.send = link.send
        self.clear = False
        self.ended = False
        self.opened = 0
        self.listeners: dict[tuple[str, int], Callable[[Incoming], object]] = {}
        """Who gets the connections that are made to an address and port in the pod."""
        self._channels: dict[int, Channel] = {}
        self._opening: dict[int, asyncio.Future[Channel]] = {}
        self._free_numbers: list[int] = []
        self._turns: deque[Channel] = deque()

    def __len__(self) -> int:
        return len(self._channels)

    @property
    def connections(self) -> int:
        """Those that are connections, one way or the other, and no sessions."""
        return sum(channel.peername[1] != 0 for channel in self._channels.values())

    # -- for the connection ----------------------------------------------------------------------------------------

    async def open(
        self, kind: str, protocol: asyncio.BaseProtocol, fields: bytes, peername: tuple[str, int]
    ) -> Channel:
        """Open a channel; one round trip. OSError when the pod can't."""
        if self.ended:
            raise ConnectionAbortedError("the tunnel is closed")
        opening = self._start_opening(kind, protocol, fields, peername)
        try:
            return await opening
        except asyncio.CancelledError:
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                opening.result().abort()
            raise

    def open_session(self) -> None:
        """Open a session, and leave it idle: only with one sshd sets TCP_NODELAY on its side of the stream.

        Without it a small answer waits for the acknowledgement of the one before it, up to 40 ms. The subsystem is the
        one thing that the pod's sshd starts for anybody.
        """
        self._start_opening("session", _Idle(), b"", ("session", 0)).add_done_callback(_log_failure)

    def set_clear(self, *, clear: bool) -> None:
        """Let data go, or hold it back."""
        self.clear = clear
        if clear and self._turns:
            self.loop.call_soon(self._take_turns)

    def data(self, packet: bytes) -> None:
        """Take a packet of CHANNEL_DATA."""
        number = int.from_bytes(packet[2:6])
        count = int.from_bytes(packet[6:10])
        if count > len(packet) - 10 - packet[0]:
            raise BadPacket("a data message that ends too early")
        channel = self._channels[number]
        try:
            channel.received(packet[10 : 10 + count])
        except windows.Overrun:
            raise
        except Exception as error:  # noqa: BLE001  # as asyncio does: one protocol's bug ends its own connection
            self._blame(channel, error)

    def about(self, number: int, reader: Reader) -> None:
        """Take any other message about one channel."""
        channel = self._channels[reader.number()]
        try:
            HANDLERS[number](channel, reader)
        except (windows.Overrun, ValueError):
            raise
        except Exception as error:  # noqa: BLE001  # as above
            self._blame(channel, error)

    def confirmed(self, reader: Reader) -> None:
        """Note that the peer has opened a channel for us."""
        number, peer, window, packet = reader.number(), reader.number(), reader.number(), reader.number()
        opening = self._opening.pop(number)
        channel = self._channels[number]
        self.opened += 1
        if opening.cancelled():
            channel.set_protocol(asyncio.Protocol())
            channel.opened(peer, window, packet)
            channel.abort()
            return
        try:
            channel.opened(peer, window, packet)
        except Exception as error:  # noqa: BLE001  # it is the caller's, who gets it
            opening.set_exception(error)
            channel.abort()
            return
        opening.set_result(channel)

    def failed(self, reader: Reader) -> None:
        """Note that the peer can't open a channel for us."""
        number, code, text = reader.number(), reader.number(), reader.text()
        opening = self._opening.pop(number)
        channel = self._channels[number]
        self.forget(channel)
        if not opening.cancelled():
            opening.set_exception(failures.open_failed(code, text, channel.peername))

    def offered(self, reader: Reader) -> None:
        """Take a channel that the peer wants to open: a connection made in the pod, for whoever listens."""
        kind, peer, window, packet = reader.text(), reader.number(), reader.number(), reader.number()
        if kind != "forwarded-tcpip":
            self.send(messages.open_failure(peer, messages.UNKNOWN_TYPE, "not here"))
            return
        opening = Opening.parse(peer, window, packet, reader)
        on_channel = self.listeners.get((opening.address, opening.port))
        if on_channel is None:
            self.refuse(opening, "nobody listens")
            return
        incoming = Incoming(self, opening)
        try:
            on_channel(incoming)
        except Exception as error:  # noqa: BLE001  # as above
            self.loop.call_exception_handler({"message": "a listener in the pod failed", "exception": error})
            incoming.refuse("the listener failed")

    def end(self, reason: str) -> None:
        """End all: the connection is gone."""
        self.ended = True
        self.clear = False
        self._turns.clear()
        lost = ConnectionResetError(reason)
        openings, self._opening = self._opening, {}
        for number, opening in openings.items():
            del self._channels[number]
            if not opening.done():
                opening.set_exception(lost)
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.connection_ended(lost)

    # -- for channels (`channel.Mux`) ------------------------------------------------------------------------------

    def send_data(self, peer: int, data: bytes | bytearray | memoryview) -> None:
        """Send data; only while ``clear``."""
        packets = self._packets
        packets.seal_data(peer, data)
        if len(packets.out) > FRAME:
            self._link.flush()

    def wait_turn(self, channel: Channel) -> None:
        """Have ``channel`` send when the ones before it have sent their packet."""
        channel.waits_turn = True
        self._turns.append(channel)
        if self.clear and len(self._turns) == 1:
            self.loop.call_soon(self._take_turns)

    def forget(self, channel: Channel) -> None:
        """Free the channel's number."""
        if self._channels.pop(channel.number, None) is not None:
            self._free_numbers.append(channel.number)

    def window_size(self) -> int:
        """Return the receive window for a channel now."""
        return windows.window_size(self._link.wanted_on_the_way(), channels=len(self._channels))

    def in_flight(self) -> int:
        """Return the bytes that a channel may have on the way."""
        return self._link.wanted_on_the_way()

    # -- for Incoming ----------------------------------------------------------------------------------------------

    def accept(self, opening: Opening, protocol: asyncio.BaseProtocol) -> Channel | None:
        """Confirm a channel that the pod opens."""
        if self.ended:
            return None
        channel = self._new_channel(protocol)
        channel.peername = opening.originator
        self.send(messages.open_confirmation(opening.peer, channel.number, channel.receive_window))
        self.opened += 1
        channel.opened(opening.peer, opening.window, opening.packet)
        return channel

    def refuse(self, opening: Opening, reason: str) -> None:
        """Turn down a channel that the pod opens."""
        if not self.ended:
            self.send(messages.open_failure(opening.peer, messages.CONNECT_FAILED, reason))

    # -- inside ----------------------------------------------------------------------------------------------------

    def _new_channel(self, protocol: asyncio.BaseProtocol) -> Channel:
        number = self._free_numbers.pop() if self._free_numbers else len(self._channels)
        channel = Channel(self, number, protocol)
        self._channels[number] = channel
        return channel

    def _start_opening(
        self, kind: str, protocol: asyncio.BaseProtocol, fields: bytes, peername: tuple[str, int]
    ) -> asyncio.Future[Channel]:
        channel = self._new_channel(protocol)
        channel.peername = peername
        future: asyncio.Future[Channel] = self.loop.create_future()
        self._opening[channel.number] = future
        self.send(messages.channel_open(kind, channel.number, channel.receive_window, fields))
        return future

    def _take_turns(self) -> None:
        """Let channels that wait send a packet each, in turn, until one frame is full."""
        turns = self._turns
        room = FRAME
        while turns and self.clear and room > 0:
            channel = turns.popleft()
            channel.waits_turn = False
            room -= messages.MAX_PACKET
            channel.send_queued(messages.MAX_PACKET)
        self._link.flush()
        if turns and self.clear:
            self.loop.call_soon(self._take_turns)  # after what has come meanwhile was read

    def _blame(self, channel: Channel, error: Exception) -> None:
        self.loop.call_exception_handler(
            {"message": "a protocol on a channel failed", "exception": error, "transport": channel}
        )
        channel.abort()


class _Idle(asyncio.Protocol):
    """The session that is opened and left."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Channel)
        transport.request("subsystem", messages.string("sftp"))

    def eof_received(self) -> bool:
        return True


def _log_failure(opening: asyncio.Future[Channel]) -> None:
    if not opening.cancelled() and (error := opening.exception()) is not None:
        log.debug("no session, so small answers may be slow: %s", error)


def _extended_data(channel: Channel, reader: Reader) -> None:
    """Drop what a program in the pod complains about."""
    reader.number()
    channel.discard(len(reader.string()))


def _channel_request(channel: Channel, reader: Reader) -> None:
    reader.string()
    if reader.flag():
        channel.refuse_request()


HANDLERS: dict[int, Callable[[Channel, Reader], object]] = {
    messages.WINDOW_ADJUST: lambda channel, reader: channel.granted(reader.number()),
    messages.CHANNEL_EXTENDED_DATA: _extended_data,
    messages.CHANNEL_EOF: lambda channel, _: channel.received_eof(),
    messages.CHANNEL_CLOSE: lambda channel, _: channel.received_close(),
    messages.CHANNEL_REQUEST: _channel_request,
    messages.CHANNEL_SUCCESS: lambda *_: None,
    messages.CHANNEL_FAILURE: lambda *_: None,
}
"""What a message about one channel does to it."""

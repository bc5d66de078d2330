"""The SSH connection to the pod's sshd: all its channels on one stream, owned by the event loop.

What comes from the stream is taken apart and handed to channels within the same call; what goes out gathers until the
end of the loop's turn and leaves as one frame. There is no thread, no lock and no task in the data path.

Who sends when? Control messages at once. Data at once too, while keys are good and the stream takes more; otherwise it
waits in its channel, and channels that wait take turns of one packet each. So a bulk copy delays a small request by a
packet of each other channel, not by all that is queued.

    Connection --- Packets      bytes <-> packets, the cipher
        |     `--- KeyExchange  keys, at first and again (paramiko)
        `-- Channel ...         asyncio transports
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

import paramiko

from bridge.errors import TunnelError
from bridge.tunnel import failures
from bridge.tunnel import ssh_messages as messages
from bridge.tunnel.channel import Channel
from bridge.tunnel.keyexchange import KeyExchange
from bridge.tunnel.packets import BadPacket, Packets
from bridge.tunnel.ssh_messages import Opening, Reader
from bridge.tunnel.stream import PortForward, StreamError, open_stream
from bridge.tunnel.windows import Overrun, in_flight, window_size

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bridge.plan.endpoint import Endpoint
    from bridge.tunnel.keys import SessionKeys
    from bridge.tunnel.stream import Stream

log = logging.getLogger(__name__)

USER = "bridge"
ANY_ADDRESS = "0.0.0.0"  # noqa: S104  # in the pod: the Service's traffic comes to its address
FRAME = 128 * 1024
"""Data is put into one frame up to here; then the stream gets it, even before the turn ends."""
PING = "keepalive@openssh.com"

P = TypeVar("P", bound=asyncio.BaseProtocol)


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What a connection has done so far. Bytes are those on the stream; round trips are in seconds."""

    bytes_in: int
    bytes_out: int
    channels: int
    channels_opened: int
    key_exchanges: int
    round_trip: float
    shortest_round_trip: float


class Incoming:
    """A connection made in the pod, waiting to be taken. Nothing of it is read in the pod until then."""

    def __init__(self, connection: Connection, opening: Opening) -> None:
        self._connection = connection
        self._opening = opening
        self.originator = opening.originator
        """Who connected: address and port, as the pod sees it."""
        self._settled = False

    def accept(self, protocol: asyncio.BaseProtocol) -> Channel | None:
        """Take it; ``protocol`` gets connection_made at once. None when the connection has ended meanwhile."""
        assert not self._settled
        self._settled = True
        return self._connection.accept(self._opening, protocol)

    def refuse(self, reason: str) -> None:
        """Turn it down: who connected sees it closed."""
        if not self._settled:
            self._settled = True
            self._connection.refuse(self._opening, reason)


class Connection:
    """An SSH connection. Everything but the constructor runs on its loop; `connect` makes one that is ready."""

    def __init__(self, keys: SessionKeys, *, headroom: int, user: str = USER) -> None:
        self.loop = asyncio.get_running_loop()
        self.packets = Packets(headroom=headroom, wake=self._wake)
        self._user = user
        self._client_key = paramiko.Ed25519Key.from_private_key(io.StringIO(keys.client_private))
        self._keys = KeyExchange(self.packets, host_key=_blob(keys.host_public), on_keys=self._have_keys)
        self.ready: asyncio.Future[None] = self.loop.create_future()
        self.closed: asyncio.Future[TunnelError | None] = self.loop.create_future()
        """Resolves to why the connection ended; None when we closed it."""
        self.clear = False
        self._stream: Stream | None = None
        self._stream_full = False
        self._banner: bytearray | None = bytearray()
        self._held: list[bytes] = []
        self._channels: dict[int, Channel] = {}
        self._opening: dict[int, asyncio.Future[Channel]] = {}
        self._free_numbers: list[int] = []
        self._turns: deque[Channel] = deque()
        self._replies: deque[asyncio.Future[Reader]] = deque()
        self._listeners: dict[tuple[str, int], Callable[[Incoming], object]] = {}
        self._note = ""
        self._bytes_in = self._bytes_out = self._opened = 0
        self._round_trip = self._shortest = 0.0
        self._asked = 0.0
        self._handlers = self._handler_table()

    # -- for everyone ----------------------------------------------------------------------------------------------

    async def create_connection(
        self, protocol_factory: Callable[[], P], host: str, port: int
    ) -> tuple[asyncio.Transport, P]:
        """Connect from the pod to ``host``, ``port``; one round trip. OSError of the kind that connect() has."""
        protocol = protocol_factory()
        channel = await self._open("direct-tcpip", protocol, messages.direct_tcpip(host, port), (host, port))
        return channel, protocol

    async def listen(self, port: int, on_channel: Callable[[Incoming], object]) -> None:
        """Accept connections to ``port`` in the pod; each is given to ``on_channel``. TunnelError when refused."""
        self._listeners[ANY_ADDRESS, port] = on_channel
        self._note = ""
        try:
            await self._request(messages.tcpip_forward(ANY_ADDRESS, port))
        except failures.Refused:
            del self._listeners[ANY_ADDRESS, port]
            raise failures.cannot_listen(port, self._note) from None

    async def unlisten(self, port: int) -> None:
        """Accept no more connections to ``port``."""
        if self._listeners.pop((ANY_ADDRESS, port), None) is not None:
            await self._request(messages.cancel_tcpip_forward(ANY_ADDRESS, port))

    async def ping(self) -> float:
        """Have sshd answer through the data path; return the seconds that it took."""
        started = time.perf_counter()
        with contextlib.suppress(failures.Refused):  # sshd knows no such request and says so: an answer all the same
            await self._request(messages.global_request(PING))
        self._measured(time.perf_counter() - started)
        return self._round_trip

    @property
    def statistics(self) -> Statistics:
        """What was done so far."""
        return Statistics(
            bytes_in=self._bytes_in,
            bytes_out=self._bytes_out,
            channels=len(self._channels),
            channels_opened=self._opened,
            key_exchanges=self._keys.exchanges,
            round_trip=self._round_trip,
            shortest_round_trip=self._shortest,
        )

    def close(self) -> None:
        """Say goodbye and close; channels that are open are lost. May be called twice."""
        if self._stream is not None and not self.closed.done():
            if self._keys.sending:
                self.packets.seal(messages.disconnect("the session ends"))
            self._flush()
            self._stream.close()
            self._end(None)

    def abort(self) -> None:
        """Close without a word."""
        if self._stream is not None:
            self._stream.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        await self.closed

    # -- for the stream --------------------------------------------------------------------------------------------

    def begin(self, stream: Stream) -> None:
        """Start SSH on ``stream``; `ready` resolves or fails."""
        self._stream = stream
        self._keys.begin()

    def stream_received(self, data: memoryview) -> None:
        """Take bytes apart and act on them."""
        if self.closed.done():
            return
        self._bytes_in += len(data)
        try:
            if self._banner is not None:
                data = self._read_banner(self._banner, data)
            for packet in self.packets.feed(data):
                if packet[1] == messages.CHANNEL_DATA:
                    self._channel_data(packet)
                else:
                    self._dispatch(packet)
        except Exception as error:  # whatever a peer's bytes provoke ends this connection, and says so
            log.debug("what sshd sent", exc_info=True)
            self._fail(failures.broken(error))

    def pause_writing(self) -> None:
        """Hold data back: the stream is full."""
        self._stream_full = True
        self.clear = False

    def resume_writing(self) -> None:
        """Let data go."""
        self._stream_full = False
        self._update_clear()

    def stream_lost(self, error: StreamError | None) -> None:
        """End, with the stream."""
        self._stream = None
        self._end(error or TunnelError("the stream was closed"))

    # -- for channels (`channel.Mux`) ------------------------------------------------------------------------------

    def send(self, message: bytes) -> None:
        """Send a message, after a key exchange if one is under way."""
        if self._keys.sending:
            self.packets.seal(message)
        else:
            self._held.append(message)

    def send_data(self, peer: int, data: bytes | bytearray | memoryview) -> None:
        """Send data; only while `clear`."""
        packets = self.packets
        packets.seal_data(peer, data)
        if len(packets.out) > FRAME:
            self._flush()

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
        return window_size(round_trip=self._shortest, channels=len(self._channels))

    def in_flight(self) -> int:
        """Return the bytes that a channel may have on the way."""
        return in_flight(round_trip=self._shortest)

    # -- for Incoming ----------------------------------------------------------------------------------------------

    def accept(self, opening: Opening, protocol: asyncio.BaseProtocol) -> Channel | None:
        """Confirm a channel that the pod opens."""
        if self.closed.done():
            return None
        channel = self._new_channel(protocol)
        channel.peername = opening.originator
        self.send(messages.open_confirmation(opening.peer, channel.number, channel.receive_window))
        self._opened += 1
        channel.opened(opening.peer, opening.window, opening.packet)
        return channel

    def refuse(self, opening: Opening, reason: str) -> None:
        """Turn down a channel that the pod opens."""
        if not self.closed.done():
            self.send(messages.open_failure(opening.peer, messages.CONNECT_FAILED, reason))

    # -- out -------------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Give the stream what has gathered."""
        if self.packets.waiting and self._stream is not None:
            frame = self.packets.take()
            self._bytes_out += len(frame)
            self._stream.send(frame)
        if self.packets.worn:
            self.clear = False
            self._keys.again()

    def _take_turns(self) -> None:
        """Let channels that wait send a packet each, in turn, until one frame is full."""
        turns = self._turns
        room = FRAME
        while turns and self.clear and room > 0:
            channel = turns.popleft()
            channel.waits_turn = False
            room -= messages.MAX_PACKET
            channel.send_queued(messages.MAX_PACKET)
        self._flush()
        if turns and self.clear:
            self.loop.call_soon(self._take_turns)  # after what has come meanwhile was read

    def _update_clear(self) -> None:
        self.clear = self._keys.sending and not self._stream_full and self.ready.done()
        if self.clear and self._turns:
            self.loop.call_soon(self._take_turns)

    # -- in --------------------------------------------------------------------------------------------------------

    def _read_banner(self, banner: bytearray, data: memoryview) -> memoryview:
        """Take sshd's version line, the first that begins with ``SSH-`` (RFC 4253, 4.2); give what follows it."""
        banner += data
        while b"\n" in banner:
            line, _, rest = bytes(banner).partition(b"\n")
            if line.startswith(b"SSH-"):
                self._keys.remote_version = line.rstrip(b"\r").decode(errors="replace")
                self._banner = None
                return memoryview(rest)
            banner[:] = rest
        if len(banner) > 64 * 1024:
            raise BadPacket("what answers on sshd's port does not speak SSH")
        return memoryview(b"")

    def _channel_data(self, packet: bytes) -> None:
        number = int.from_bytes(packet[2:6])
        count = int.from_bytes(packet[6:10])
        if count > len(packet) - 10 - packet[0]:
            raise BadPacket("a data message that ends too early")
        channel = self._channels[number]
        try:
            channel.received(packet[10 : 10 + count])
        except Overrun:
            raise
        except Exception as error:  # noqa: BLE001  # as asyncio does: one protocol's bug ends its own connection
            self._blame(channel, error)

    def _dispatch(self, packet: bytes) -> None:
        number = packet[1]
        if self._keys.handles(number):
            self._keys.handle(number, packet[2 : len(packet) - packet[0]], self.packets.packets_in - 1)
            self._update_clear()
            return
        reader = Reader(packet)
        if number in _CHANNEL_HANDLERS:
            channel = self._channels[reader.number()]
            try:
                _CHANNEL_HANDLERS[number](channel, reader)
            except (Overrun, ValueError):
                raise
            except Exception as error:  # noqa: BLE001  # as above
                self._blame(channel, error)
        elif number in self._handlers:
            self._handlers[number](reader)
        else:
            self.send(messages.unimplemented(self.packets.packets_in - 1))

    def _handler_table(self) -> dict[int, Callable[[Reader], object]]:
        return {
            messages.DISCONNECT: self._on_disconnect,
            messages.IGNORE: _nothing,
            messages.UNIMPLEMENTED: _nothing,
            messages.DEBUG: self._on_debug,
            messages.EXT_INFO: _nothing,
            messages.SERVICE_ACCEPT: self._on_service_accept,
            messages.USERAUTH_BANNER: _nothing,
            messages.USERAUTH_SUCCESS: self._on_auth_success,
            messages.USERAUTH_FAILURE: self._on_auth_failure,
            messages.GLOBAL_REQUEST: self._on_global_request,
            messages.REQUEST_SUCCESS: self._on_request_success,
            messages.REQUEST_FAILURE: self._on_request_failure,
            messages.CHANNEL_OPEN: self._on_open,
            messages.OPEN_CONFIRMATION: self._on_open_confirmation,
            messages.OPEN_FAILURE: self._on_open_failure,
        }

    def _blame(self, channel: Channel, error: Exception) -> None:
        self.loop.call_exception_handler(
            {"message": "a protocol on a channel failed", "exception": error, "transport": channel}
        )
        channel.abort()

    # -- keys and authentication -----------------------------------------------------------------------------------

    def _have_keys(self) -> None:
        """Go on after a key exchange: prove who we are after the first, send what waited after the others."""
        if not self.ready.done():
            self._asked = time.perf_counter()
            self.packets.seal(messages.service_request("ssh-userauth"))
            self.packets.seal(self._keys.auth_request(self._user, self._client_key))
            return
        held, self._held = self._held, []
        for message in held:
            self.packets.seal(message)
        self._update_clear()

    def _on_service_accept(self, _: Reader) -> None:
        """Send anything at all: it carries the acknowledgement that sshd's next answer waits for (Nagle, 40 ms)."""
        self.packets.seal(messages.ignore())

    def _on_auth_success(self, _: Reader) -> None:
        if not self.ready.done():
            self._measured(time.perf_counter() - self._asked)
            self.ready.set_result(None)
            self._update_clear()
            self._open_terminal()

    def _on_auth_failure(self, _: Reader) -> None:
        raise TunnelError("the pod's sshd does not accept this session's key", hint=failures.OTHER_SESSION)

    def _open_terminal(self) -> None:
        """Open a session with a terminal, and leave it: only then sshd sets TCP_NODELAY on its side of the stream.

        Without it a small answer waits for the acknowledgement of the one before it, up to 40 ms.
        """
        opening = self._start_opening("session", _Terminal(), b"", ("terminal", 0))
        opening.add_done_callback(_log_failure)

    # -- channels --------------------------------------------------------------------------------------------------

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

    async def _open(
        self, kind: str, protocol: asyncio.BaseProtocol, fields: bytes, peername: tuple[str, int]
    ) -> Channel:
        if self.closed.done():
            raise ConnectionAbortedError("the tunnel is closed")
        opening = self._start_opening(kind, protocol, fields, peername)
        try:
            return await opening
        except asyncio.CancelledError:
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                opening.result().abort()
            raise

    def _on_open_confirmation(self, reader: Reader) -> None:
        number, peer, window, packet = reader.number(), reader.number(), reader.number(), reader.number()
        opening = self._opening.pop(number)
        channel = self._channels[number]
        self._opened += 1
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

    def _on_open_failure(self, reader: Reader) -> None:
        number, code, text = reader.number(), reader.number(), reader.text()
        opening = self._opening.pop(number)
        channel = self._channels[number]
        self.forget(channel)
        if not opening.cancelled():
            opening.set_exception(failures.open_failed(code, text, channel.peername))

    def _on_open(self, reader: Reader) -> None:
        kind, peer, window, packet = reader.text(), reader.number(), reader.number(), reader.number()
        if kind != "forwarded-tcpip":
            self.send(messages.open_failure(peer, messages.UNKNOWN_TYPE, "not here"))
            return
        opening = Opening.parse(peer, window, packet, reader)
        on_channel = self._listeners.get((opening.address, opening.port))
        if on_channel is None:
            self.refuse(opening, "nobody listens")
            return
        incoming = Incoming(self, opening)
        try:
            on_channel(incoming)
        except Exception as error:  # noqa: BLE001  # as above
            self.loop.call_exception_handler({"message": "a listener in the pod failed", "exception": error})
            incoming.refuse("the listener failed")

    # -- global requests -------------------------------------------------------------------------------------------

    def _request(self, message: bytes) -> Awaitable[Reader]:
        future: asyncio.Future[Reader] = self.loop.create_future()
        if self.closed.done():
            future.set_exception(self._gone())
        else:
            self._replies.append(future)
            self.send(message)
        return future

    def _on_request_success(self, reader: Reader) -> None:
        reply = self._replies.popleft()
        if not reply.done():
            reply.set_result(reader)

    def _on_request_failure(self, _: Reader) -> None:
        reply = self._replies.popleft()
        if not reply.done():
            reply.set_exception(failures.Refused())

    def _on_global_request(self, reader: Reader) -> None:
        reader.string()
        if reader.flag():
            self.send(messages.request_failure())

    def _on_debug(self, reader: Reader) -> None:
        reader.flag()
        self._note = reader.text()
        log.debug("sshd: %s", self._note)

    def _measured(self, seconds: float) -> None:
        self._round_trip = seconds
        self._shortest = min(self._shortest or seconds, seconds)

    # -- the end ---------------------------------------------------------------------------------------------------

    def _on_disconnect(self, reader: Reader) -> None:
        reader.number()
        raise TunnelError(f"the pod's sshd closed the connection: {reader.text()}")

    def _fail(self, error: TunnelError) -> None:
        if not self.closed.done():
            self.abort()
            self._end(error)

    def _gone(self) -> TunnelError:
        reason = self.closed.result() if self.closed.done() else None
        return reason or TunnelError("the tunnel is closed")

    def _end(self, reason: TunnelError | None) -> None:
        """Tell everyone who waits, once."""
        if self.closed.done():
            return
        self.closed.set_result(reason)
        self.clear = False
        self._keys.sending = False
        self._turns.clear()
        self._held.clear()
        if not self.ready.done():
            self.ready.set_exception(self._gone())
            self.ready.exception()  # nobody may be waiting
        for reply in self._replies:
            if not reply.done():
                reply.set_exception(self._gone())
        self._replies.clear()
        lost = ConnectionResetError(str(self._gone()))
        openings, self._opening = self._opening, {}
        for number, opening in openings.items():
            del self._channels[number]
            if not opening.done():
                opening.set_exception(lost)
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.connection_ended(lost)


class _Terminal(asyncio.Protocol):
    """The session that is opened and left."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Channel)
        transport.request("pty-req", messages.pty())
        transport.request("shell")

    def eof_received(self) -> bool:
        return True


def _nothing(_: Reader) -> None:
    """Ignore a message."""


def _log_failure(opening: asyncio.Future[Channel]) -> None:
    if not opening.cancelled() and (error := opening.exception()) is not None:
        log.debug("no terminal, so small answers may be slow: %s", error)


def _extended_data(channel: Channel, reader: Reader) -> None:
    """Drop what the terminal's program complains about."""
    reader.number()
    channel.discard(len(reader.string()))


def _channel_request(channel: Channel, reader: Reader) -> None:
    reader.string()
    if reader.flag():
        channel.refuse_request()


_CHANNEL_HANDLERS: dict[int, Callable[[Channel, Reader], object]] = {
    messages.WINDOW_ADJUST: lambda channel, reader: channel.granted(reader.number()),
    messages.CHANNEL_EXTENDED_DATA: _extended_data,
    messages.CHANNEL_EOF: lambda channel, _: channel.received_eof(),
    messages.CHANNEL_CLOSE: lambda channel, _: channel.received_close(),
    messages.CHANNEL_REQUEST: _channel_request,
    messages.CHANNEL_SUCCESS: lambda *_: None,
    messages.CHANNEL_FAILURE: lambda *_: None,
}


def _blob(public: str) -> bytes:
    """Take the key's bytes from an OpenSSH public key line."""
    return base64.b64decode(public.split()[1])


async def connect(endpoint: Endpoint, keys: SessionKeys, *, user: str = USER, within: float = 15.0) -> Connection:
    """Open a stream to the pod's sshd, and SSH on it. TunnelError says why not (`StreamError.passing`: try again?)."""
    connection = Connection(keys, headroom=PortForward.headroom, user=user)
    try:
        async with asyncio.timeout(within):
            connection.begin(await open_stream(endpoint, connection, within=within))
            await connection.ready
    except TimeoutError as error:
        raise StreamError(f"the pod's sshd did not answer within {within:g} s") from error
    finally:
        if not connection.ready.done() or connection.ready.cancelled():
            connection.abort()
    return connection

"""The SSH connection to the pod's sshd: all its channels on one stream, owned by the event loop.

What comes from the stream is taken apart and handed to channels within the same call; what goes out gathers until the
end of the loop's turn and leaves as one frame. There is no thread, no lock and no task in the data path.

    Connection --- Packets      bytes <-> packets, the cipher
        |     `--- KeyExchange  keys, at first and again (paramiko)
        `-- Channels            whose turn it is
              `-- Channel ...   asyncio transports
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import logging
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self, TypeVar

import paramiko

from bridge.errors import TunnelError
from bridge.tunnel import failures
from bridge.tunnel import ssh_messages as messages
from bridge.tunnel.channels import HANDLERS, Channels, Incoming
from bridge.tunnel.keyexchange import KeyExchange
from bridge.tunnel.packets import BadPacket, Packets
from bridge.tunnel.ssh_messages import Reader
from bridge.tunnel.stream import PortForward, StreamError, open_stream
from bridge.tunnel.windows import Pace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bridge.plan.endpoint import Endpoint
    from bridge.tunnel.keys import SessionKeys
    from bridge.tunnel.stream import Stream

log = logging.getLogger(__name__)

USER = "bridge"
ANY6, ANY4 = "::", "0.0.0.0"  # noqa: S104  # in the pod: the Service's traffic comes to its addresses
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

    def plus(self, other: Statistics) -> Statistics:
        """Add what another connection does beside this one. Round trips are this one's."""
        return replace(
            self,
            bytes_in=self.bytes_in + other.bytes_in,
            bytes_out=self.bytes_out + other.bytes_out,
            channels=self.channels + other.channels,
            channels_opened=self.channels_opened + other.channels_opened,
            key_exchanges=self.key_exchanges + other.key_exchanges,
        )

    def ended(self) -> Statistics:
        """What is left to count of a connection that is over: no channel is open."""
        return replace(self, channels=0)


class Connection:
    """An SSH connection. Everything but the constructor runs on its loop; `connect` makes one that is ready."""

    def __init__(self, keys: SessionKeys, *, headroom: int, user: str = USER) -> None:
        self.loop = asyncio.get_running_loop()
        self.packets = Packets(headroom=headroom, wake=lambda: self.loop.call_soon(self.flush))
        self._user = user
        self._client_key = paramiko.Ed25519Key.from_private_key(io.StringIO(keys.client_private))
        self._keys = KeyExchange(self.packets, host_key=_blob(keys.host_public), on_keys=self._have_keys)
        self.ready: asyncio.Future[None] = self.loop.create_future()
        self.closed: asyncio.Future[TunnelError | None] = self.loop.create_future()
        """Resolves to why the connection ended; None when we closed it."""
        self.shortest_round_trip = 0.0
        self._channels = Channels(self)
        self._stream: Stream | None = None
        self._stream_full = False
        self._banner: bytearray | None = bytearray()
        self._held: list[bytes] = []
        self._replies: deque[asyncio.Future[Reader]] = deque()
        self._note = ""
        self._bytes_in = self._bytes_out = 0
        self._pace = Pace()
        self._round_trip = 0.0
        self._asked = 0.0
        self._handlers = self._handler_table()

    # -- for everyone ----------------------------------------------------------------------------------------------

    async def create_connection(
        self, protocol_factory: Callable[[], P], host: str, port: int
    ) -> tuple[asyncio.Transport, P]:
        """Connect from the pod to ``host``, ``port``; one round trip. OSError of the kind that connect() has."""
        protocol = protocol_factory()
        channel = await self._channels.open("direct-tcpip", protocol, messages.direct_tcpip(host, port), (host, port))
        return channel, protocol

    async def open_sftp(self, protocol: asyncio.Protocol) -> None:
        """Start the pod's SFTP server, and join ``protocol`` to it; one round trip. OSError when the pod can't."""
        channel = await self._channels.open("session", protocol, b"", ("sftp", 0))
        channel.request("subsystem", messages.string("sftp"))

    async def listen(self, port: int, on_channel: Callable[[Incoming], object]) -> None:
        """Accept connections to ``port`` in the pod; each is given to ``on_channel``. TunnelError when refused.

        A pod may have no IPv6, so that may fail. RFC 4254, 7.1 has "" for both, but then one of them is enough for
        sshd, also where another container has the port at the other.
        """
        self._note = ""
        both = (self._listen_at(address, port, on_channel) for address in (ANY6, ANY4))
        _, listening = await asyncio.gather(*both)
        if not listening:
            note = self._note  # that of IPv4, which came last
            await self.unlisten(port)
            raise failures.cannot_listen(port, note)

    async def _listen_at(self, address: str, port: int, on_channel: Callable[[Incoming], object]) -> bool:
        self._channels.listeners[address, port] = on_channel
        try:
            await self._request(messages.tcpip_forward(address, port))
        except failures.Refused:
            del self._channels.listeners[address, port]
            return False
        return True

    async def unlisten(self, port: int) -> None:
        """Accept no more connections to ``port``."""
        listening = [address for address in (ANY6, ANY4) if self._channels.listeners.pop((address, port), None)]
        await asyncio.gather(*(self._request(messages.cancel_tcpip_forward(address, port)) for address in listening))

    async def ping(self) -> float:
        """Have sshd answer through the data path; return the seconds that it took."""
        started = time.perf_counter()
        with contextlib.suppress(failures.Refused):  # sshd knows no such request and says so: an answer all the same
            await self._request(messages.global_request(PING))
        self.measured(time.perf_counter() - started)
        return self._round_trip

    @property
    def statistics(self) -> Statistics:
        """What was done so far."""
        return Statistics(
            bytes_in=self._bytes_in,
            bytes_out=self._bytes_out,
            channels=len(self._channels),
            channels_opened=self._channels.opened,
            key_exchanges=self._keys.exchanges,
            round_trip=self._round_trip,
            shortest_round_trip=self.shortest_round_trip,
        )

    @property
    def connections(self) -> int:
        """How many are open now, to the pod's side and from it; the keeper's is one."""
        return self._channels.connections

    def close(self) -> None:
        """Say goodbye and close; channels that are open are lost. May be called twice."""
        if self._stream is not None and not self.closed.done():
            if self._keys.sending:
                self.packets.seal(messages.disconnect("the session ends"))
            self.flush()
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
                    self._channels.data(packet)
                else:
                    self._dispatch(packet)
        except Exception as error:  # whatever a peer's bytes provoke ends this connection, and says so
            log.debug("what sshd sent", exc_info=True)
            self._fail(failures.broken(error))

    def pause_writing(self) -> None:
        """Hold data back: the stream is full."""
        self._stream_full = True
        self._update_clear()

    def resume_writing(self) -> None:
        """Let data go."""
        self._stream_full = False
        self._update_clear()

    def stream_lost(self, error: StreamError | None) -> None:
        """End, with the stream."""
        self._stream = None
        self._end(error or TunnelError("the stream was closed"))

    # -- for channels (`channels.Link`) ----------------------------------------------------------------------------

    def send(self, message: bytes) -> None:
        """Send a message, after a key exchange if one is under way."""
        if self._keys.sending:
            self.packets.seal(message)
        else:
            self._held.append(message)

    def flush(self) -> None:
        """Give the stream what has gathered."""
        if self.packets.waiting and self._stream is not None:
            frame = self.packets.take()
            self._bytes_out += len(frame)
            self._stream.send(frame)
        if self.packets.worn:
            self._keys.again()
            self._update_clear()

    def wanted_on_the_way(self) -> int:
        """Return the bytes that a channel should have on the way now."""
        self._pace.look(self.loop.time(), self._bytes_in + self._bytes_out)
        return self._pace.wanted

    def _update_clear(self) -> None:
        self._channels.set_clear(clear=self._keys.sending and not self._stream_full and self.ready.done())

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

    def _dispatch(self, packet: bytes) -> None:
        number = packet[1]
        if self._keys.handles(number):
            self._keys.handle(number, packet[2 : len(packet) - packet[0]], self.packets.packets_in - 1)
            self._update_clear()
            return
        reader = Reader(packet)
        if number in HANDLERS:
            self._channels.about(number, reader)
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
            messages.CHANNEL_OPEN: self._channels.offered,
            messages.OPEN_CONFIRMATION: self._channels.confirmed,
            messages.OPEN_FAILURE: self._channels.failed,
        }

    # -- keys and authentication -----------------------------------------------------------------------------------

    def _have_keys(self) -> None:
        """Go on after a key exchange: prove who we are after the first, send what waited after the others."""
        if self._keys.exchanges == 1:
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
            self.measured(time.perf_counter() - self._asked)
            self.ready.set_result(None)
            self._update_clear()
            self._channels.open_session()

    def _on_auth_failure(self, _: Reader) -> None:
        raise TunnelError("the pod's sshd does not accept this session's key", hint=failures.OTHER_SESSION)

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

    def measured(self, seconds: float) -> None:
        """Note what a round trip to the pod has just taken (s), whoever has measured it; have the stream suit it."""
        self._round_trip = seconds
        self._pace.measured(seconds)
        if self._stream is not None:
            self._stream.keep_on_the_way(self._pace.wanted)
        self.shortest_round_trip = min(self.shortest_round_trip or seconds, seconds)

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
        self._keys.sending = False
        self._held.clear()
        if not self.ready.done():
            self.ready.set_exception(self._gone())
            self.ready.exception()  # nobody may be waiting
        for reply in self._replies:
            if not reply.done():
                reply.set_exception(self._gone())
        self._replies.clear()
        self._channels.end(str(self._gone()))


def _nothing(_: Reader) -> None:
    """Ignore a message."""


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
    except BaseException as error:  # cancelled, too, even in the moment in which it got ready
        connection.abort()
        if isinstance(error, TimeoutError):
            raise StreamError(f"the pod's sshd did not answer within {within:g} s") from error
        raise
    return connection

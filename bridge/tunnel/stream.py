"""A stream: one pipe of bytes to a port of the pod, through the API server.

A WebSocket carries it, in one of the kubelet's port-forward's two subprotocols (``subprotocols``).

Only our own sshd is at the other end: one reset inside a port-forward can kill the whole stream on some runtimes. A
stream is disposable; who is on it notices when it went silent and opens another.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Protocol

from picows import WSError, WSFrame, WSHandshakeError, WSListener, WSMsgType, WSTransport, ws_connect

from bridge.errors import TunnelError
from bridge.tunnel import sockets
from bridge.tunnel.subprotocols import HEADROOM, SUBPROTOCOLS, V4, Spdy

if TYPE_CHECKING:
    from bridge.plan.endpoint import Endpoint

log = logging.getLogger(__name__)

WEBSOCKET_HEADROOM = 14
"""picows writes a frame's header in front of its payload, in place."""
READ_BUFFER = 256 * 1024


class StreamError(TunnelError):
    """The stream could not be opened, or ended.

    ``status``: the API server's HTTP status, if that is what said no. ``passing``: whether trying again may help,
    because sshd or the pod isn't up yet, or the network failed.
    """

    def __init__(self, message: str, *, hint: str = "", status: int | None = None, passing: bool = True) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.passing = passing


class Receiver(Protocol):
    """Who is on a stream."""

    def stream_received(self, data: memoryview) -> None:
        """Take bytes. The view is valid during the call only."""

    def pause_writing(self) -> None:
        """Send no more than needed: the stream's buffer is full."""

    def resume_writing(self) -> None:
        """Send again."""

    def stream_lost(self, error: StreamError | None) -> None:
        """Note that the stream is gone; None when we closed it."""


class Stream(Protocol):
    """A pipe of bytes to the pod."""

    headroom: int
    """Bytes that `send` needs at the front of what it gets, for its framing."""

    def send(self, frame: bytearray) -> None:
        """Send what follows the headroom; takes the buffer over."""

    def keep_on_the_way(self, size: int) -> None:
        """Take ``size`` for the bytes that are to be on the way at once; to be called again when that changes."""

    def close(self) -> None:
        """Close after what was sent."""

    def abort(self) -> None:
        """Close now."""


class PortForward(WSListener):
    """A `Stream`: the WebSocket's listener. To be used when it is ``ready``."""

    headroom = WEBSOCKET_HEADROOM + HEADROOM

    def __init__(self, receiver: Receiver, port: int) -> None:
        self._receiver = receiver
        self._port = port
        self._transport: WSTransport | None = None
        self._subprotocol: Spdy | V4 = V4(port)
        self._reason = ""
        self._closing = False
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Resolves when bytes may be sent; StreamError when it has ended before."""

    # -- Stream ----------------------------------------------------------------------------------------------------

    def send(self, frame: bytearray) -> None:
        """Send what follows the headroom as one message."""
        if self._transport is not None:
            begin = self._subprotocol.wrap(frame, self.headroom)
            self._transport.send_reuse_external_bytearray(WSMsgType.BINARY, frame, begin)

    def keep_on_the_way(self, size: int) -> None:
        """Have the kernel queue what suits that."""
        if self._transport is not None:
            sockets.keep_kernel_queue_short(self._transport.underlying_transport, size)

    def close(self) -> None:
        """Say goodbye, and close after what was sent."""
        self._closing = True
        if self._transport is not None:
            self._transport.send_close()
            self._transport.disconnect()

    def abort(self) -> None:
        """Close now."""
        self._closing = True
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    # -- WSListener ------------------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Begin. picows has set TCP_NODELAY."""
        self._transport = transport
        sockets.keep_kernel_queue_short(transport.underlying_transport)
        chosen = transport.response.headers.get("Sec-WebSocket-Protocol", "")
        self._subprotocol = SUBPROTOCOLS.get(chosen, V4)(self._port)
        self._go_on(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take a message, or a part of one."""
        begins = frame.msg_type == WSMsgType.BINARY
        if not begins and frame.msg_type != WSMsgType.CONTINUATION:
            self._control_frame(transport, frame)
            return
        subprotocol = self._subprotocol
        for data in subprotocol.unwrap(frame.get_payload_as_memoryview(), begins=begins):
            self._receiver.stream_received(data)
        if subprotocol.answers or subprotocol.ended or not self.ready.done():
            self._go_on(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002  # picows calls it so
        """End."""
        self._transport = None
        error = None if self._closing else StreamError(_ended(self._subprotocol.reason or self._reason))
        if not self.ready.done():
            self.ready.set_exception(error or StreamError(_ended("")))
            self.ready.exception()  # nobody may be waiting
        self._receiver.stream_lost(error)

    def pause_writing(self) -> None:
        """Pass it on."""
        self._receiver.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._receiver.resume_writing()

    def _go_on(self, transport: WSTransport) -> None:
        """Do what the subprotocol is up to beside the bytes."""
        subprotocol = self._subprotocol
        if subprotocol.answers:
            transport.send(WSMsgType.BINARY, subprotocol.answers)
            subprotocol.answers = b""
        if subprotocol.ended:
            transport.disconnect(graceful=False)
        elif subprotocol.ready and not self.ready.done():
            self.ready.set_result(None)

    def _control_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            self._reason = self._reason or frame.get_close_reason() or ""
            transport.send_close(frame.get_close_code())
            transport.disconnect()


async def open_stream(endpoint: Endpoint, receiver: Receiver, *, within: float = 10.0) -> PortForward:
    """Open a stream to ``endpoint`` for ``receiver``. StreamError when the API server says no, or nobody answers."""
    listener = PortForward(receiver, endpoint.port)
    try:
        async with asyncio.timeout(within):
            await ws_connect(
                lambda: listener,
                endpoint.url,
                ssl_context=endpoint.ssl,
                extra_headers=[*endpoint.headers.items(), ("Sec-WebSocket-Protocol", ", ".join(SUBPROTOCOLS))],
                proxy=endpoint.proxy,
                max_redirects=0,
                websocket_handshake_timeout=within,
                read_buffer_init_size=READ_BUFFER,
                server_hostname=endpoint.server_hostname,
            )
            await listener.ready
    except WSHandshakeError as error:
        raise _refused(error) from error
    except asyncio.CancelledError:
        listener.abort()  # it may have been connected in this very turn
        raise
    except TimeoutError as error:
        listener.abort()
        raise StreamError(f"the API server did not open the port-forward within {within:g} s") from error
    except (OSError, WSError) as error:
        distrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)  # picows's TLS has no class for it
        raise StreamError(f"the port-forward could not be opened: {error}", passing=not distrusted) from error
    return listener


def _refused(error: WSHandshakeError) -> StreamError:
    """Say what an API server's answer to the upgrade means; its body is a Status object, or text."""
    status = int(error.response.status) if error.response is not None else None
    text = _status_message(error.raw_body or b"") or str(error)
    hints = {
        401: "The cluster does not accept these credentials (any more): log in again.",
        403: "Ask for the verb `create` on `pods/portforward` (some clusters: `get` too) in this namespace.",
    }
    message = f"the API server refused the port-forward{f' ({status})' if status else ''}: {text}"
    passing = status is None or status == 404 or status >= 500
    return StreamError(message, hint=hints.get(status or 0, ""), status=status, passing=passing)


def _status_message(body: bytes) -> str:
    try:
        message = json.loads(body).get("message", "")
    except (ValueError, AttributeError):
        return body.decode(errors="replace").strip()[:500]
    return str(message)


def _ended(reason: str) -> str:
    return f"the port-forward ended: {reason.strip()}" if reason.strip() else "the port-forward was cut"

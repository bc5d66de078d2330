"""A stream: one pipe of bytes to a port of the pod, through the API server.

A WebSocket carries it, in the subprotocol ``v4.channel.k8s.io`` of the kubelet's port-forward. Each frame is binary and
begins with the number of its channel; for one forwarded port there are two:

    0   the bytes, both ways
    1   from the kubelet: why the connection to the port failed or ended

On each the kubelet first sends the port's number in two bytes, little endian. (The source of truth is Kubernetes'
``pkg/kubelet/.../portforward/websocket.go``; clients: ``kubernetes.stream.ws_client``.) The newer tunnelled form,
``SPDY/3.1+portforward.k8s.io``, would put SPDY's framing and its small windows on top.

Only our own sshd is at the other end: one reset inside a port-forward can kill the whole stream on some runtimes. A
stream is disposable; who is on it notices when it went silent and opens another.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from typing import TYPE_CHECKING, Protocol

from picows import WSError, WSFrame, WSHandshakeError, WSListener, WSMsgType, WSTransport, ws_connect

from bridge.errors import TunnelError

if TYPE_CHECKING:
    from bridge.plan.endpoint import Endpoint

log = logging.getLogger(__name__)

SUBPROTOCOL = "v4.channel.k8s.io"
WEBSOCKET_HEADROOM = 14
"""picows writes a frame's header in front of its payload, in place."""
DATA, ERROR = 0, 1
READ_BUFFER = 256 * 1024
UNSENT = 128 * 1024
"""How much the kernel queues before it says stop. What waits in the kernel can't be overtaken by a small request."""


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

    def close(self) -> None:
        """Close after what was sent."""

    def abort(self) -> None:
        """Close now."""


class PortForward(WSListener):
    """A `Stream`: the WebSocket's listener."""

    headroom = WEBSOCKET_HEADROOM + 1

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._transport: WSTransport | None = None
        self._announced: set[int] = set()
        self._reason = ""
        self._closing = False

    # -- Stream ----------------------------------------------------------------------------------------------------

    def send(self, frame: bytearray) -> None:
        """Send what follows the headroom as one frame on the data channel."""
        if self._transport is not None:
            frame[WEBSOCKET_HEADROOM] = DATA
            self._transport.send_reuse_external_bytearray(WSMsgType.BINARY, frame, WEBSOCKET_HEADROOM)

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
        """Begin."""
        self._transport = transport
        keep_kernel_queue_short(transport.underlying_transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take one frame."""
        if frame.msg_type != WSMsgType.BINARY:
            self._control_frame(transport, frame)
            return
        data = frame.get_payload_as_memoryview()
        if not len(data):
            return
        channel = data[0]
        if channel == DATA and DATA in self._announced:
            self._receiver.stream_received(data[1:])
        elif channel not in self._announced:
            self._announced.add(channel)  # the two bytes of the port's number say nothing new
        elif channel == ERROR:
            self._reason += bytes(data[1:]).decode(errors="replace")
            transport.disconnect(graceful=False)

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002  # picows calls it so
        """End."""
        self._transport = None
        error = None if self._closing else StreamError(_ended(self._reason))
        self._receiver.stream_lost(error)

    def pause_writing(self) -> None:
        """Pass it on."""
        self._receiver.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._receiver.resume_writing()

    def _control_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            self._reason = self._reason or frame.get_close_reason() or ""
            transport.send_close(frame.get_close_code())
            transport.disconnect()


async def open_stream(endpoint: Endpoint, receiver: Receiver, *, within: float = 10.0) -> PortForward:
    """Open a stream to ``endpoint`` for ``receiver``. StreamError when the API server says no, or nobody answers."""
    listener = PortForward(receiver)
    try:
        async with asyncio.timeout(within):
            await ws_connect(
                lambda: listener,
                endpoint.url,
                ssl_context=endpoint.ssl,
                extra_headers=[*endpoint.headers.items(), ("Sec-WebSocket-Protocol", SUBPROTOCOL)],
                proxy=endpoint.proxy,
                max_redirects=0,
                websocket_handshake_timeout=within,
                read_buffer_init_size=READ_BUFFER,
                server_hostname=endpoint.server_hostname,
            )
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


def keep_kernel_queue_short(transport: asyncio.BaseTransport) -> None:
    """Have the kernel say early that a connection is full, and send at once what it has."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)

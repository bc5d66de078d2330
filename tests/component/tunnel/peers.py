"""The tunnel's real peers on loopback: OpenSSH's sshd, and a server that speaks the kubelet's port-forward.

sshd runs unprivileged, as in the pod. The port-forward server is ours (picows), because the real one needs a cluster;
the end-to-end tests use that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import socket
import subprocess
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeResponse, WSUpgradeResponseWithListener
from picows import ws_create_server as create_websocket_server

from bridge.plan.endpoint import Endpoint
from bridge.tunnel import sockets
from bridge.tunnel.keys import SessionKeys, make_session_keys
from bridge.tunnel.stream import StreamError
from tests.component.proxy import free_ports

from .forwarding import V4, Spdy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@dataclass(frozen=True, kw_only=True)
class Sshd:
    port: int
    user: str
    keys: SessionKeys
    process: subprocess.Popen[bytes]
    log: Path


def free_port() -> int:
    return free_ports(1)[0]


@contextmanager
def running_sshd(directory: Path, *options: str, keys: SessionKeys | None = None) -> Iterator[Sshd]:
    """sshd with this session's keys, as whoever runs the tests."""
    assert SSHD, "these tests need OpenSSH's sshd (Debian: openssh-server)"
    keys = keys or make_session_keys()
    name = pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd as root insists on it
    port = free_port()
    directory.mkdir(exist_ok=True, parents=True)
    host_key, authorized = directory / "host_key", directory / "authorized_keys"
    host_key.write_text(keys.host_private)
    host_key.chmod(0o600)
    authorized.write_text(keys.client_public + "\n")
    config = directory / "sshd_config"
    own = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {host_key}",
        f"AuthorizedKeysFile {authorized}",
        "PidFile none",
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "AllowTcpForwarding yes",
        "GatewayPorts clientspecified",
        "PermitOpen any",
        "Ciphers aes128-gcm@openssh.com",
        "ForceCommand internal-sftp",
        "Subsystem sftp internal-sftp",
        "MaxStartups 100",
        "LogLevel VERBOSE",
        "UseDNS no",
    ]
    config.write_text("\n".join([*options, *own]) + "\n")  # sshd takes the first of each
    log = directory / "sshd.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(config)],
            stderr=output,
            start_new_session=True,
            cwd="/",
        )
        try:
            wait_for_port(port, process)
            yield Sshd(port=port, user=name, keys=keys, process=process, log=log)
        finally:
            process.terminate()
            process.wait(10)


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until something listens: connect() itself is the wait, and the process's death its end."""
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as sock:
            sock.recv(1)
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
    raise AssertionError("sshd ended")


class _Forwarded(asyncio.Protocol):
    """The kubelet's connection to the port."""

    def __init__(self, websocket: WSTransport, wire: Spdy | V4) -> None:
        self.websocket = websocket
        self.wire = wire
        self.transport = None

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), 32 * 1024):
            self.wire.give(data[start : start + 32 * 1024])

    def connection_lost(self, error: Exception | None) -> None:
        self.websocket.disconnect()


class _PortForward(WSListener):
    def __init__(self, server: PortForwardServer) -> None:
        self.server = server
        self.forwarded: _Forwarded | None = None
        self.early: list[bytes] = []
        self.begun = self.lost = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.server.websockets.add(transport)
        self.wire = self.server.wire(transport, self.server.port)
        self._begin(transport)

    def _begin(self, transport: WSTransport) -> None:
        if self.wire.begun and not self.begun:
            self.begun = True
            self.server.start(self._forward(transport))

    async def _forward(self, transport: WSTransport) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, self.forwarded = await loop.create_connection(
                lambda: _Forwarded(transport, self.wire), "127.0.0.1", self.server.port
            )
        except OSError as error:
            self.wire.fail(f"error forwarding port: {error}")
            return
        if self.lost:  # meanwhile: nobody else would close it
            self.forwarded.transport.abort()
            return
        for data in self.early:
            self.forwarded.transport.write(data)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.BINARY:
            transport.disconnect()
            return
        data = self.wire.take(frame.get_payload_as_bytes())
        self._begin(transport)
        if self.server.silent or not data:
            return
        if self.forwarded is None:
            self.early.append(data)
        else:
            self.forwarded.transport.write(data)
            size = self.forwarded.transport.get_write_buffer_size()
            self.server.most_buffered = max(self.server.most_buffered, size)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.server.websockets.discard(transport)
        self.lost = True
        if self.forwarded is not None:
            self.forwarded.transport.abort()

    def pause_writing(self) -> None:
        if self.forwarded is not None:
            self.forwarded.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.forwarded is not None:
            self.forwarded.transport.resume_reading()


class PortForwardServer:
    """Answers like the API server does; ``refuse`` makes it say no, ``silent`` makes it swallow what comes.

    ``wire``: the subprotocol that it speaks.
    """

    def __init__(self, port: int, wire: type[Spdy | V4] = Spdy) -> None:
        self.port = port
        self.wire = wire
        self.refuse: tuple[int, bytes] | None = None
        self.silent = False
        self.websockets: set[WSTransport] = set()
        self.requests: list[object] = []
        self.most_buffered = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.endpoint = Endpoint(url="")

    def start(self, coroutine) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def answer(self, request) -> object:
        self.requests.append(request)
        if self.refuse is not None:
            response = WSUpgradeResponse.create_error_response(*self.refuse)
            return WSUpgradeResponseWithListener(response, None)
        response = WSUpgradeResponse.create_101_response({"Sec-WebSocket-Protocol": self.wire.name})
        return WSUpgradeResponseWithListener(response, _PortForward(self))

    def cut(self) -> None:
        for websocket in list(self.websockets):
            websocket.disconnect(graceful=False)


@asynccontextmanager
async def port_forward(port: int, wire: type[Spdy | V4] = Spdy, **options) -> AsyncIterator[PortForwardServer]:
    server = PortForwardServer(port, wire)
    listening = await create_websocket_server(server.answer, "127.0.0.1", 0, **options)
    own = listening.sockets[0].getsockname()[1]
    scheme = "wss" if "ssl" in options else "ws"
    server.endpoint = Endpoint(url=f"{scheme}://127.0.0.1:{own}/api/v1/namespaces/n/pods/p/portforward?ports={port}")
    try:
        yield server
    finally:
        server.cut()
        listening.close()
        await listening.wait_closed()


class DirectStream(asyncio.Protocol):
    """A stream without anything between: TCP to sshd. For measuring, and for tests that need no port-forward."""

    headroom = 0

    def __init__(self, receiver) -> None:
        self.receiver = receiver
        self.pause_writing = receiver.pause_writing
        self.resume_writing = receiver.resume_writing

    def connection_made(self, transport) -> None:
        self.transport = transport
        sockets.keep_kernel_queue_short(transport)

    def keep_on_the_way(self, size: int) -> None:
        sockets.keep_kernel_queue_short(self.transport, size)

    def data_received(self, data: bytes) -> None:
        self.receiver.stream_received(memoryview(data))

    def connection_lost(self, error: Exception | None) -> None:
        self.receiver.stream_lost(StreamError(str(error or "closed by sshd")))

    def send(self, frame: bytearray) -> None:
        self.transport.write(frame)

    def close(self) -> None:
        self.transport.close()

    def abort(self) -> None:
        self.transport.abort()

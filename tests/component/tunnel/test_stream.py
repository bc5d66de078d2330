"""Opening streams: what the API server and the kubelet may answer."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import ssl
import subprocess

import pytest
from urllib3 import HTTPHeaderDict

from bridge.plan.endpoint import Endpoint
from bridge.tunnel.ssh import connect
from bridge.tunnel.stream import StreamError, open_stream
from tests.component.tunnel.forwarding import V4, Spdy
from tests.component.tunnel.peers import free_port, port_forward
from tests.component.tunnel.talk import Collect, echo, serving


class Nobody:
    def stream_received(self, data):
        pass

    def stream_lost(self, error):
        pass

    pause_writing = resume_writing = lambda self: None


@pytest.mark.parametrize(
    ("status", "message", "passing"),
    [(401, "Unauthorized", False), (403, "pods is forbidden", False), (404, "pods not found", True), (500, "no", True)],
)
def test_the_api_servers_no_is_told_with_its_reason(run, status, message, passing):
    async def main():
        async with port_forward(1) as server:
            server.refuse = (status, json.dumps({"kind": "Status", "message": message, "code": status}).encode())
            with pytest.raises(StreamError, match=message) as caught:
                await open_stream(server.endpoint, Nobody())
            assert caught.value.status == status
            assert caught.value.passing is passing
            assert bool(caught.value.hint) == (status < 404)

    run(main())


def test_a_no_without_a_status_object_is_told_too(run):
    async def main():
        async with port_forward(1) as server:
            server.refuse = (502, b"bad gateway says the load balancer")
            with pytest.raises(StreamError, match="bad gateway"):
                await open_stream(server.endpoint, Nobody())

    run(main())


def test_credentials_are_sent_and_never_shown(run):
    async def main():
        async with port_forward(1) as server:
            headers = HTTPHeaderDict(
                [("Authorization", "Bearer s3cret"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b")]
            )
            endpoint = dataclasses.replace(server.endpoint, headers=headers)
            stream = await open_stream(endpoint, Nobody())
            assert server.requests[0].headers.getall("Impersonate-Group") == ["a", "b"]
            assert server.requests[0].headers["Authorization"] == "Bearer s3cret"
            offered = server.requests[0].headers["Sec-WebSocket-Protocol"]
            assert offered == "SPDY/3.1+portforward.k8s.io, v4.channel.k8s.io"
            assert "s3cret" not in repr(endpoint)
            stream.abort()

    run(main())


def test_an_api_server_that_is_not_there_may_come_back(run):
    async def main():
        with pytest.raises(StreamError) as caught:
            await open_stream(Endpoint(url=f"ws://127.0.0.1:{free_port()}/x"), Nobody())
        assert caught.value.passing

    run(main())


def test_an_api_server_that_says_nothing_is_given_up(run):
    async def silence(reader, writer):
        await reader.read()
        await reader.read()

    async def main():
        async with serving(silence) as port:
            with pytest.raises(StreamError, match=r"0\.2 s") as caught:
                await open_stream(Endpoint(url=f"ws://127.0.0.1:{port}/x"), Nobody(), within=0.2)
            assert caught.value.passing

    run(main())


@pytest.mark.parametrize("wire", [Spdy, V4])
def test_the_kubelets_reason_ends_the_stream(run, sshd, wire):
    """sshd isn't up yet: the upgrade succeeds all the same, and the error channel says why it was for nothing."""

    async def main():
        async with port_forward(free_port(), wire) as server:
            with pytest.raises(StreamError, match="error forwarding port") as caught:
                await connect(server.endpoint, sshd.keys)
            assert caught.value.passing

    run(main())


@pytest.fixture
def certificate(tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=kubernetes"
    names = ["-addext", "subjectAltName=DNS:kubernetes"]
    subprocess.run([*command.split(), *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return key, cert


def test_the_server_is_verified_under_the_name_that_the_kubeconfig_says(run, sshd, certificate):
    key, cert = certificate
    serverside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serverside.load_cert_chain(cert, key)
    ours = ssl.create_default_context(cafile=cert)

    async def main():
        async with port_forward(sshd.port, ssl=serverside) as server, serving(echo) as port:
            endpoint = dataclasses.replace(server.endpoint, ssl=ours)
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the server's, about the next line
            with pytest.raises(StreamError, match=r"(?i)certificate") as caught:
                await connect(endpoint, sshd.keys, user=sshd.user)
            assert not caught.value.passing
            endpoint = dataclasses.replace(endpoint, server_hostname="kubernetes")
            async with await connect(endpoint, sshd.keys, user=sshd.user) as connection:
                transport, protocol = await connection.create_connection(Collect, "127.0.0.1", port)
                transport.write(bytes(3_000_000))
                assert await protocol.wait_for(3_000_000) == bytes(3_000_000)

    run(main())


def test_the_kernel_may_queue_an_eighth_of_what_is_to_be_on_the_way(run):
    async def main():
        async with serving(echo) as port, port_forward(port) as server:
            stream = await open_stream(server.endpoint, Nobody())
            sock = stream._transport.underlying_transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for size, queued in [(None, 128), (768, 128), (2048, 256), (4096, 512), (65536, 512), (0, 128)]:
                if size is not None:
                    stream.keep_on_the_way(size * 1024)
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == queued * 1024
            stream.abort()
            stream.keep_on_the_way(0)

    run(main())

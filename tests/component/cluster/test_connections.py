"""What is said when the API server can't be reached, over real sockets, TLS and proxies."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from bridge.cluster import Cluster, connect
from bridge.cluster.errors import Unreachable
from bridge.errors import ClusterError, UsageError

from .apiserver import ApiServer, Certificate, certificate, reply, write_kubeconfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION = "/version"


def said(path: str, *, within: float = 3, timeout: float = 2) -> ClusterError:
    began = time.monotonic()
    with connect(kubeconfig=path, timeout=timeout) as client, pytest.raises(Unreachable) as caught:
        client.get(VERSION)
    assert time.monotonic() - began < within
    return caught.value


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_a_refused_connection(tmp_path: Path) -> None:
    server = f"https://127.0.0.1:{free_port()}"
    error = said(write_kubeconfig(tmp_path / "config", {"server": server}, {}))
    assert error.message == f"the API server {server} (context here) can't be reached: connection refused"
    assert "--context" in error.hint


def test_a_black_hole(tmp_path: Path) -> None:
    """Connections are taken by the kernel, and nobody is there: what a dead load balancer looks like."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        path = write_kubeconfig(tmp_path / "c", {"server": f"https://127.0.0.1:{nobody.getsockname()[1]}"}, {})
        assert "no answer within 2 s" in said(path).message


def test_a_black_hole_that_takes_no_connection(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as nobody, socket.socket() as first, socket.socket() as more:
        for filling in (first, more):  # the queue is full now: further SYNs are dropped
            filling.setblocking(False)
            filling.connect_ex(nobody.getsockname())
        path = write_kubeconfig(tmp_path / "c", {"server": f"https://127.0.0.1:{nobody.getsockname()[1]}"}, {})
        assert "no answer within 3 s" in said(path, timeout=3, within=4).message


def test_a_name_that_is_not_known(tmp_path: Path) -> None:
    error = said(write_kubeconfig(tmp_path / "c", {"server": "https://api.cluster.invalid:6443"}, {}), within=20)
    assert "its name is not known here (DNS)" in error.message
    assert "VPN" in error.hint


def test_a_port_that_does_not_speak_tls(own: Certificate, authority: Certificate, tmp_path: Path) -> None:
    with ApiServer(own, authority, tls=False, answers=[reply({})]) as api:
        path = write_kubeconfig(tmp_path / "c", {"server": f"https://127.0.0.1:{api.port}"}, {})
        assert "it does not speak TLS" in said(path).message


@pytest.mark.parametrize("alert", [10, 50, 80], ids=["unexpected_message", "decode_error", "internal_error"])
def test_a_handshake_that_is_garbled_is_tried_again(api: ApiServer, tmp_path: Path, alert: int) -> None:
    api.alerts += [alert, alert]
    api.answers = [reply({"ok": 1})]
    with connect(kubeconfig=api.kubeconfig(tmp_path)) as client:
        assert client.get(VERSION) == {"ok": 1}


def test_a_handshake_that_is_garbled_each_time_is_no_matter_of_certificates(api: ApiServer, tmp_path: Path) -> None:
    api.alerts += [50] * 20
    error = said(api.kubeconfig(tmp_path), within=10)
    assert "TLS failed (tlsv1 alert decode error)" in error.message
    assert "Try again" in error.hint
    assert len(api.alerts) == 20 - 4


def test_a_handshake_that_is_refused_is_not_tried_again(api: ApiServer, tmp_path: Path) -> None:
    api.alerts += [116] * 20  # certificate_required
    error = said(api.kubeconfig(tmp_path))
    assert "it ended the TLS handshake (" in error.message
    assert "the kubeconfig has none" in error.hint
    assert len(api.alerts) == 20 - 1


def test_a_server_without_tls(own: Certificate, authority: Certificate, tmp_path: Path) -> None:
    plain = ApiServer(own, authority, tls=False, answers=[reply({"ok": 1})])
    with plain as api, connect(kubeconfig=api.kubeconfig(tmp_path)) as client:
        assert client.get(VERSION) == {"ok": 1}


# -- certificates --------------------------------------------------------------------------------------------------


def test_an_unknown_authority(api: ApiServer, tmp_path: Path) -> None:
    (tmp_path / "other.pem").write_bytes(certificate("another cluster's authority").pem)
    error = said(api.kubeconfig(tmp_path, cluster={"certificate-authority": "other.pem"}))
    assert "its TLS certificate is of an unknown authority" in error.message
    assert "get a new kubeconfig" in error.hint


def test_an_expired_server_certificate(authority: Certificate, tmp_path: Path) -> None:
    old = certificate("kube-apiserver", by=authority, names=["127.0.0.1"], days=(-9, -2))
    with ApiServer(old, authority) as api:
        assert "its TLS certificate has expired" in said(api.kubeconfig(tmp_path)).message


def test_a_certificate_for_another_name(authority: Certificate, tmp_path: Path) -> None:
    other = certificate("kube-apiserver", by=authority, names=["api.example.com"])
    with ApiServer(other, authority, answers=[reply({"ok": 1})]) as api:
        error = said(api.kubeconfig(tmp_path))
        assert "its TLS certificate is for another name" in error.message
        assert "tls-server-name" in error.hint
        path = api.kubeconfig(tmp_path, cluster={"tls-server-name": "api.example.com"})
        with connect(kubeconfig=path) as client:
            assert client.get(VERSION) == {"ok": 1}


def test_who_wants_no_verification_gets_none(api: ApiServer, tmp_path: Path) -> None:
    api.answers = [reply({"ok": 1})]
    insecure = {"insecure-skip-tls-verify": True, "certificate-authority": None}
    with connect(kubeconfig=api.kubeconfig(tmp_path, cluster=insecure)) as client:
        assert client.get(VERSION) == {"ok": 1}


def test_the_client_certificate_is_shown(api: ApiServer, authority: Certificate, tmp_path: Path) -> None:
    mine = certificate("ann", by=authority)
    (tmp_path / "ann.pem").write_bytes(mine.pem)
    (tmp_path / "ann.key").write_bytes(mine.key_pem)
    api.answers = [reply({"ok": 1})]
    path = api.kubeconfig(tmp_path, user={"client-certificate": "ann.pem", "client-key": "ann.key"})
    with connect(kubeconfig=path) as client:
        client.get(VERSION)
    assert (("commonName", "ann"),) in api.seen[0].peer["subject"]
    assert "Authorization" not in api.seen[0].headers


@pytest.mark.parametrize(
    ("cluster", "user", "message"),
    [
        ({"certificate-authority-data": "bm9uZQ=="}, {}, "certificate-authority is no PEM certificate"),
        ({}, {"client-certificate-data": "bm9uZQ==", "client-key-data": "bm9uZQ=="}, "can't be used"),
        ({}, {"client-certificate-data": "bm9uZQ=="}, "a client certificate without a key"),
    ],
)
def test_what_is_no_certificate(tmp_path: Path, cluster: dict[str, str], user: dict[str, str], message: str) -> None:
    path = write_kubeconfig(tmp_path / "c", {"server": "https://127.0.0.1:1", **cluster}, user)
    with connect(kubeconfig=path) as client, pytest.raises(UsageError, match=message):
        client.get(VERSION)


# -- proxies -------------------------------------------------------------------------------------------------------


class Proxy:
    """An HTTP proxy that connects for whoever asks, or says what it was told to say."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [self._start(self._accept)]

    def _start(self, target: Any, *arguments: Any) -> Any:
        thread = threading.Thread(target=target, args=arguments)  # noqa: TID251  # a peer
        thread.start()
        return thread

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            self._threads.append(self._start(self._serve, connection))

    def _serve(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(4096)
        self.asked.append(request)
        connection.sendall(self.answer)
        if b" 200 " in self.answer:
            host, _, port = request.split()[1].decode().rpartition(":")
            upstream = socket.create_connection((host, int(port)))
            self._open.append(upstream)
            self._threads.append(self._start(self._pump, upstream, connection))
            self._pump(connection, upstream)
        connection.close()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join()
        for each in self._open:
            each.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    found = Proxy()
    yield found
    found.close()


def test_the_kubeconfigs_proxy_is_used(api: ApiServer, proxy: Proxy, tmp_path: Path) -> None:
    api.answers = [reply({"ok": 1})]
    with connect(kubeconfig=api.kubeconfig(tmp_path, cluster={"proxy-url": proxy.url})) as client:
        assert client.get(VERSION) == {"ok": 1}
    assert proxy.asked[0].startswith(f"CONNECT 127.0.0.1:{api.port} ".encode())


def test_the_environments_proxy_is_used_except_where_it_says_no(
    api: ApiServer, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.answers = [reply({"ok": 1})]
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    named = {"server": f"https://kubernetes:{api.port}"}  # loopback never goes through a proxy
    with connect(kubeconfig=api.kubeconfig(tmp_path, cluster=named)) as client:
        assert client.transport.access.proxy == proxy.url
    monkeypatch.setenv("NO_PROXY", "kubernetes")
    with connect(kubeconfig=api.kubeconfig(tmp_path, cluster=named)) as client:
        assert client.transport.access.proxy is None


def test_a_proxy_that_says_no(api: ApiServer, tmp_path: Path) -> None:
    refusing = Proxy(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    try:
        error = said(api.kubeconfig(tmp_path, cluster={"proxy-url": refusing.url}))
    finally:
        refusing.close()
    assert f"the proxy {refusing.url} on the way says" in error.message
    assert "407" in error.message


def test_a_proxy_that_is_not_there(api: ApiServer, tmp_path: Path) -> None:
    path = api.kubeconfig(tmp_path, cluster={"proxy-url": f"http://127.0.0.1:{free_port()}"})
    assert "the proxy" in said(path).message


def test_closing_ends_what_waits_to_be_repeated(tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "c", {"server": f"https://127.0.0.1:{free_port()}"}, {})
    client: Cluster = connect(kubeconfig=path)
    closing = threading.Timer(0.3, client.close)
    closing.start()
    began = time.monotonic()
    with pytest.raises(Unreachable):
        client.patient(30).get(VERSION)
    closing.join()
    assert time.monotonic() - began < 5

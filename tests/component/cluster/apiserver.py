"""A small API server over TLS: it answers what a test tells it to, and can fail in every way that a real one does."""

from __future__ import annotations

import datetime
import ipaddress
import json
import socket
import ssl
import struct
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

Answer = "Callable[[Handler], None]"
DAY = datetime.timedelta(days=1)


# -- certificates --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def certificate(
    name: str, *, by: Certificate | None = None, names: Iterable[str] = (), days: tuple[int, int] = (-1, 1)
) -> Certificate:
    """Make a certificate for ``names``, valid from and to so many days from now; without ``by`` an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
    return Certificate(builder.sign(by.key if by else key, hashes.SHA256()), key)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


# -- the server ----------------------------------------------------------------------------------------------------


@dataclass
class Seen:
    """A request that came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    peer: Any = None


class Handler(BaseHTTPRequestHandler):
    """Answers with what the server has next."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    api: ApiServer
    seen: Seen
    """What this one asks now. (The last one that the server has seen may be another's: clients ask several at once.)"""

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length)
        if len(content) < length:
            raise ConnectionResetError("the client went away in the middle of its request")
        body = json.loads(content) if content else None
        self.seen = Seen(self.command, self.path, dict(self.headers.items()), body, _peer(self.connection))
        self.api.seen.append(self.seen)
        self.api.next()(self)

    do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815  # as http.server calls them

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _peer(connection: socket.socket) -> Any:
    return connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None


@dataclass
class ApiServer:
    """The server. ``answers`` are given in turn, the last one for ever."""

    certificate: Certificate
    authority: Certificate
    tls: bool = True
    asks: bool = True  # for a client certificate
    answers: list[Any] = field(default_factory=list)
    alerts: list[int] = field(default_factory=list)
    """What the first connections get instead of a TLS handshake: an alert's number (RFC 8446, 6)."""
    seen: list[Seen] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    """What an answer has raised: a fault of the test, which fails it when the server ends."""

    def __enter__(self) -> Self:
        handler = type("Bound", (Handler,), {"api": self})
        self.released = threading.Event()
        self._turn = threading.Lock()
        self.server = _Server(("127.0.0.1", 0), handler)
        self.server.faults = self.faults
        self.server.alerts = self.alerts
        self.server.tls = self._context() if self.tls else None
        self.port = self.server.server_address[1]
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))  # noqa: TID251  # a peer
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.drop_all()
        self.server.server_close()
        self._thread.join()
        if self.faults:
            raise ExceptionGroup("the API server of the test could not answer", self.faults)

    def _context(self) -> ssl.SSLContext:
        import tempfile

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.certificate.pem + self.certificate.key_pem)
            file.flush()
            context.load_cert_chain(file.name)
        context.load_verify_locations(cadata=self.authority.pem.decode())
        context.verify_mode = ssl.CERT_OPTIONAL if self.asks else ssl.CERT_NONE
        return context

    def next(self) -> Callable[[Handler], None]:
        with self._turn:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def kubeconfig(
        self, folder: Path, *, user: Mapping[str, Any] | None = None, cluster: Mapping[str, Any] | None = None
    ) -> str:
        """Write a kubeconfig for this server; return its path."""
        ca = folder / "ca.pem"
        ca.write_bytes(self.authority.pem)
        path = folder / "config"
        entry = {"server": self.url, **({"certificate-authority": "ca.pem"} if self.tls else {}), **(cluster or {})}
        return write_kubeconfig(path, {k: v for k, v in entry.items() if v is not None}, user or {"token": "t0ken"})


def write_kubeconfig(path: Path, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> str:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "ann", "namespace": "ns"}}],
        "clusters": [{"name": "c", "cluster": dict(cluster)}],
        "users": [{"name": "ann", "user": dict(user)}],
    }
    path.write_text(json.dumps(config))
    return str(path)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    tls: ssl.SSLContext | None = None
    faults: list[Exception]
    alerts: list[int]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open: set[socket.socket] = set()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands in the connection's own thread; who does not succeed is dropped."""
        try:
            if self.alerts:
                request.recv(65536)
                request.sendall(bytes((21, 3, 3, 0, 2, 2, self.alerts.pop(0))))  # a record with a fatal alert
                return
            wrapped = self.tls.wrap_socket(request, server_side=True) if self.tls else request
        except OSError:
            return
        self._open.add(wrapped)
        try:
            super().finish_request(wrapped, client_address)
        except OSError:
            return
        finally:
            self._open.discard(wrapped)
            wrapped.close()

    def drop_all(self) -> None:
        """End the connections that are kept open."""
        for connection in list(self._open):
            try:
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep what an answer has raised. Clients that go away are no news: OSError, see above."""
        error = sys.exception()
        assert isinstance(error, Exception)
        self.faults.append(error)


# -- answers -------------------------------------------------------------------------------------------------------


def reply(body: Any = None, status: int = 200, *, kind: str = "application/json", **headers: str) -> Any:
    """Answer with JSON, as it is now, or with bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body if body is not None else {}).encode()

    def answer(handler: Handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def status(code: int, reason: str, message: str = "", **rest: Any) -> Any:
    """Answer with a ``Status``."""
    headers = {name: rest.pop(name) for name in list(rest) if name[0].isupper()}
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message, **rest}
    return reply(body, code, **headers)


def reset(handler: Handler) -> None:
    """Cut the connection with a TCP reset."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    socket.socket.close(handler.connection)


def hang(handler: Handler) -> None:
    """Say nothing until the test is over."""
    handler.api.released.wait(30)
    handler.close_connection = True


def dribble(handler: Handler) -> None:
    """Send a byte now and then, and never get to the end."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not handler.api.released.wait(0.05):
        handler.wfile.write(b" ")
    handler.close_connection = True


def watch(*events: Any, rest: bytes = b"") -> Any:
    """Stream these events; ``rest``: the beginning of one more, then the connection is cut."""
    return stream(events, rest)


def stream(events: Iterable[Any], rest: bytes = b"") -> Any:
    """The same, of events that may be still to come: the answer begins at once."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for event in events:
            _chunk(handler, json.dumps(event).encode() + b"\n")
        if rest:
            _chunk(handler, rest)
            handler.close_connection = True  # without the last chunk. (A reset might overtake what was sent.)
        else:
            handler.wfile.write(b"0\r\n\r\n")

    return answer


def _chunk(handler: Handler, data: bytes) -> None:
    handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

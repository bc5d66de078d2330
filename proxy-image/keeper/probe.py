"""The HTTP that the kubelet's readiness probe speaks, on all of the pod's addresses.

    GET /ready   200 when the laptop says so; 503 when it says no, or says nothing for as long as a probe is held
    other paths  404

Any pod can connect here. So all is bounded: the request's size and time, the number of connections; and where there are
too many, the busiest peer's oldest goes, which is not the kubelet's.
"""

import collections
import socket

from .connection import Connection, accept_all
from .loop import READ, Loop
from .readiness import Readiness

PATH = "/ready"
_LONGEST_REQUEST = 16 * 1024
_REQUEST_SECONDS = 5.0
_MOST_CONNECTIONS = 64

_REASONS = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout",
    431: "Request Header Fields Too Large", 503: "Service Unavailable",
}  # fmt: skip


class ProbeServer:
    """Answers probes at a listening socket, which it owns."""

    def __init__(self, loop: Loop, listener: socket.socket, readiness: Readiness, *, hold: float) -> None:
        self._loop = loop
        self._listener = listener
        self._readiness = readiness
        self._hold = hold
        self._connections: dict[ProbeConnection, str] = {}  # to the peer's address; oldest first
        loop.watch(listener, READ, self._accept)

    def _accept(self, _: int) -> None:
        for sock, peer in accept_all(self._listener):
            if len(self._connections) >= _MOST_CONNECTIONS:
                self._drop_one()
            connection = ProbeConnection(self._loop, sock, self._readiness, self._hold, self._connections)
            self._connections[connection] = peer

    def _drop_one(self) -> None:
        busiest, _ = collections.Counter(self._connections.values()).most_common(1)[0]
        next(item for item, peer in self._connections.items() if peer == busiest).close()


class ProbeConnection(Connection):
    """One request and its answer."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        readiness: Readiness,
        hold: float,
        register: "dict[ProbeConnection, str]",
    ) -> None:
        super().__init__(loop, sock)
        self._readiness = readiness
        self._hold = hold
        self._register = register
        self._request = b""
        self._number: int | None = None
        self._deadline = loop.after(_REQUEST_SECONDS, lambda: self._answer(408))

    def received(self, data: bytes) -> None:
        """Collect the request's head; what follows it is of no interest."""
        if self._number is not None:
            return  # it waits for its answer
        self._request += data
        if b"\r\n\r\n" in self._request:
            self._asked(self._request.split(b"\r\n", 1)[0])
        elif len(self._request) > _LONGEST_REQUEST:
            self._answer(431)

    def ended(self) -> None:
        """Stop waiting."""
        self._deadline.cancel()
        self._register.pop(self, None)
        if self._number is not None:
            self._readiness.withdraw(self._number)

    def _asked(self, line: bytes) -> None:
        words = line.split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            self._answer(400)
        elif words[1].split(b"?")[0] != PATH.encode():
            self._answer(404)
        elif words[0] != b"GET":
            self._answer(405)
        else:
            self._deadline.cancel()
            self._deadline = self.loop.after(self._hold, lambda: self._answer(503))
            self._number = self._readiness.probe(lambda ready: self._answer(200 if ready else 503))

    def _answer(self, status: int) -> None:
        head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        self._deadline.cancel()
        self._deadline = self.loop.after(_REQUEST_SECONDS, self.close)  # for a peer that does not close
        self.send(head.encode(), last=True)


def listener(port: int) -> socket.socket:
    """Listen on all of the pod's addresses, of both families where there are both."""
    try:
        sock = socket.create_server(("::", port), family=socket.AF_INET6, backlog=128, dualstack_ipv6=True)
    except OSError:  # no IPv6 here
        sock = socket.create_server(("0.0.0.0", port), backlog=128)
    sock.setblocking(False)
    return sock

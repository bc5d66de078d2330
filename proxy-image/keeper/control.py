"""The control connection: the laptop's, through an SSH channel to the pod's loopback.

Other containers of the pod can connect there too, so the session's token comes first. One connection is live: a newer
one with the token replaces it, because the laptop that reconnects knows sooner than the pod that the older one is dead.
"""

import hmac
import socket
from collections.abc import Callable

from bridge.wire import messages

from .connection import Connection, accept_all
from .loop import READ, Loop, Timer
from .readiness import Readiness

_HELLO_SECONDS = 10.0
_MOST_STRANGERS = 8
_LISTENING_SECONDS = 1.0


class ControlServer:
    """Serves the control connection at a listening socket, which it owns.

    ``report`` reads what the container was given, ``listening`` which ports other containers have open.
    """

    def __init__(
        self,
        loop: Loop,
        listener: socket.socket,
        readiness: Readiness,
        *,
        token: bytes,
        report: Callable[[int], messages.Report],
        listening: Callable[[], tuple[int, ...]],
    ) -> None:
        self.readiness = readiness
        self.report = report
        self.listening = listening
        self._loop = loop
        self._listener = listener
        self._token = token
        self._live: ControlConnection | None = None
        self._strangers: list[ControlConnection] = []  # without a token yet; oldest first
        loop.watch(listener, READ, self._accept)

    def _accept(self, _: int) -> None:
        for sock, _peer in accept_all(self._listener):
            if len(self._strangers) >= _MOST_STRANGERS:
                self._strangers[0].close()
            self._strangers.append(ControlConnection(self._loop, sock, self))

    def knows(self, token: str) -> bool:
        """Tell whether it is the session's token, in a time that says nothing about it."""
        return hmac.compare_digest(token.encode(errors="surrogatepass"), self._token)

    def becomes_live(self, connection: "ControlConnection") -> None:
        """The connection has shown the token: it takes the place of the one before."""
        self._strangers.remove(connection)
        before, self._live = self._live, connection
        if before is not None:
            before.refuse("a newer connection has taken over")

    def forget(self, connection: "ControlConnection") -> None:
        """The connection is closed."""
        if connection in self._strangers:
            self._strangers.remove(connection)
        if connection is self._live:
            self._live = None


class ControlConnection(Connection):
    """One connection: hello, report, then probes, pings and news until it ends."""

    def __init__(self, loop: Loop, sock: socket.socket, server: ControlServer) -> None:
        super().__init__(loop, sock)
        self._server = server
        self._decoder = messages.Decoder(messages.MAX_REQUEST_LINE)
        self._greeted = False
        self._listening: tuple[int, ...] = ()
        self._timer: Timer = loop.after(_HELLO_SECONDS, lambda: self.refuse("no hello"))

    def received(self, data: bytes) -> None:
        """Take what the laptop says."""
        try:
            for message in self._decoder.feed(data):
                self._said(message)
        except messages.WireError as error:
            self.refuse(str(error))

    def ended(self) -> None:
        """Stop asking and telling."""
        self._timer.cancel()
        self._server.readiness.disconnected(self._ask)
        self._server.forget(self)

    def refuse(self, reason: str) -> None:
        """Say why, and close; a peer that does not close is not waited for."""
        self._timer.cancel()
        self._server.readiness.disconnected(self._ask)
        self.send(messages.render(messages.Refused(reason)), last=True)
        if not self.closed:
            self._timer = self.loop.after(_HELLO_SECONDS, self.close)

    def _said(self, message: messages.Message) -> None:
        match message:
            case messages.Hello() if not self._greeted:
                self._hello(message)
            case messages.Probed(id=number, ready=ready) if self._greeted:
                self._server.readiness.answered(number, ready=ready)
            case messages.Ping(id=number) if self._greeted:
                self._tell(messages.Pong(number))
            case _:
                raise messages.WireError(f"an unexpected {type(message).__name__.lower()}")

    def _hello(self, hello: messages.Hello) -> None:
        if not self._server.knows(hello.token):
            raise messages.WireError("the token is not this session's")
        version = messages.negotiate(hello.version)
        self._greeted = True
        self._timer.cancel()
        self._server.becomes_live(self)
        report = self._server.report(version)
        self._tell(report)
        self._listening = report.listening
        self._server.readiness.connected(self._ask)
        self._look_again()

    def _look_again(self) -> None:
        """Tell when a sidecar has opened or closed a port: some start after the first report."""
        listening = self._server.listening()
        if listening != self._listening:
            self._listening = listening
            self._tell(messages.Listening(listening))
        if not self.closed:
            self._timer = self.loop.after(_LISTENING_SECONDS, self._look_again)

    def _ask(self, number: int) -> None:
        self._tell(messages.Probe(number))

    def _tell(self, message: messages.Message) -> None:
        self.send(messages.render(message))


def listener(port: int) -> socket.socket:
    """Listen on the pod's loopback."""
    sock = socket.create_server(("127.0.0.1", port), backlog=16)
    sock.setblocking(False)
    return sock

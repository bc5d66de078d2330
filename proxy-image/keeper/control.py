"""The control connection: the laptop's, through an SSH channel to the pod's loopback.

Other containers of the pod can connect there too, so the session's token comes first. One connection is live: a newer
one with the token replaces it, because the laptop that reconnects knows sooner than the pod that the older one is dead.

When the guard has ended the session (it restores, or another session has the target), no laptop is let in any more. The
one that is there when the target is taken stays: it answers until the cluster's traffic is led to the other.
"""

import hmac
import socket
from collections.abc import Callable

from bridge.wire import messages
from bridge.wire.messages import GuardState

from .connection import Connection, accept_all
from .loop import READ, Loop, Timer
from .readiness import Readiness
from .takeover import end_older

_HELLO_SECONDS = 10.0
_MOST_STRANGERS = 8
_LISTENING_SECONDS = 1.0
_OVER = {
    GuardState.RESTORING: messages.RESTORING_REASON,
    GuardState.RESTORED: messages.RESTORED_REASON,
    GuardState.TAKEN: messages.TAKEN_REASON,
}


def why_over(guard: messages.Guard | None) -> str:
    """Say why the session is over, as a refusal does; empty while it is not."""
    word = _OVER.get(guard.state, "") if guard else ""
    return f"{word}: {guard.reason}" if guard and word else ""


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
        self.heartbeat: Callable[[], None] = lambda: None
        self.guard: messages.Guard | None = None
        self.ending = False
        self._left: Callable[[], None] = lambda: None
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
        """The connection has shown the token: it takes the place of the one before, which frees its ports first."""
        self._strangers.remove(connection)
        before, self._live = self._live, connection
        if before is None:
            connection.welcome()
            return
        end_older(self._loop, before.socket, connection.socket, connection.welcome)
        before.refuse("a newer connection has taken over")

    def when_alive(self, callback: Callable[[], None]) -> None:
        """Call back at each sign of life of the laptop."""
        self.heartbeat = callback

    def when_left(self, callback: Callable[[], None]) -> None:
        """Call back when the laptop has closed its connection."""
        self._left = callback

    def is_live(self, connection: "ControlConnection") -> bool:
        """Tell whether no other has taken its place."""
        return connection is self._live

    def forget(self, connection: "ControlConnection") -> None:
        """The connection is closed."""
        if connection in self._strangers:
            self._strangers.remove(connection)
        if connection is self._live:
            self._live = None
            self._left()

    def guarded(self, guard: messages.Guard) -> None:
        """Pass on how it stands with the guard; when the session is over, so is the connection."""
        if why_over(self.guard) and not why_over(guard):
            return  # a guard that was started anew does not know yet
        self.guard = guard
        live = self._live
        if live is None:
            return
        live.tell_news(guard)
        over = why_over(guard)
        if over and guard.state is not GuardState.TAKEN:
            self._live = None
            live.refuse(over)

    def end(self) -> None:
        """The pod was told to end: tell the laptop, which looks for another."""
        self.ending = True
        if self._live is not None:
            self._live.tell_news(messages.Ending())

    def is_awaited(self) -> bool:
        """Tell whether there is a laptop that knows of the end, and leaves when it is ready."""
        return self._live is not None and self._live.has_news


class ControlConnection(Connection):
    """One connection: hello, report, then probes, pings and news until it ends."""

    def __init__(self, loop: Loop, sock: socket.socket, server: ControlServer) -> None:
        super().__init__(loop, sock)
        self._server = server
        self._decoder = messages.Decoder(messages.MAX_REQUEST_LINE)
        self._greeted = False
        self._version = messages.OLDEST_VERSION
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

    @property
    def socket(self) -> socket.socket:
        """The accepted socket."""
        return self._socket

    @property
    def has_news(self) -> bool:
        """Whether the laptop's version knows of guard and ending."""
        return self._version >= messages.GUARD_VERSION

    def tell_news(self, message: messages.Guard | messages.Ending) -> None:
        """Tell it, if the laptop's version has it."""
        if self._greeted and self.has_news:
            self._tell(message)

    def welcome(self) -> None:
        """Report, and what there is to be known beside it."""
        if self.closed or not self._server.is_live(self):
            return
        report = self._server.report(self._version)
        self._tell(report)
        self._listening = report.listening
        if self._server.guard is not None:
            self.tell_news(self._server.guard)
        if self._server.ending:
            self.tell_news(messages.Ending())
        self._server.readiness.connected(self._ask)
        self._look_again()

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
                self._server.heartbeat()
                self._tell(messages.Pong(number))
            case _:
                raise messages.WireError(f"an unexpected {type(message).__name__.lower()}")

    def _hello(self, hello: messages.Hello) -> None:
        if not self._server.knows(hello.token):
            raise messages.WireError("the token is not this session's")
        self._version = messages.negotiate(hello.version)
        if over := why_over(self._server.guard):
            self.refuse(over)
            return
        self._greeted = True
        self._timer.cancel()
        self._server.heartbeat()
        self._server.becomes_live(self)

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

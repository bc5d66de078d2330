"""The keeper's side of the guard: starts it, tells it of heartbeats, and passes its word on."""

import os
import socket
import sys
from collections.abc import Callable

from bridge.wire import messages
from bridge.wire.messages import GuardState

from .loop import READ, Loop
from .options import Options

ORDERS = "orders"
_TOLD = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")
"""All that the guard gets of the container's environment: where the API server is."""
_HEARTBEAT = b"."


class Guarding:
    """The guard, as the keeper has it. ``tell`` takes what it is about, whenever that changes."""

    def __init__(self, loop: Loop, options: Options, tell: Callable[[messages.Guard], None]) -> None:
        self._loop = loop
        self._options = options
        self._tell = tell
        self._socket: socket.socket | None = None
        self._decoder = messages.Decoder(messages.MAX_REQUEST_LINE)

    def start(self) -> int:
        """Start a guard; return its pid. Raise OSError."""
        self._hang_up()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                pid = self._spawn(theirs)
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        self._socket = ours
        self._decoder = messages.Decoder(messages.MAX_REQUEST_LINE)
        self._loop.watch(ours, READ, lambda _: self._read())
        return pid

    def ended(self, how: str) -> None:
        """The guard has ended: until there is another, nobody guards."""
        self._hang_up()
        self._tell(messages.Guard(GuardState.UNARMED, f"its process {how}; another one is started"))

    def heartbeat(self) -> None:
        """Tell the guard that the laptop is there."""
        if self._socket is not None:
            try:
                self._socket.send(_HEARTBEAT)
            except OSError:
                return  # it has some to read yet; or it ends, which is told elsewhere

    def _spawn(self, theirs: socket.socket) -> int:
        command = [sys.executable, "-I", "-S", "-B", sys.argv[0], "guard"]
        command += ["--settings", self._options.settings, "--guard", self._options.guard]
        environment = {name: os.environ[name] for name in _TOLD if name in os.environ}
        return os.posix_spawn(
            command[0], command, environment, setsigmask=(), file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)]
        )

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(65536)
            said = self._decoder.feed(data)
        except BlockingIOError:
            return
        except (OSError, messages.WireError):
            data, said = b"", []
        for message in said:
            if isinstance(message, messages.Guard):
                self._tell(message)
        if not data:
            self._hang_up()

    def _hang_up(self) -> None:
        """A guard that is there still ends by it."""
        sock, self._socket = self._socket, None
        if sock is not None:
            self._loop.watch(sock, 0, lambda _: None)
            sock.close()

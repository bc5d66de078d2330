"""A connection on the loop. Its subclasses say what is done with what arrives."""

import socket

from .loop import READ, WRITE, Loop

_CHUNK = 64 * 1024


class Connection:
    """An accepted socket.

    While something waits to be sent nothing is read, so a peer that asks without reading makes us hold one answer, not
    a growing heap of them.
    """

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self.loop = loop
        self.closed = False
        self._socket = sock
        self._waiting = bytearray()
        self._last = False
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop.watch(sock, READ, self._ready)

    def received(self, data: bytes) -> None:
        """Take what has arrived."""
        raise NotImplementedError

    def ended(self) -> None:
        """Called once, when the connection is closed by whichever side."""

    def send(self, data: bytes, *, last: bool = False) -> None:
        """Send, now or as the peer reads.

        After the ``last`` of it, what the peer still sends is thrown away until it closes: closing at once would reset
        the connection, and take away what it has not read. Whoever says ``last`` sets a deadline.
        """
        if self.closed or self._last:
            return
        self._waiting += data
        self._last = last
        self._flush()

    def close(self) -> None:
        """Close at once; what waits to be sent is lost."""
        if self.closed:
            return
        self.closed = True
        self.loop.watch(self._socket, 0, self._ready)
        self._socket.close()
        self._waiting.clear()
        self.ended()

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        elif events & READ:
            self._read()

    def _read(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:  # reset, or timed out: as closed as by an orderly end
            data = b""
        if not data:
            self.close()
        elif not self._last:
            self.received(data)

    def _flush(self) -> None:
        try:
            while self._waiting:
                with memoryview(self._waiting) as view:
                    sent = self._socket.send(view[: 16 * _CHUNK])
                del self._waiting[:sent]
            if self._last:
                self._socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass  # goes on when the peer has read
        except OSError:
            self.close()
            return
        self.loop.watch(self._socket, WRITE if self._waiting else READ, self._ready)


def accept_all(listener: socket.socket) -> list[tuple[socket.socket, str]]:
    """Accept what waits at a listener, with each peer's address."""
    accepted: list[tuple[socket.socket, str]] = []
    while True:
        try:
            sock, address = listener.accept()
        except BlockingIOError:
            return accepted
        except ConnectionError:
            continue  # gone before it was looked at
        accepted.append((sock, str(address[0])))

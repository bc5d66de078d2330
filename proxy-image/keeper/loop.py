"""One thread for sockets, timers and signals. asyncio would do, but importing it takes longer than starting sshd."""

import heapq
import itertools
import selectors
import signal
import socket
import time
from collections.abc import Callable

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE

Callback = Callable[[], None]


class Timer:
    """Something to be done later."""

    def __init__(self, callback: Callback) -> None:
        self._callback: Callback | None = callback

    def cancel(self) -> None:
        """Never do it."""
        self._callback = None

    def fire(self) -> None:
        """Do it, once."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Loop:
    """Calls back what waits. A callback gets what the selector saw: `READ`, `WRITE` or both."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()  # timers of the same moment fire in order
        self._signals: dict[int, Callback] = {}
        self._running = True

    def watch(self, sock: socket.socket | int, events: int, callback: Callable[[int], None]) -> None:
        """Call back on these events from now on, instead of those watched for before; 0 ends it.

        ``sock`` may be any descriptor that the kernel's poll(2) takes.
        """
        known = sock in self._selector.get_map()
        if not events:
            if known:
                self._selector.unregister(sock)
        elif known:
            self._selector.modify(sock, events, callback)
        else:
            self._selector.register(sock, events, callback)

    def after(self, seconds: float, callback: Callback) -> Timer:
        """Call back once, later."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), timer))
        return timer

    def on_signals(self, callbacks: dict[int, Callback]) -> None:
        """Call back on these signals, from the loop; take those that were kept back until now."""
        self._signals = callbacks
        reading, writing = socket.socketpair()
        for end in (reading, writing):
            end.setblocking(False)
        signal.set_wakeup_fd(writing.detach(), warn_on_full_buffer=False)
        self.watch(reading, READ, lambda _: self._signalled(reading.recv(4096)))
        for number in callbacks:
            signal.signal(number, lambda *_: None)  # with a handler, Python writes the number to the descriptor
        signal.pthread_sigmask(signal.SIG_UNBLOCK, callbacks)

    def _signalled(self, numbers: bytes) -> None:
        for number in sorted(set(numbers)):
            self._signals[number]()

    def run(self) -> None:
        """Go round until `stop`."""
        while self._running:
            for key, events in self._selector.select(self._patience()):
                # A callback before this one may have closed the socket, and another may have got its descriptor.
                if self._selector.get_map().get(key.fd) is key:
                    key.data(events)
            self._fire()

    def stop(self) -> None:
        """Make `run` return."""
        self._running = False

    def _patience(self) -> float | None:
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _fire(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2].fire()

"""The end of the pod: it was deleted or evicted, or its node is drained.

    SIGTERM             a laptop that is there is told, and lets what is open come to its end, or goes to another pod
    it has left         the end, but not before ``linger``: Services send to the pod for some moments still
    it does not leave   the end after ``drain``: the kubelet would not wait longer either
    SIGTERM again       the end

Where no laptop is there, or one that knows of no end, it is ``linger`` alone.
"""

from collections.abc import Callable

from .loop import Loop


class Ending:
    """``is_awaited`` tells whether a laptop is there that was told. `left` is to be called when it leaves."""

    def __init__(self, loop: Loop, *, linger: float, drain: float, is_awaited: Callable[[], bool]) -> None:
        self._loop = loop
        self._linger = linger
        self._drain = drain
        self._is_awaited = is_awaited
        self._begun = False
        self._lingered = False

    def begin(self, tell: Callable[[], None]) -> None:
        """Begin it, with telling the laptop; the second time end at once."""
        if self._begun:
            self._loop.stop()
            return
        self._begun = True
        tell()
        self._loop.after(self._linger, self._has_lingered)
        self._loop.after(max(self._linger, self._drain), self._loop.stop)

    def left(self) -> None:
        """A laptop has left."""
        if self._lingered and not self._is_awaited():
            self._loop.stop()

    def _has_lingered(self) -> None:
        self._lingered = True
        self.left()

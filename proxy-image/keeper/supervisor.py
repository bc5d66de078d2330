"""Keeps the container's other processes running, and leaves none behind.

As process 1 it also buries whatever is given to it.
"""

import os
import signal
from collections.abc import Callable, Mapping

from .loop import Loop

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0
_STEADY_SECONDS = 10.0  # what ran for so long did not fail at its start
_MOST_FAILURES = 8  # about 15 s of trying


class Kept:
    """A process that is started anew, with growing delays, whenever it ends.

    ``start`` returns its pid. ``ended`` is called with how it ended, each time. ``hopeless``, where there is one, is
    called instead of starting it once more, after many failures in a row.
    """

    def __init__(
        self,
        loop: Loop,
        name: str,
        start: Callable[[], int],
        *,
        ended: Callable[[str], None] | None = None,
        hopeless: Callable[[str], None] | None = None,
    ) -> None:
        self.pid = 0
        self._loop = loop
        self._name = name
        self._start = start
        self._tell_ended = ended
        self._hopeless = hopeless
        self._failures = 0
        self._steady = loop.after(0, lambda: None)

    def runs(self, pid: int) -> None:
        """It was started as this pid."""
        self.pid = pid
        self._steady = self._loop.after(_STEADY_SECONDS, self._ran_well)

    def start(self) -> None:
        """Start it. A machine that has no process left to give may have one later."""
        try:
            self.runs(self._start())
        except OSError as error:
            self.ended(f"can't be started: {error.strerror}")

    def ended(self, how: str) -> None:
        """It is gone: start it again, some time later."""
        self.pid = 0
        self._steady.cancel()
        self._failures += 1
        if self._tell_ended is not None:
            self._tell_ended(how)
        if self._hopeless is not None and self._failures > _MOST_FAILURES:
            self._hopeless(f"{self._name} {how}, {self._failures} times in a row; its own words are in this log")
            return
        delay = min(_FIRST_DELAY * 2 ** min(self._failures - 1, 16), _LONGEST_DELAY)
        print(f"keeper: {self._name} {how}; starting it again in {delay:g} s", flush=True)
        self._loop.after(delay, self.start)

    def _ran_well(self) -> None:
        self._failures = 0


class Supervisor:
    """Buries the dead. `failure` says why once one that we can't do without does not run."""

    def __init__(self, loop: Loop) -> None:
        self.failure = ""
        self._loop = loop
        self._kept: list[Kept] = []

    def keep(self, kept: Kept) -> None:
        """Tell it when its process ends."""
        self._kept.append(kept)

    def fail(self, why: str) -> None:
        """Give up."""
        self.failure = why
        self._loop.stop()

    def reap(self) -> None:
        """Bury the dead (on SIGCHLD)."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for kept in self._kept:
                if pid == kept.pid:
                    kept.ended(_told(status))


def end_descendants() -> None:
    """Kill what we have started and what that has: sshd's processes for its connections have sessions of their own.

    One that was forked while we looked falls to us when its parent is dead, so we look again after each end.
    """
    while True:
        for pid in own_descendants():
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue  # gone; or it is another's, reached through a pid that was used again
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def own_descendants() -> list[int]:
    """Find what we have started, and what that has."""
    return descendants(os.getpid(), _parents())


def descendants(ancestor: int, parents: Mapping[int, int]) -> list[int]:
    """Those whose chain of parents leads to the ancestor. ``parents``: pid -> its parent's."""
    found = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {ancestor})


def _parents() -> dict[int, int]:
    parents = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  # pathlib takes 5 ms to import
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    # proc(5): pid (name) state ppid; a name may hold anything, also parentheses
                    parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue  # ended meanwhile
    return parents


def _told(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"ended with status {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"

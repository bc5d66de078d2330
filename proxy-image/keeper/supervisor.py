"""Keeps sshd running, and leaves no process behind. As process 1 it also buries whatever is given to it."""

import os
import signal
from collections.abc import Callable, Mapping

from .loop import Loop

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0
_STEADY_SECONDS = 10.0  # sshd that ran for so long did not fail at its start
_MOST_FAILURES = 8  # about 15 s of trying


class Supervisor:
    """Starts sshd anew, with growing delays, when it ends. `failure` says why once that is hopeless."""

    def __init__(self, loop: Loop, start: Callable[[], int], first: int) -> None:
        self._loop = loop
        self._start = start
        self._pid = first
        self._failures = 0
        self._steady = loop.after(_STEADY_SECONDS, self._ran_well)
        self.failure = ""

    def reap(self) -> None:
        """Bury the dead (on SIGCHLD)."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid == self._pid:
                self._ended(_told(status))

    def _ended(self, how: str) -> None:
        self._steady.cancel()
        self._failures += 1
        if self._failures > _MOST_FAILURES:
            self.failure = f"sshd {how}, {self._failures} times in a row; its own words are in this log"
            self._loop.stop()
            return
        delay = min(_FIRST_DELAY * 2 ** (self._failures - 1), _LONGEST_DELAY)
        print(f"keeper: sshd {how}; starting it again in {delay:g} s", flush=True)
        self._loop.after(delay, self._again)

    def _again(self) -> None:
        self._pid = self._start()
        self._steady = self._loop.after(_STEADY_SECONDS, self._ran_well)

    def _ran_well(self) -> None:
        self._failures = 0


def end_descendants() -> None:
    """Kill what we have started and what that has: sshd's processes for its connections have sessions of their own."""
    for pid in descendants(os.getpid(), _parents()):
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue  # gone; or it is another's, reached through a pid that was used again
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        return


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

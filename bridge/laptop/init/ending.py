"""The end of the tree, as a part of init's loop: meanwhile init goes on serving, as programs that end still connect."""

import os
import select
import signal
import time

from bridge.laptop.init import tree

_RESCAN = 0.05  # seconds; while killing, a process may fork once more before it goes
_STUCK = 2.0  # seconds after SIGKILL; it is what the last writes of the process have to reach the pod


class Ending:
    """The end of the tree, in progress: SIGTERM now, SIGKILL at the deadline, done when none is left.

    Not ``entered``: only of what the commands are that were started, and what these have started.
    """

    def __init__(self, processes: tree.Tree, epoll: select.epoll, grace: float, *, entered: bool = True) -> None:
        self._entered = entered
        self._processes = processes
        self._epoll = epoll
        self._deadline = time.monotonic() + grace
        self._watched: dict[int, int] = {}  # pid -> pidfd
        self._asked = False
        self.killed: set[int] = set()

    def widen(self, grace: float) -> None:
        """Go on with the end of all."""
        if not self._entered:
            self._entered, self._asked = True, False
            self._deadline = time.monotonic() + grace

    def timeout(self) -> float:
        """Seconds until ``advance`` must be called even if no process ends."""
        return max(self._deadline - time.monotonic(), _RESCAN if self.killed else 0.0)

    def is_stuck(self) -> bool:
        """Whether SIGKILL was of no use: who waits in the kernel for a file system that doesn't answer can't end."""
        return bool(self.killed) and time.monotonic() >= self._deadline + _STUCK

    def advance(self) -> bool:
        """Ask all of them once; kill whoever is late. True when no process is left.

        Who comes later is not asked: it may be what a trap on SIGTERM cleans up with.
        """
        late = time.monotonic() >= self._deadline
        alive = self._processes.hold(entered=self._entered)
        for pid in [pid for pid in self._watched if pid not in alive]:
            os.close(self._watched.pop(pid))  # which also takes it out of the epoll
        for pid, pidfd in alive.items():
            if pid in self._watched:
                os.close(pidfd)
            else:
                self._watched[pid] = pidfd
                self._epoll.register(pidfd, select.EPOLLIN)
                if not self._asked:
                    tree.send(pidfd, signal.SIGTERM)
                    if self._processes.has_entered(pid):
                        tree.send(pidfd, signal.SIGHUP)
            if late:
                self.killed.add(pid)
                tree.send(self._watched[pid], signal.SIGKILL)
        self._asked = True
        return not alive

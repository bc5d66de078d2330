"""Which processes are in the sandbox, and how they are ended.

In the sandbox is who shares init's network namespace, or descends from init: as init is the subreaper, a daemon that
forked twice and left its session still does; and a descendant may have made network namespaces of its own.
SIGTERM goes to all of them at once (like systemd's control-group mode), then, after the grace, SIGKILL until none is
left. A process is held by its pidfd before it is judged, so that a reused pid is never hit.
"""

import os
import signal
from collections.abc import Mapping


class Tree:
    """The processes of the sandbox whose init this is."""

    def __init__(self) -> None:
        self._me = os.getpid()
        self._namespace = os.stat("/proc/self/ns/net").st_ino

    def hold(self) -> dict[int, int]:
        """All of them but init: pid -> pidfd, which the caller closes."""
        held = {}
        for pid in self._processes():
            try:
                held[pid] = os.pidfd_open(pid)
            except ProcessLookupError:
                continue  # ended meanwhile
        alive = self._processes()
        for pid in [pid for pid in held if pid not in alive]:
            os.close(held.pop(pid))
        return held

    def _processes(self) -> set[int]:
        parents = _parents()
        return {pid for pid in parents if self._is_ours(pid, parents)}

    def _is_ours(self, pid: int, parents: Mapping[int, int]) -> bool:
        return pid != self._me and (self._shares_namespace(pid) or self._descends(pid, parents))

    def _shares_namespace(self, pid: int) -> bool:
        try:
            return os.stat(f"/proc/{pid}/ns/net").st_ino == self._namespace
        except OSError:
            return False

    def _descends(self, pid: int, parents: Mapping[int, int]) -> bool:
        while pid > 1:
            pid = parents.get(pid, 0)
            if pid == self._me:
                return True
        return False


def send(pidfd: int, number: int) -> None:
    """Send a signal; a stopped process is continued to take it."""
    try:
        signal.pidfd_send_signal(pidfd, number)
        signal.pidfd_send_signal(pidfd, signal.SIGCONT)
    except (ProcessLookupError, PermissionError):
        pass  # ended meanwhile; or of another uid, which only an outsider who entered can have


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped, as by Ctrl-Z."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"T"
    except (OSError, IndexError):
        return False


def _parents() -> dict[int, int]:
    """Each living process's parent."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            parent = _parent(name)
            if parent is not None:
                found[int(name)] = parent
    return found


def _parent(pid: str) -> int | None:
    """From stat's ``pid (name) state ppid``; the name may hold anything, also parentheses. None: it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, parent, *_rest = file.read().rpartition(b")")[2].split()
        # A zombie with further threads is one whose first thread has ended: it lives.
        ended = state in b"ZX" and len(os.listdir(f"/proc/{pid}/task")) <= 1
    except (OSError, ValueError):
        return None
    return None if ended else int(parent)

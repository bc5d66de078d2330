"""Which processes are in the sandbox, and how they are ended.

In the sandbox is who

    shares init's network namespace
    is in a user namespace made within init's own: who made network namespaces of its own had to make one
    descends from init, or from one that shares its network namespace: as init is the subreaper, a daemon that forked
    twice and left its session still does

SIGTERM goes to all of them at once (like systemd's control-group mode), and SIGHUP to those that came in from another
terminal: to a shell it says that its connection is cut, where it would ignore SIGTERM (like SendSIGHUP= there). Then,
after the grace, SIGKILL until none is left. A process is held by its pidfd before it is judged, so that a reused pid is
never hit.
"""

import os
import select
import signal
from collections.abc import Callable, Container
from functools import partial

from bridge.laptop.init import kernel
from bridge.laptop.init.looking import look_until_sure, newest_first


class Tree:
    """The processes of the sandbox whose init this is, ``but`` those that serve them."""

    def __init__(self, *, but: Container[int] = ()) -> None:
        self._me = os.getpid()
        self._but = but
        self._namespace = os.stat("/proc/self/ns/net").st_ino
        self._user_namespace = os.stat("/proc/self/ns/user").st_ino

    def hold(self, *, entered: bool = True) -> dict[int, int]:
        """All of them but init: pid -> pidfd, which the caller closes. Those that have entered only if wanted."""
        is_meant = self._is_ours if entered else self._is_started_here
        return look_until_sure(partial(self._hold, is_meant))

    def _hold(self, is_meant: Callable[[int, dict[int, int | None]], bool]) -> tuple[dict[int, int], list[int]]:
        held: dict[int, int] = {}
        ended: list[int] = []
        parents: dict[int, int | None] = {}
        for pid in newest_first():
            try:
                pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                ended.append(pid)
                continue
            parents[pid] = _parent(pid)
            if parents[pid] is None:
                ended.append(pid)
            elif is_meant(pid, parents):
                held[pid] = pidfd
                continue
            elif _has_ended(pidfd):  # while it was judged: by then there was nothing to judge it by
                ended.append(pid)
            os.close(pidfd)
        return held, ended

    def has_entered(self, pid: int) -> bool:
        """Whether this one of them was started elsewhere, and came in (``bridge exec``)."""
        return not self._is_started_here(pid, {})

    def _is_ours(self, pid: int, parents: dict[int, int | None]) -> bool:
        if pid == self._me or pid in self._but:
            return False
        if self._shares_namespace(pid) or self._is_within(pid):
            return True
        return self._descends(pid, parents, self._is_inside)

    def _is_started_here(self, pid: int, parents: dict[int, int | None]) -> bool:
        return pid not in self._but and self._descends(pid, parents, lambda parent: parent == self._me)

    def _is_inside(self, pid: int) -> bool:
        return pid == self._me or self._shares_namespace(pid)

    def _shares_namespace(self, pid: int) -> bool:
        try:
            return os.stat(f"/proc/{pid}/ns/net").st_ino == self._namespace
        except OSError:
            return False

    def _is_within(self, pid: int) -> bool:
        """Whether its user namespace is init's own, or was made within that: there is no way out of it."""
        try:
            namespace = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            while os.fstat(namespace).st_ino != self._user_namespace:
                outer = kernel.parent_of_namespace(namespace)
                os.close(namespace)
                namespace = outer
        except OSError:
            return False
        finally:
            os.close(namespace)
        return True

    @staticmethod
    def _descends(pid: int | None, parents: dict[int, int | None], of: Callable[[int], bool]) -> bool:
        while pid:
            if pid not in parents:
                parents[pid] = _parent(pid)
            pid = parents[pid]
            if pid is not None and of(pid):
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


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _parent(pid: int) -> int | None:
    """From stat's ``pid (name) state ppid``; the name may hold anything, also parentheses. None: it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, parent, *_rest = file.read().rpartition(b")")[2].split()
        # A zombie with further threads is one whose first thread has ended: it lives.
        ended = state in b"ZX" and len(os.listdir(f"/proc/{pid}/task")) <= 1
    except (OSError, ValueError):
        return None
    return None if ended else int(parent)

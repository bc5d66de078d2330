"""The pod's volumes, live: mounted over FUSE by sshfs, which speaks SFTP with the pod over a socket of bridge's.

Init is root of its namespaces, so it mounts by itself, without fusermount's set-uid bit, and gives sshfs the open
/dev/fuse: sshfs, which reads what comes from the pod, has no rights that the process has not. The mount is there at
once; who looks into it waits until the pod answers, or the socket is closed.

Below each is an empty folder, mounted read-only: what is written to a volume when sshfs has ended, or while another one
takes its place, must fail and not land on the laptop.

A sshfs is not of the process's tree. It lives until all of that has ended, as closing a file means sending it.
"""

import fcntl
import os
import signal
from collections.abc import Collection
from contextlib import suppress

from bridge.laptop.init import kernel
from bridge.laptop.init.hidden import mount_tmpfs
from bridge.laptop.init.rooms import Rooms

_DEVICE = 3  # /dev/fuse, in sshfs


class Live:
    """The live volumes of the mount namespace that this process is in."""

    def __init__(self, rooms: Rooms, user_namespace: int, *, several_users: bool) -> None:
        self._rooms = rooms
        self._user_namespace = user_namespace
        self._options = ",allow_other" if several_users else ""
        self._places: set[str] = set()  # real paths with the empty folder
        self._mounted: dict[str, str] = {}  # path -> real path
        self._sshfs: dict[str, int] = {}  # path -> pid

    @property
    def pids(self) -> Collection[int]:
        """The sshfs that run: a view, which changes with them."""
        return self._sshfs.values()

    def mount(
        self, argv: list[str], path: str, folder: str, target: str, *, stream: int, device: int, read_only: bool
    ) -> None:
        """Have the pod's ``folder`` at ``path``, whose place is ``target``. Raises OSError.

        ``argv`` is sshfs and its options, ``stream`` the socket for SFTP, ``device`` a /dev/fuse just opened.
        """
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0{self._options}"
        flags = kernel.MS_NOSUID | kernel.MS_NODEV | (kernel.MS_RDONLY if read_only else 0)
        kernel.mount(f"pod:{folder}", target, kind="fuse.sshfs", flags=flags, options=options)
        self._mounted[path] = target
        self._rooms.made_from(target, target)
        self._sshfs[path] = self._start([*argv, f":{folder}", f"/dev/fd/{_DEVICE}"], stream, device)

    def make_place(self, path: str) -> str:
        """Make room for a volume at ``path``; give the real path, where the empty folder is the last mount.

        Where the volume is already, it ends. Raises OSError.
        """
        if path in self._mounted:  # not looked up: it may be dead, or wait for a pod that doesn't answer
            target = self._mounted.pop(path)
            kernel.unmount(target)
            self._kill(path)
        else:
            target = self._rooms.make(path, folder=True)
        if target not in self._places:
            mount_tmpfs(target, mode=0o555, flags=kernel.MS_RDONLY)
            self._places.add(target)
        return target

    def ended(self, pid: int) -> None:
        """Note that a child of init's has been reaped."""
        for path in [path for path, each in self._sshfs.items() if each == pid]:
            del self._sshfs[path]

    def end(self) -> None:
        """End all of them, at once: what could be sent has been sent."""
        for path in list(self._sshfs):
            self._kill(path)

    def _kill(self, path: str) -> None:
        pid = self._sshfs.pop(path, None)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _start(self, argv: list[str], stream: int, device: int) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            with suppress(BaseException):
                self._become(argv, stream, device, parent)
            os._exit(127)
        return pid

    def _become(self, argv: list[str], stream: int, device: int, parent: int) -> None:
        """In the child."""
        kernel.setns(self._user_namespace, kernel.CLONE_NEWUSER)
        kernel.die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            return
        os.setsid()  # the terminal's signals are not for it
        os.chdir("/")
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # by which it ends itself when the stream is closed
        wanted = (stream, stream, os.open(os.devnull, os.O_RDWR), device)
        aside = [fcntl.fcntl(each, fcntl.F_DUPFD, len(wanted)) for each in wanted]
        for number, each in enumerate(aside):
            os.dup2(each, number)
        os.closerange(len(wanted), os.sysconf("SC_OPEN_MAX"))  # what the shell gave is for the process alone
        os.execve(argv[0], argv, {})

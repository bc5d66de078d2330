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
        self._volumes: dict[str, tuple[str, int]] = {}  # path -> real path, sshfs
        self.pids: set[int] = set()
        """The sshfs that run."""

    def mount(self, argv: list[str], path: str, folder: str, stream: int, *, read_only: bool) -> str:
        """Have the pod's ``folder`` at ``path``, by SFTP on the socket ``stream``. Gives the real path. Raises OSError.

        ``argv``: sshfs and its options. Where the volume is already, that one ends, and this takes its place.
        """
        if path in self._volumes:
            target, former = self._volumes.pop(path)
            kernel.unmount(target)
            self._kill(former)
        else:
            target = self._rooms.make(path, folder=True)
            mount_tmpfs(target, mode=0o555, flags=kernel.MS_RDONLY)
        device = os.open("/dev/fuse", os.O_RDWR)
        try:
            options = f"fd={device},rootmode=40000,user_id=0,group_id=0{self._options}"
            flags = kernel.MS_NOSUID | kernel.MS_NODEV | (kernel.MS_RDONLY if read_only else 0)
            kernel.mount("pod:" + folder, target, kind="fuse.sshfs", flags=flags, options=options)
            pid = self._start([*argv, f":{folder}", f"/dev/fd/{_DEVICE}"], stream, device)
        finally:
            os.close(device)
        self.pids.add(pid)
        self._volumes[path] = target, pid
        return target

    def ended(self, pid: int) -> None:
        """Note that a child of init's has been reaped."""
        self.pids.discard(pid)

    def end(self) -> None:
        """End all of them, at once: what could be sent has been sent."""
        for pid in self.pids.copy():
            self._kill(pid)

    def _kill(self, pid: int) -> None:
        if pid in self.pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self.pids.discard(pid)

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

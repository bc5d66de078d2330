"""Files and folders of ours in place of the real ones, inside the sandbox only.

The files live in the hidden tmpfs (``hidden``). A bind mount over a file is lost when somebody renames a new file over
the real one, or removes it (the kernel detaches it; DHCP and VPN clients do this to /etc/resolv.conf), so ``renew``
puts back what is gone. It is called when /proc/self/mountinfo says that mounts have changed, which is just before the
new file is there.
"""

import os
from collections.abc import Iterable

from bridge.laptop.init import kernel
from bridge.laptop.init.hidden import Hidden, mount_tmpfs
from bridge.laptop.init.rooms import Rooms

RESOLV_CONF = "/etc/resolv.conf"
HOSTS = "/etc/hosts"
NSSWITCH = "/etc/nsswitch.conf"

# Daemons that glibc asks before, or instead of, the files above. They would answer for the laptop.
_MASKED = ("/run/nscd", "/var/run/nscd", "/run/systemd/resolve", "/var/run/systemd/resolve")
_RESOLVED = ("stub-resolv.conf", "resolv.conf")  # where /etc/resolv.conf is often a link to


class Covers:
    """The covered paths of the mount namespace that this process is in."""

    def __init__(self, hidden: Hidden, rooms: Rooms) -> None:
        self._hidden = hidden
        self._rooms = rooms
        self._covered: dict[str, str] = {}  # real path -> name in the hidden tmpfs

    def install(self) -> None:
        """Cover the resolver's files and mask its daemons. The files are empty until ``write``."""
        nsswitch = _read(NSSWITCH)
        for folder in sorted({os.path.realpath(path) for path in _MASKED}):
            if os.path.isdir(folder):
                mount_tmpfs(folder)
                if folder.endswith("/resolve"):
                    for name in _RESOLVED:
                        _create(os.path.join(folder, name))
        for path in (RESOLV_CONF, HOSTS):
            self.write(path, "")
            self._cover(path)
        if nsswitch is not None:
            self.write(NSSWITCH, nsswitch_with_dns(nsswitch))
            self._cover(NSSWITCH)

    def write(self, path: str, content: str) -> None:
        """Set what a covered file says."""
        fd = os.open(self._hidden.path(_name(path)), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(content)

    def yield_to(self, volumes: Iterable[str]) -> None:
        """Leave the paths themselves to volumes, and cover files in them again, which they may not have."""
        for volume in volumes:
            self._covered.pop(volume, None)
            for target in self._covered:
                if target.startswith(volume + "/"):
                    self._rooms.make(target, folder=False)

    def renew(self) -> bool:
        """Cover again what has been uncovered. False when something could not be, as it is just being replaced."""
        settled = True
        for target, name in self._covered.items():
            try:
                there, ours = os.stat(target), os.stat(self._hidden.path(name))
                if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
                    self._bind(name, target)
            except OSError:
                settled = False
        return settled

    def _cover(self, path: str) -> None:
        target = os.path.realpath(path)
        if not os.path.exists(target):
            self._rooms.make(target, folder=False)
        self._bind(_name(path), target)
        self._covered[target] = _name(path)

    def _bind(self, name: str, target: str) -> None:
        kernel.mount(self._hidden.path(name), target, flags=kernel.MS_BIND)


def _name(path: str) -> str:
    return os.path.basename(path)


def _create(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))


def nsswitch_with_dns(text: str) -> str:
    """nsswitch.conf(5) as it was, but for ``hosts``: files, then DNS. Others would ask the laptop's resolver."""
    kept = [line for line in text.splitlines() if not line.lstrip().startswith("hosts:")]
    return "\n".join([*kept, "hosts: files dns", ""])


def _read(path: str) -> str | None:
    """None where there is no such file: musl has no nsswitch.conf, and asks files, then DNS, as it is."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return None

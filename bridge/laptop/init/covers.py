"""Files and folders of ours in place of the real ones, inside the sandbox only.

The files live in a tmpfs which no path leads to: it is mounted on a folder, and then the folder is bound over itself.
A bind mount over a file is lost when somebody renames a new file over the real one, or removes it (the kernel detaches
it; DHCP and VPN clients do this to /etc/resolv.conf), so ``renew`` puts back what is gone. It is called when
/proc/self/mountinfo says that mounts have changed, which is just before the new file is there.
"""

import errno
import os
import stat
from collections.abc import Iterator

from bridge.laptop.init import kernel

RESOLV_CONF = "/etc/resolv.conf"
HOSTS = "/etc/hosts"
NSSWITCH = "/etc/nsswitch.conf"

# Daemons that glibc asks before, or instead of, the files above. They would answer for the laptop.
_MASKED = ("/run/nscd", "/var/run/nscd", "/run/systemd/resolve", "/var/run/systemd/resolve")
_RESOLVED = ("stub-resolv.conf", "resolv.conf")  # where /etc/resolv.conf is often a link to
_INCONSPICUOUS = ("/srv", "/media", "/mnt", "/opt", "/usr", "/var")


class Covers:
    """The covered paths of the mount namespace that this process is in."""

    def __init__(self) -> None:
        self._store = _hidden_tmpfs()
        self._covered: dict[str, str] = {}  # real path -> name in the store

    def install(self) -> None:
        """Cover the resolver's files and mask its daemons. The files are empty until ``write``."""
        nsswitch = _read(NSSWITCH)
        for folder in sorted({os.path.realpath(path) for path in _MASKED}):
            if os.path.isdir(folder):
                _mount_tmpfs(folder)
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
        fd = os.open(_name(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644, dir_fd=self._store)
        with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(content)

    def renew(self) -> bool:
        """Cover again what has been uncovered. False when something could not be, as it is just being replaced."""
        settled = True
        for target, name in self._covered.items():
            try:
                there, ours = os.stat(target), os.stat(name, dir_fd=self._store)
                if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
                    self._bind(name, target)
            except OSError:
                settled = False
        return settled

    def _cover(self, path: str) -> None:
        target = os.path.realpath(path)
        if not os.path.exists(target):
            _make_possible(target)
        self._bind(_name(path), target)
        self._covered[target] = _name(path)

    def _bind(self, name: str, target: str) -> None:
        kernel.mount(f"/proc/self/fd/{self._store}/{name}", target, flags=kernel.MS_BIND)


def _name(path: str) -> str:
    return os.path.basename(path)


def _hidden_tmpfs() -> int:
    """A tmpfs that only the returned descriptor leads to."""
    failed = OSError(errno.ENOENT, "no folder to hide files under")
    for folder in _INCONSPICUOUS:
        if not os.path.isdir(folder) or os.path.islink(folder):
            continue
        real = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        _mount_tmpfs(folder)
        store = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            # Not MS_REC: that would take along the tmpfs, which is mounted in the folder. So it fails where the
            # laptop has mounts in there, and the next folder is tried.
            kernel.mount(f"/proc/self/fd/{real}", folder, flags=kernel.MS_BIND)
        except OSError as error:
            failed = error
            os.close(store)
            kernel.unmount(folder)
        else:
            return store
        finally:
            os.close(real)
    raise failed


def _mount_tmpfs(folder: str) -> None:
    kernel.mount("tmpfs", folder, kind="tmpfs", flags=kernel.MS_NOSUID | kernel.MS_NODEV, options="mode=755")


def _create(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))


def _make_possible(path: str) -> None:
    """Make a missing file's path exist, by a tmpfs over the nearest folder that is there, its entries bound back."""
    folder = os.path.dirname(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    _make_room_in(folder)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    _create(path)


def _make_room_in(folder: str) -> None:
    """Put a tmpfs over ``folder`` which shows the same entries, and where new ones can be made."""
    real = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        entries = list(_entries(real))
        _mount_tmpfs(folder)
        for name, mode in entries:
            _show(f"/proc/self/fd/{real}/{name}", os.path.join(folder, name), mode)
    finally:
        os.close(real)


def _entries(directory: int) -> Iterator[tuple[str, int]]:
    listing = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
    try:
        for name in os.listdir(listing):
            yield name, os.stat(name, dir_fd=listing, follow_symlinks=False).st_mode
    finally:
        os.close(listing)


def _show(real: str, shown: str, mode: int) -> None:
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(real), shown)
        return
    if stat.S_ISDIR(mode):
        os.mkdir(shown)
    else:
        _create(shown)
    kernel.mount(real, shown, flags=kernel.MS_BIND | kernel.MS_REC)


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

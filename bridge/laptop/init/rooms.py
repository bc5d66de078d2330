"""Room for paths: any path can be made to exist in the sandbox, while nothing of the laptop's changes.

What is missing is made in the nearest folder that is there. That is the laptop's, and often not the user's to write
to; so a tmpfs is put over it, a *room*, which shows the same entries, each bound (symbolic links are made again). It
is furnished in the hidden tmpfs and then moved to its place, so nobody sees it half.

The root folder can't be covered: processes have it as their root, not as the path ``/``. There a room becomes the new
root by pivot_root(2), which also changes the root of those who had the old one. Not by chroot(2): who is in a chroot
may not make user namespaces (user_namespaces(7)), so ``unshare -r`` and browsers' sandboxes would fail.

An entry of a room stays what it is when the laptop replaces it by another file of the same name, and new entries go
to one side only. For folders of the system, which rarely change, that does not matter; the user's own are noted
(``Rooms.own``), to be said.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from bridge.laptop.init import kernel
from bridge.laptop.init.hidden import Hidden, mount_tmpfs

_NEW = "new"
_OLD_ROOT = ".bridge-old-root"
_KERNELS = ("/proc", "/sys")
_WRITABLE = 0o222


class Rooms:
    """The rooms of the mount namespace that this process is in."""

    def __init__(self, hidden: Hidden) -> None:
        self.own: list[str] = []  # covered folders that the user may write to
        self._hidden = hidden
        self._devices: dict[int, int] = {}  # of the rooms: held open, as the kernel gives a number again that is free
        self._content: dict[str, str] = {}  # folder of a volume -> where what it shows can be written to

    def made_from(self, folder: str, writable: str) -> None:
        """Note that ``folder`` is a volume, which can be written to at ``writable``: entries may be made there.

        As in the pod, where what a volume in a volume is mounted on is made in the outer one.
        """
        self._content[folder] = writable

    def make(self, path: str, *, folder: bool) -> str:
        """Have a folder, or a file, at ``path``. Gives the path without symbolic links.

        Whatever is there already is left as it is, unless it is of the other kind. Raises OSError.
        """
        real = os.path.realpath(path)
        _check_possible(real)
        if not _is_there(real, folder=folder):
            parent, name = os.path.split(real)
            while not os.path.isdir(parent):
                parent, name = os.path.split(parent)
            self._make_free(parent, name)
            self._create(parent, os.path.relpath(real, parent), folder=folder)
        return real

    def _make_free(self, parent: str, name: str) -> None:
        """Have ``parent`` be a folder in which ``name`` is not, and can be made."""
        entry = os.path.join(parent, name)
        if self._is_room(parent):
            _remove(entry)
        elif os.path.lexists(entry) or self._writable(parent) is None:
            self._cover(parent, name)

    def _create(self, parent: str, path: str, *, folder: bool) -> None:
        volume = None if self._is_room(parent) else self._writable(parent)
        mode = 0o755 if volume else 0o555  # what somebody would write to a room would be lost
        created = os.path.join(volume or parent, path)
        os.makedirs(os.path.dirname(created), mode, exist_ok=True)
        if folder:
            os.mkdir(created, mode)
        else:
            _create_file(created)

    def _is_room(self, folder: str) -> bool:
        return os.stat(folder).st_dev in self._devices

    def _writable(self, folder: str) -> str | None:
        """Where a folder in a volume can be written to, as the volume may be bound read-only; None for others."""
        volumes = [each for each in self._content if f"{folder}/".startswith(f"{each}/")]
        if not volumes:
            return None
        nearest = max(volumes, key=len)
        return self._content[nearest] + folder.removeprefix(nearest)

    def _cover(self, folder: str, without: str) -> None:
        own = os.access(folder, os.W_OK)
        mode = stat.S_IMODE(os.stat(folder).st_mode)
        new = self._hidden.path(_NEW)
        os.makedirs(new, exist_ok=True)
        mount_tmpfs(new, mode=mode if own else mode & ~_WRITABLE)
        room = os.open(new, os.O_PATH | os.O_DIRECTORY)
        try:
            _furnish(new, folder, without)
            if folder == "/":
                self._become_root(new)
            else:
                kernel.mount(new, folder, flags=kernel.MS_MOVE)
        except BaseException:
            os.close(room)
            kernel.unmount(new)
            raise
        self._devices[os.fstat(room).st_dev] = room
        if own:
            self.own.append(folder)

    def _become_root(self, new: str) -> None:
        # What is bound later must be in the tree of mounts that stays. There is always a /proc to hide below.
        proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
        kernel.unmount(f"{new}/proc")
        hidden = self._hidden.bind_at(f"{new}/proc")
        kernel.mount(f"/proc/self/fd/{proc}", f"{new}/proc", flags=kernel.MS_BIND | kernel.MS_REC)
        os.close(proc)
        os.mkdir(f"{new}/{_OLD_ROOT}")
        kernel.pivot_root(new, f"{new}/{_OLD_ROOT}")
        os.chdir("/")
        kernel.unmount(f"/{_OLD_ROOT}")
        os.rmdir(f"/{_OLD_ROOT}")
        self._hidden.bind_from(hidden)


def _check_possible(path: str) -> None:
    if path == "/" or any(path == each or path.startswith(each + "/") for each in _KERNELS):
        raise OSError(errno.EBUSY, "the kernel's own", path)


def _is_there(path: str, *, folder: bool) -> bool:
    return os.path.isdir(path) if folder else os.path.exists(path) and not os.path.isdir(path)


def _create_file(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o444))


def _remove(entry: str) -> None:
    """Take an entry out of a room."""
    if os.path.islink(entry):
        os.unlink(entry)
    elif os.path.lexists(entry):
        with suppress(OSError):  # what the room has of its own has nothing mounted on it
            kernel.unmount(entry)
        (os.rmdir if os.path.isdir(entry) else os.unlink)(entry)


def _furnish(room: str, folder: str, without: str) -> None:
    real = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        for entry in _entries(real):
            if entry.name != without:
                _show(entry, f"/proc/self/fd/{real}/{entry.name}", os.path.join(room, entry.name))
    finally:
        os.close(real)


def _entries(directory: int) -> Iterator["os.DirEntry[str]"]:
    try:
        listing = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
    except PermissionError:
        if os.access(f"/proc/self/fd/{directory}", os.X_OK):
            raise  # what is in there can be used by who knows its name
        return
    try:
        with os.scandir(listing) as entries:
            yield from entries
    finally:
        os.close(listing)


def _show(entry: "os.DirEntry[str]", real: str, shown: str) -> None:
    try:
        if entry.is_symlink():
            os.symlink(os.readlink(real), shown)
            return
        if entry.is_dir(follow_symlinks=False):
            os.mkdir(shown)
        else:
            _create_file(shown)
        kernel.mount(real, shown, flags=kernel.MS_BIND | kernel.MS_REC)
    except OSError:
        _remove(shown)  # it has just been removed by somebody, or is not for this user

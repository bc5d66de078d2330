"""The pod's volumes at their own paths: folders and files of the hidden tmpfs, which bridge fills from outside, bound.

A volume that is bound again, as after a new swap, takes the place of the former.
"""

import errno
import os

from bridge.laptop.init import kernel
from bridge.laptop.init.hidden import VOLUMES, Hidden
from bridge.laptop.init.rooms import Rooms

_FLAGS = kernel.MS_NOSUID | kernel.MS_NODEV


class Volumes:
    """The volumes of the mount namespace that this process is in."""

    def __init__(self, hidden: Hidden, rooms: Rooms) -> None:
        self._hidden = hidden
        self._rooms = rooms
        self._bound: dict[str, tuple[int, int]] = {}  # real path -> device and inode of what was bound there

    def bind(self, path: str, source: str, *, read_only: bool) -> str:
        """Have ``source``, a folder or file of the store, appear at ``path``. Gives the real path. Raises OSError."""
        writable = self._hidden.path(VOLUMES, source)
        if _identity(writable)[0] != os.fstat(self._hidden.fd).st_dev:
            raise OSError(errno.EXDEV, "a symbolic link to a file of the laptop", path)
        target = self._rooms.make(path, folder=os.path.isdir(writable))
        if _identity(target) != _identity(writable):
            if self._bound.get(target) == _identity(target):
                kernel.unmount(target)
            kernel.mount(writable, target, flags=kernel.MS_BIND)
        flags = kernel.MS_RDONLY if read_only else 0
        kernel.mount("", target, flags=kernel.MS_REMOUNT | kernel.MS_BIND | _FLAGS | flags)
        self._bound[target] = _identity(writable)
        self._rooms.made_from(target, writable)
        return target


def _identity(path: str) -> tuple[int, int]:
    there = os.stat(path)
    return there.st_dev, there.st_ino

"""A tmpfs that no path leads to: files of ours, from which covers and volumes are bound.

It is mounted on a folder, and then the folder is bound over itself.

    resolv.conf ...  what covers the laptop's own (``covers``)
    volumes/         what bridge writes from outside, through a descriptor (``volumes``)
    new/             where a room is furnished, before it is moved to its place (``rooms``)
"""

import errno
import os

from bridge.laptop.init import kernel

VOLUMES = "volumes"
_INCONSPICUOUS = ("/srv", "/media", "/mnt", "/opt", "/usr", "/var")


class Hidden:
    """The hidden tmpfs of the mount namespace that this process is in."""

    def __init__(self) -> None:
        self.fd = _hidden_tmpfs()
        os.mkdir(self.path(VOLUMES), 0o700)

    def path(self, *names: str) -> str:
        """Where something in it is, for system calls of this process."""
        return "/".join([f"/proc/self/fd/{self.fd}", *names])

    def open(self, *names: str) -> int:
        """A descriptor of something in it, which says where it is and no more (O_PATH)."""
        return os.open(self.path(*names), os.O_PATH)

    def bind_at(self, folder: str) -> int:
        """Be in ``folder`` too. Gives a descriptor for ``bind_from``."""
        kernel.mount(self.path(), folder, flags=kernel.MS_BIND)
        return os.open(folder, os.O_PATH | os.O_DIRECTORY)

    def bind_from(self, there: int) -> None:
        """From now on bind from ``there``. The content is the same, also for who has a descriptor from before."""
        os.dup2(there, self.fd, inheritable=False)
        os.close(there)


def mount_tmpfs(folder: str, *, mode: int = 0o755, flags: int = 0) -> None:
    """Mount a new tmpfs on ``folder``."""
    flags |= kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("tmpfs", folder, kind="tmpfs", flags=flags, options=f"mode={mode:o}")


def _hidden_tmpfs() -> int:
    """A tmpfs that only the returned descriptor leads to."""
    failed = OSError(errno.ENOENT, "no folder to hide files under")
    for folder in _INCONSPICUOUS:
        if not os.path.isdir(folder) or os.path.islink(folder):
            continue
        real = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        mount_tmpfs(folder)
        hidden = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            # Not MS_REC: that would take along the tmpfs, which is mounted in the folder. So it fails where the
            # laptop has mounts in there, and the next folder is tried.
            kernel.mount(f"/proc/self/fd/{real}", folder, flags=kernel.MS_BIND)
        except OSError as error:
            failed = error
            os.close(hidden)
            kernel.unmount(folder)
        else:
            return hidden
        finally:
            os.close(real)
    raise failed

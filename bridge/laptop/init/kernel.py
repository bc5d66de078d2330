"""System calls that Python 3.11 has no function for (namespaces(7), mount(2), prctl(2)).

Each raises OSError with the errno, like ``os`` does.
"""

import ctypes
import fcntl
import os

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNET = 0x4000_0000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_REMOUNT = 32
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384

MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36

_NS_GET_PARENT = 0xB702

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.pivot_root.argtypes = (ctypes.c_char_p, ctypes.c_char_p)  # in glibc and musl, though in no header
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)


def unshare(flags: int) -> None:
    """Leave the namespaces in ``flags`` for new ones."""
    _check(_libc.unshare(flags))


def parent_of_namespace(fd: int) -> int:
    """A descriptor of the user namespace which that behind ``fd`` was made in; EPERM where it is outside of ours."""
    return fcntl.ioctl(fd, _NS_GET_PARENT)


def setns(fd: int, kind: int) -> None:
    """Enter the namespace behind ``fd``."""
    _check(_libc.setns(fd, kind))


def mount(source: str, target: str, *, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount ``source`` (a path with MS_BIND, else a label) on ``target``."""
    _check(
        _libc.mount(os.fsencode(source), os.fsencode(target), os.fsencode(kind), flags, os.fsencode(options)),
        target,
    )


def unmount(target: str) -> None:
    """Take off the last mount on ``target``, as soon as nothing uses it."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), target)


def pivot_root(new: str, old: str) -> None:
    """Make ``new`` the root folder, of this process and of all that had the old one, which will be at ``old``."""
    _check(_libc.pivot_root(os.fsencode(new), os.fsencode(old)), new)


def become_subreaper() -> None:
    """Orphans below this process become its children, not those of PID 1."""
    _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send the signal when the parent ends. Forgotten at the next change of credentials."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0))


def set_name(name: str) -> None:
    """The name that ``ps`` shows (15 bytes)."""
    text = ctypes.create_string_buffer(name.encode()[:15])
    _check(_libc.prctl(PR_SET_NAME, ctypes.addressof(text), 0, 0, 0))


def _check(result: int, path: str | None = None) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)

"""The sandbox's user, network and mount namespaces, and a second user namespace for the process.

The first one maps the caller to root, which is what lets init configure network and mounts (and lets ``nft`` keep
its capabilities over exec). The process enters the second, where the caller's own ids are back: databases refuse to
run as root, and files must belong to who made them. It has no rights over the first, so none over network or mounts.

A caller who is root keeps every id (a container where the developer is root, a test run): there the maps are those of
the namespace it comes from. Groups other than the own one show as ``nogroup`` but keep their effect on files.

user_namespaces(7): an unprivileged process may map its own ids only, and must forbid setgroups(2) first.
"""

import os
from collections.abc import Iterable

from bridge.laptop.init import kernel

_WAY_IN = (
    ("user", kernel.CLONE_NEWUSER),
    ("net", kernel.CLONE_NEWNET),
    ("mnt", kernel.CLONE_NEWNS),
)
"""What is entered first, in this order: the rights over the others come with the user namespace. Last the own one."""


def enter_user_namespace() -> None:
    """Become root of a new user namespace. Raises OSError, about the map's path when it is the map that is refused."""
    uid, gid = os.geteuid(), os.getegid()
    uids, gids = _own_maps(uid, gid)
    if uids:
        _map_from_outside(uids, gids)
    else:
        kernel.unshare(kernel.CLONE_NEWUSER)
        _write_maps("self", f"0 {uid} 1", f"0 {gid} 1")


def _map_from_outside(uids: str, gids: str) -> None:
    """Enter a user namespace with maps of several ids, which only a process outside of it may write."""
    unshared_read, unshared_write = os.pipe()
    me = os.getpid()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(unshared_write)
            if os.read(unshared_read, 1):
                _write_maps(str(me), uids, gids)
                status = 0
        except OSError as error:
            status = error.errno or 1
        finally:
            os._exit(status)
    os.close(unshared_read)
    try:
        kernel.unshare(kernel.CLONE_NEWUSER)
        os.write(unshared_write, b"+")
    finally:
        os.close(unshared_write)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        raise OSError(status, os.strerror(status), "/proc/self/uid_map")


def enter_network_and_mounts() -> None:
    """Enter new network and mount namespaces. What the laptop mounts later still arrives; nothing goes back."""
    kernel.unshare(kernel.CLONE_NEWNET | kernel.CLONE_NEWNS)


def own_user_namespace(uid: int, gid: int) -> int:
    """Make the namespace where the process is ``uid`` and ``gid`` again. Gives its descriptor."""
    uids, gids = _own_maps(uid, gid)
    ready_read, ready_write = os.pipe()
    done_read, done_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _hold_a_namespace(ready_write, done_read, done_write)
    os.close(ready_write)
    os.close(done_read)
    try:
        if os.read(ready_read, 1) != b"+":
            raise OSError(1, "a second user namespace is not allowed")
        _write_maps(str(pid), uids or f"{uid} 0 1", gids or f"{gid} 0 1")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
    finally:
        os.close(ready_read)
        os.close(done_write)  # lets the child go
        os.waitpid(pid, 0)


def way_in(own_user: int) -> list[int]:
    """Descriptors, the caller's, of the namespaces that this process is in, and of the process's own one: `enter`."""
    return [*(os.open(f"/proc/self/ns/{name}", os.O_RDONLY) for name, _ in _WAY_IN), os.dup(own_user)]


def enter(descriptors: Iterable[int]) -> None:
    """Enter what `way_in` gave, from outside. Raises OSError.

    Whose euid made the user namespace has every right in it (user_namespaces(7)), as long as this process has one
    thread. The working directory is then the root of the other mounts (setns(2)): to be set again.
    """
    kinds = (*(kind for _, kind in _WAY_IN), kernel.CLONE_NEWUSER)
    for descriptor, kind in zip(descriptors, kinds, strict=True):
        kernel.setns(descriptor, kind)


def _hold_a_namespace(ready: int, done: int, other_end: int) -> None:
    """In a child: be in a new user namespace until ``done`` is closed. Never returns."""
    try:
        os.close(other_end)
        kernel.unshare(kernel.CLONE_NEWUSER)
        os.write(ready, b"+")
        os.read(done, 1)
    finally:
        os._exit(0)


def _own_maps(uid: int, gid: int) -> tuple[str, str]:
    """For root: maps which keep every id of the current namespace. For others: empty."""
    if uid != 0 or gid != 0:
        return "", ""
    return _identity("/proc/self/uid_map"), _identity("/proc/self/gid_map")


def _identity(path: str) -> str:
    with open(path, encoding="ascii") as file:
        ranges = [line.split() for line in file]
    return "\n".join(f"{inside} {inside} {count}" for inside, _outside, count in ranges)


def _write_maps(process: str, uids: str, gids: str) -> None:
    if "\n" not in gids and gids.endswith(" 1"):
        _write(f"/proc/{process}/setgroups", "deny")
    _write(f"/proc/{process}/uid_map", uids)
    _write(f"/proc/{process}/gid_map", gids)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())  # one write: the kernel takes a map whole or not at all
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(fd)

"""One laptop at a time: ends the SSH connection of the one whose place another takes.

The older one still listens on the pod's ports. sshd would hold them until it finds the older laptop gone, and the newer
one would be refused them until then. Whose connection it is:

    the older control connection -> the inode of its other end (/proc/net/tcp) -> who has that open (/proc/PID/fd)

Only descendants of ours are looked at, so nothing but an sshd of ours is ever ended. Sources: proc_net_tcp(5),
proc_pid_fd(5), pidfd_open(2).
"""

import contextlib
import os
import signal
import socket
import struct
from collections.abc import Callable, Iterable

from .loop import READ, Loop
from .supervisor import own_descendants

_ESTABLISHED = "01"  # TCP_ESTABLISHED of include/net/tcp_states.h
_LONGEST_END = 2.0  # seconds that an end is waited for
_UNSEEN_END = 0.2  # the same where the kernel does not tell of an end: pidfd_open needs Linux 5.3

Address = tuple[str, int]


def end_older(loop: Loop, older: socket.socket, newer: socket.socket, then: Callable[[], None]) -> None:
    """End the sshd that the older control connection comes from, unless the newer one comes from it, too.

    ``then`` is called when it is gone, and with it the ports that it held: at once, where there is nothing to end.
    """
    before = _whose(older)
    if before is None or before == _whose(newer):
        then()
        return
    print("keeper: another connection has taken over; ending the SSH connection of the one before", flush=True)
    _end(loop, before, then)


def _whose(sock: socket.socket) -> int | None:
    """Find the process of ours that has the other end of a connection."""
    try:
        here, there = sock.getsockname(), sock.getpeername()
        with open("/proc/net/tcp") as table:  # noqa: PTH123  # pathlib takes 5 ms to import
            inode = inode_of(table, local=there, remote=here)
    except OSError:
        return None  # it is gone by itself
    return None if inode is None else _who_has(f"socket:[{inode}]")


def inode_of(table: Iterable[str], *, local: Address, remote: Address) -> int | None:
    """Find an established connection's socket in /proc/net/tcp, as seen from its end ``local``."""
    wanted = [_as_printed(local), _as_printed(remote), _ESTABLISHED]
    for line in table:
        words = line.split()
        if words[1:4] == wanted:
            return int(words[9])
    return None


def _as_printed(address: Address) -> str:
    """Spell an address as the kernel does: one number in the machine's byte order, and the port."""
    (number,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{number:08X}:{address[1]:04X}"


def _who_has(link: str) -> int | None:
    for pid in own_descendants():
        folder = f"/proc/{pid}/fd"
        try:
            if any(os.readlink(f"{folder}/{name}") == link for name in os.listdir(folder)):  # noqa: PTH208, PTH115
                return pid
        except OSError:
            continue  # it ended, or closed one, meanwhile; or it may not be looked at
    return None


def _end(loop: Loop, pid: int, then: Callable[[], None]) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        then()
        return
    except OSError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        loop.after(_UNSEEN_END, then)
        return
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    _when_gone(loop, handle, then)


def _when_gone(loop: Loop, handle: int, then: Callable[[], None]) -> None:
    def gone() -> None:
        late.cancel()
        loop.watch(handle, 0, _nothing)
        os.close(handle)
        then()

    late = loop.after(_LONGEST_END, gone)
    loop.watch(handle, READ, lambda _: gone())


def _nothing(_: int) -> None:
    """Nobody calls it."""

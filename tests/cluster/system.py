"""The few system calls and commands that the harness needs: namespaces, mounts, processes with a record, waiting.

Python's standard library has no setns or unshare before 3.12 and no mount at all; one call each through libc costs
less than starting a program for each.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

NEW_MOUNT, NEW_UTS, NEW_IPC, NEW_PID, NEW_NETWORK = 0x00020000, 0x04000000, 0x08000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_BIND, MS_MOVE, MS_REC = 1, 2, 4096, 8192, 16384
MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 18, 1 << 19, 1 << 20
DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


class HarnessError(Exception):
    """The local cluster can't be had, or a step of it failed; the message says why and what to do."""


# -- system calls --------------------------------------------------------------------------------------------------
def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def setns(path: str | Path, kind: int = 0) -> None:
    """Enter the namespace that this file stands for: this thread, and what it starts."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(descriptor, kind), f"enter {path}")
    finally:
        os.close(descriptor)


def unshare(flags: int) -> None:
    """Leave these namespaces for new ones."""
    _check(_libc.unshare(flags), "make namespaces")


def mount(source: str | Path, target: str | Path, kind: str = "", *, flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    arguments = (str(source).encode(), str(target).encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())
    _check(_libc.mount(*arguments), f"mount {source} on {target}")


def unmount(target: str | Path, flags: int = 0) -> None:
    """umount2(2)."""
    _check(_libc.umount2(str(target).encode(), flags), f"unmount {target}")


def set_hostname(name: str) -> None:
    """sethostname(2), for this UTS namespace."""
    _check(_libc.sethostname(name.encode(), len(name.encode())), "set the host name")


def bind_file(source: Path, target: str) -> None:
    """Bind a file over another, following a link (``/etc/resolv.conf`` often is one, to a file below /run)."""
    place = Path(target).resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()
    mount(source, place, flags=MS_BIND)


@contextlib.contextmanager
def in_network(namespace: str | Path) -> Iterator[None]:
    """For the time of the block, be in that network namespace: a socket made here stays in it."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(namespace, NEW_NETWORK)
        try:
            yield
        finally:
            _check(_libc.setns(before, NEW_NETWORK), "go back to the own network namespace")
    finally:
        os.close(before)


# -- commands ------------------------------------------------------------------------------------------------------
def run(
    argv: Sequence[str | Path],
    *,
    text: str | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> str:
    """Run a command to its end; what it printed. Failing, its own words are the error's."""
    command = [str(word) for word in argv]
    try:
        result = subprocess.run(
            command, input=text, cwd=cwd, env=env, check=False, capture_output=True, text=True, errors="replace"
        )
    except FileNotFoundError as error:
        raise HarnessError(f"{command[0]} is not installed") from error
    if check and result.returncode:
        said = (result.stderr.strip() or result.stdout.strip())[-1500:]
        raise HarnessError(f"`{' '.join(command)[:300]}` failed ({result.returncode}): {said}")
    return result.stdout


# -- processes -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Process:
    """A process that we started, so recorded that no other can be taken for it: process ids come round again.

    As text: ``PID START-TIME BOOT-ID`` (the time in clock ticks since that boot, field 22 of /proc/PID/stat,
    proc(5)).
    """

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process with this id, if there is one now."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        state, *fields = stat.rpartition(")")[2].split()
        return None if state in "ZX" else cls(pid, int(fields[18]), _boot())

    @classmethod
    def parse(cls, text: str) -> Process:
        """The inverse of ``str``."""
        pid, started, boot = text.split()
        return cls(int(pid), int(started), boot)

    def __str__(self) -> str:
        return f"{self.pid} {self.started} {self.boot}"

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Process.of(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; a process that has ended takes none."""
        with self._descriptor() as descriptor, contextlib.suppress(ProcessLookupError):
            if descriptor is not None:
                signal.pidfd_send_signal(descriptor, number)

    def end(self, *, timeout: float = 10) -> None:
        """Kill it and wait for its end."""
        with self._descriptor() as descriptor:
            if descriptor is None:
                return
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            if not select.select([descriptor], [], [], timeout)[0]:
                raise HarnessError(f"process {self.pid} does not end")

    @contextlib.contextmanager
    def _descriptor(self) -> Iterator[int | None]:
        """A pidfd: it names this process and no other, even if the id is given away meanwhile. None if it has ended."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            yield None
            return
        try:
            yield descriptor if self.alive else None
        finally:
            os.close(descriptor)


def load(path: Path) -> Process | None:
    """The recorded process, if it is still alive."""
    try:
        process = Process.parse(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return process if process.alive else None


def save(path: Path, pid: int) -> Process:
    """Record a process that was just started."""
    process = Process.of(pid)
    if process is None:
        raise HarnessError(f"{path.name} ended as soon as it was started")
    path.write_text(str(process))
    return process


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


# -- waiting -------------------------------------------------------------------------------------------------------
def wait_until(
    what: str, probe: Callable[[], bool], *, timeout: float, alive: Process | None = None, every: float = 0.05
) -> None:
    """Ask until it is so, for things that have nothing to wait on; the end of ``alive`` ends the wait at once."""
    deadline = time.monotonic() + timeout
    with contextlib.ExitStack() as stack:
        watched: list[int] = []
        if alive is not None:
            watched.append(_pidfd(alive, stack))
        while not probe():
            if time.monotonic() > deadline:
                raise HarnessError(f"{what}: not within {timeout:g} s")
            if select.select(watched, [], [], every)[0]:
                raise HarnessError(f"{what}: process {alive.pid if alive else 0} ended before that")


def _pidfd(process: Process, stack: contextlib.ExitStack) -> int:
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError as error:
        raise HarnessError(f"process {process.pid} has ended") from error
    stack.callback(os.close, descriptor)
    return descriptor

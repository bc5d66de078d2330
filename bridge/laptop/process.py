"""The user's process, from bridge's side.

How a process ended is told by init over a socket that nothing is ever taken from (MSG_PEEK): so any number of waiters,
blocking or on an event loop, may ask any number of times. The socket's end without a word means that init was killed.
"""

import asyncio
import json
import os
import select
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from bridge.errors import SandboxError
from bridge.laptop.init.looking import look_until_sure, newest_first


@dataclass(frozen=True)
class Exit:
    """How a process ended: with a code, or by a signal."""

    code: int | None = None
    signal: int | None = None

    @property
    def exit_code(self) -> int:
        """As a shell tells it: 128 + n for signal n."""
        return 128 + self.signal if self.signal is not None else self.code or 0

    def __str__(self) -> str:
        if self.signal is None:
            return f"exit code {self.code}"
        try:
            return f"signal {signal.Signals(self.signal).name}"
        except ValueError:  # a real-time signal has no name
            return f"signal {self.signal}"


class Process:
    """A started command. ``pid`` is the host's: the sandbox has no pid namespace."""

    def __init__(self, pid: int, status: socket.socket) -> None:
        self.pid = pid
        self._status = status

    def poll(self) -> Exit | None:
        """How it ended, or None while it runs. Raises SandboxError when nobody can tell any more."""
        try:
            told = self._status.recv(4096, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        if not told:
            raise init_was_killed()
        return Exit(**json.loads(told))

    def wait(self, timeout: float | None = None) -> Exit:
        """Wait until it ends. Raises TimeoutError after ``timeout`` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (ended := self.poll()) is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._status], [], [], left)[0]:
                raise TimeoutError(f"process {self.pid} still runs")
        return ended

    async def exited(self) -> Exit:
        """The same for an event loop."""
        loop = asyncio.get_running_loop()
        waiting = self._status.dup()  # its own descriptor: several may wait at once
        try:
            while (ended := self.poll()) is None:
                readable = asyncio.Event()
                loop.add_reader(waiting, readable.set)
                try:
                    await readable.wait()
                finally:
                    loop.remove_reader(waiting)
            return ended
        finally:
            waiting.close()

    def signal(self, number: int) -> None:
        """Send a signal to this process alone; nothing when it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it ended in between
                os.kill(self.pid, number)

    def close(self) -> None:
        """Let go of what tells the end."""
        self._status.close()


# ---- when init is not there to do it ------------------------------------------------------------------------------
def init_was_killed() -> SandboxError:
    """The error for an init that is gone without a word."""
    hint = "Was it the kernel's out-of-memory killer? See `journalctl -k` or `dmesg`."
    return SandboxError("The sandbox's init was killed, and the process with it.", hint=hint)


def namespace_of(pid: int) -> int:
    """The network namespace that a process is in, as a number."""
    return Path(f"/proc/{pid}/ns/net").stat().st_ino


def processes_in(namespace: int) -> list[psutil.Process]:
    """The processes in a network namespace."""
    return look_until_sure(partial(_look, namespace))


def _look(namespace: int) -> tuple[list[psutil.Process], list[int]]:
    found, missed = [], []
    for pid in newest_first():
        try:
            if namespace_of(pid) == namespace:
                found.append(psutil.Process(pid))
        except (OSError, psutil.NoSuchProcess):
            missed.append(pid)  # ended, or not ours to look at
    return found, missed


def end_without_init(namespace: int, *, grace: float) -> None:
    """End what is left in a network namespace whose init is gone."""
    left = processes_in(namespace)
    for process in left:
        _send(process, signal.SIGTERM)
    psutil.wait_procs(left, timeout=grace)
    while left := processes_in(namespace):
        for process in left:
            _send(process, signal.SIGKILL)
        psutil.wait_procs(left, timeout=1)


def _send(process: psutil.Process, number: int) -> None:
    with suppress(psutil.Error):  # ended meanwhile (psutil looks whether the pid is still the same process)
        process.send_signal(number)

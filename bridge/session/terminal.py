"""bridge's own terminal: whether it is there to be asked on, and a question on it.

The question is read from the terminal itself, whatever stdin is. So it is for when nothing else reads there.
"""

from __future__ import annotations

import asyncio
import os

TERMINAL = "/dev/tty"
_NO = {"n", "no"}


def in_foreground() -> bool:
    """Whether bridge is in the foreground of a terminal, which then sends Ctrl-C to the process as well."""
    try:
        descriptor = _open()
    except OSError:
        return False
    try:
        return _is_ours(descriptor)
    finally:
        os.close(descriptor)


async def agrees(question: str) -> bool:
    """Ask a question to which Enter means yes, and wait for the line that answers it; no terminal means no."""
    try:
        descriptor = _open()
    except OSError:
        return False
    try:
        os.write(descriptor, f"{question} [Y/n] ".encode())
        await _readable(descriptor)
        if not _is_ours(descriptor):  # it is in the background now: to read would stop it
            return False
        return os.read(descriptor, 4096).decode(errors="replace").strip().lower() not in _NO
    except asyncio.CancelledError:
        os.write(descriptor, b"\n")
        raise
    finally:
        os.close(descriptor)


async def _readable(descriptor: int) -> None:
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)


def _open() -> int:
    return os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def _is_ours(descriptor: int) -> bool:
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False

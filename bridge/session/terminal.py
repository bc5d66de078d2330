"""bridge's own terminal: whether it is there to be asked on, and a question on it.

The question is read from the terminal itself, whatever stdin is. So it is for when nothing else reads there.
"""

from __future__ import annotations

import asyncio
import os

TERMINAL = "/dev/tty"
_YES, _NO = {"y", "yes"}, {"n", "no"}


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


async def agrees(question: str, *, enter_agrees: bool = True) -> bool:
    """Ask a question, and wait for the line that answers it; no terminal that could be asked on means no."""
    try:
        descriptor = _open()
    except OSError:
        return False
    try:
        answer = await _answer(descriptor, f"{question} {'[Y/n]' if enter_agrees else '[y/N]'} ")
    except asyncio.CancelledError:
        os.write(descriptor, b"\n")
        raise
    finally:
        os.close(descriptor)
    if answer is None:
        return False
    return answer not in _NO if enter_agrees else answer in _YES


async def _answer(descriptor: int, question: str) -> str | None:
    """What is typed; None in the background, where to read would stop bridge."""
    if not _is_ours(descriptor):
        return None
    os.write(descriptor, question.encode())
    await _readable(descriptor)
    return os.read(descriptor, 4096).decode(errors="replace").strip().lower() if _is_ours(descriptor) else None


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

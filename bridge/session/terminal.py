"""A question on bridge's own terminal.

The question is read from the terminal itself, whatever stdin is. So it is for when nothing else reads there.
"""

from __future__ import annotations

import asyncio
import os

from bridge.session.foreground import is_ours, open_terminal

_YES, _NO = {"y", "yes"}, {"n", "no"}


async def agrees(question: str, *, enter_agrees: bool = True) -> bool:
    """Ask a question, and wait for the line that answers it; no terminal that could be asked on means no."""
    try:
        descriptor = open_terminal()
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
    if not is_ours(descriptor):
        return None
    os.write(descriptor, question.encode())
    await _readable(descriptor)
    return os.read(descriptor, 4096).decode(errors="replace").strip().lower() if is_ours(descriptor) else None


async def _readable(descriptor: int) -> None:
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)

"""``--probe http:PATH``: what answers is asked as a kubelet would, but one that is paused does not fail it.

A question that is not answered stays open, and the next probe waits for the same answer: a paused process finds one of
ours when it goes on, not hundreds, and its backlog stays free for the cluster's.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from bridge.laptop.servers import Servers

PATIENCE = 3.0
"""Seconds in which an answer is expected. The kubelet's probe waits longer than twice that."""
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")
_LONGEST = 64 * 1024
NOBODY = 0
"""The status of a server that refuses, or says something else than HTTP."""


class HttpProbe:
    """Asks for a path, again and again. On the event loop."""

    def __init__(self, servers: Servers, path: str) -> None:
        self._servers = servers
        self._path = path
        self._question: tuple[int, asyncio.Task[int]] | None = None
        self._has_answered = False

    async def is_alive(self, port: int) -> bool:
        """Ask what listens on the port, or wait on for its answer, `PATIENCE` seconds at the most."""
        question = self._open_question(port)
        await asyncio.wait({question}, timeout=PATIENCE)
        if not question.done():
            return self._has_answered
        good = 200 <= question.result() < 400
        self._has_answered = self._has_answered or good
        return good

    def _open_question(self, port: int) -> asyncio.Task[int]:
        if self._question is not None:
            asked, question = self._question
            if asked == port and not question.done():
                return question
            question.cancel()
        question = asyncio.ensure_future(self._ask(port))
        self._question = port, question
        return question

    async def _ask(self, port: int) -> int:
        try:
            _, answer = await self._servers.dial(lambda: _Answer(self._path, port), port)
            assert isinstance(answer, _Answer)
            return await answer.status()
        except OSError:
            return NOBODY


class _Answer(asyncio.Protocol):
    """One request, and the status that its answer begins with; the rest is let pass."""

    def __init__(self, path: str, port: int) -> None:
        lines = (f"GET {path} HTTP/1.1", f"Host: localhost:{port}", "User-Agent: bridge", "Connection: close", "", "")
        self._request = "\r\n".join(lines)
        self._head = b""
        self._length = 0
        self._status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def status(self) -> int:
        """Wait for it. Who waits no more closes the connection."""
        try:
            return await self._status
        except asyncio.CancelledError:
            self._transport.abort()
            raise

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request.encode())

    def data_received(self, data: bytes) -> None:
        self._length += len(data)
        if not self._status.done():
            self._head += data
            if b"\n" in self._head:
                match = _STATUS.match(self._head)
                self._status.set_result(int(match[1]) if match else NOBODY)
        if self._length > _LONGEST:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # whyever
        if not self._status.done():
            self._status.set_result(NOBODY)

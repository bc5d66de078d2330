"""What the cluster asks the process over HTTP, one line for each request (``--log-requests``).

    POST /tasks?user=... 201 in 12 ms, for 10.42.0.9
    GET /tasks: reset after 3 ms, without an answer, for 10.42.0.9
    a connection of 10.42.0.9 is not read: HTTP/2

Values of queries are left out, and whatever bridge knows to be secret; the rest of a path is shown. The connections do
not wait for whoever reads the lines: these are written in another thread, and left out when there are too many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from bridge.logs import redact

if TYPE_CHECKING:
    from bridge.session.narrator import Narrator
    from bridge.tunnel.http import Heard

MOST = 10_000
"""Lines that wait to be written."""


class Requests:
    """Tells what was heard; on the event loop. ``always``: all of it, else only as many as `tell_next` says."""

    def __init__(self, narrator: Narrator, *, always: bool) -> None:
        self._narrator = narrator
        self._always = always
        self._next = 0
        self._waiting: deque[tuple[str, Heard]] = deque()
        self._left_out = 0
        self.writing: asyncio.Task[None] | None = None
        """What writes the lines that wait; None: there are none."""

    def tell_next(self, count: int) -> None:
        """Tell the next so many, too."""
        self._next = count

    def heard(self, originator: tuple[str, int], heard: Heard) -> None:
        """Take what was heard of a connection of ``originator`` (address and port)."""
        if not self._always:
            if not self._next:
                return
            self._next -= 1
        if len(self._waiting) >= MOST:
            self._left_out += 1
            return
        self._waiting.append((originator[0], heard))
        if self.writing is None:
            self.writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        while self._waiting:
            lines, self._waiting = self._waiting, deque()
            left_out, self._left_out = self._left_out, 0
            await asyncio.to_thread(self._tell, lines, left_out)
        self.writing = None

    def _tell(self, lines: deque[tuple[str, Heard]], left_out: int) -> None:
        for client, heard in lines:
            _tell(self._narrator, client, heard)
        if left_out:
            self._narrator.warn(f"{left_out} requests are not shown: there were too many at once")


def _tell(narrator: Narrator, client: str, heard: Heard) -> None:
    from bridge.tunnel.http import Unread

    if isinstance(heard, Unread):
        narrator.note(
            f"a connection of {client} is not read: {heard.why}", event="unread", client=client, why=heard.why
        )
        return
    path, ms = redact(heard.path), heard.took * 1000
    what = f"{heard.method} {path}"
    if heard.cut:
        status = "without an answer" if heard.status is None else f"in the middle of the answer ({heard.status})"
        text = f"{what}: {heard.cut} after {ms:.0f} ms, {status}, for {client}"
    else:
        text = f"{what} {heard.status} in {ms:.0f} ms, for {client}"
    tell = narrator.warn if heard.cut or (heard.status or 0) >= 500 else narrator.note
    tell(
        text,
        event="request",
        method=heard.method,
        path=path,
        status=heard.status,
        took=round(heard.took, 4),
        client=client,
        cut=heard.cut,
    )

"""A session's own socket on the laptop: by it another terminal asks how it is, ends it, and enters it.

``<runtime directory>/<pid of bridge>.sock``, a unix socket that only its user can open. (Not the session's id: that
changes when it swaps again.) One JSON object a line, each way:

    {"do": "status"}   ->  {"version": 1, ...}       how the session is (``Status``)
    {"do": "leave"}    ->  {"leaving": true}         the process is told to end; then everything is put back
    {"do": "enter"}    ->  {"given": 5}              beside it so many descriptors (SCM_RIGHTS): see ``enter``
    {"do": "begin"}    ->  {"given": 1}              of a session that is kept: the line to it, see ``facing``

The connection ends when bridge does, which is how ``bridge leave`` knows that everything is back. Who asks is a
``visiting.Visitor``.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bridge.errors import BridgeError
from bridge.paths import private_directory, session_socket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

VERSION = 1
LONGEST_LINE = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Status:
    """How a session is. Times are seconds, ``round_trip`` too; bytes are those on the stream.

    ``state``: ``starting``, ``connected``, ``reconnecting``, ``over``. ``connections_in``: those that the process (or
    what stands in for it) has taken; ``held``: those that wait for it now. ``guard``: what the keeper says of itself.
    ``lingers``: how long the session is still kept for another run; None: it has one now, or is not kept at all.
    """

    session: str
    target: str
    namespace: str
    context: str
    state: str
    pod: str
    command: tuple[str, ...]
    pid: int
    process: int
    age: float
    protection: str
    guard: str
    round_trip: float
    connections_in: int
    connections_out: int
    held: int
    bytes_in: int
    bytes_out: int
    reconnects: int
    lingers: float | None = None

    def render(self) -> dict[str, Any]:
        """Return it as JSON to be; see ``VERSION``."""
        return asdict(self)


@asynccontextmanager
async def serving(
    status: Callable[[], Status], leave: Callable[[], object], gives: Mapping[str, Callable[[], Awaitable[list[int]]]]
) -> AsyncIterator[None]:
    """Serve this bridge's socket while this lasts; on the event loop.

    ``gives``: for a wish, what gives the descriptors that answer it, which are closed here; BridgeError: why it can't.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=0)  # drain() waits until all is sent
        try:
            with suppress(ConnectionError, ValueError):  # ValueError: a line that does not end
                while line := await reader.readline():
                    wish = _wish(line)
                    if isinstance(wish, str) and wish in gives:
                        await _give(writer, gives[wish])
                        continue
                    writer.write(_line(_answer(wish, status, leave)))
                    await writer.drain()
        finally:
            writer.close()

    path = session_socket(os.getpid(), os.environ)
    await asyncio.to_thread(private_directory, path.parent)
    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(serve, str(path), limit=LONGEST_LINE)
    path.chmod(0o600)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        server.close()


def _wish(line: bytes) -> Any:
    """What is wished for; None: not understood."""
    try:
        return json.loads(line).get("do", "")
    except (ValueError, AttributeError):
        return None


def _answer(wish: Any, status: Callable[[], Status], leave: Callable[[], object]) -> dict[str, Any]:
    match wish:
        case None:
            return {"error": "not understood"}
        case "status":
            return {"version": VERSION, **status().render()}
        case "leave":
            leave()
            return {"leaving": True}
        case _:
            return {"error": f"nothing is known of {wish!r}"}


async def _give(writer: asyncio.StreamWriter, made: Callable[[], Awaitable[list[int]]]) -> None:
    try:
        descriptors = await made()
    except BridgeError as error:
        writer.write(_line({"error": error.message, "hint": error.hint}))
        await writer.drain()
        return
    try:  # asyncio sends no descriptors; nothing of its own waits to be sent
        with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as sock:
            socket.send_fds(sock, [_line({"given": len(descriptors)})], descriptors)
    finally:
        for each in descriptors:
            os.close(each)


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode() + b"\n"

"""A session's own socket on the laptop: by it another terminal asks how it is, ends it, and enters it.

``<runtime directory>/<pid of bridge>.sock``, a unix socket that only its user can open. (Not the session's id: that
changes when it swaps again.) One JSON object a line, each way:

    {"do": "status"}   ->  {"version": 1, ...}       how the session is (``Status``)
    {"do": "leave"}    ->  {"leaving": true}         the process is told to end; then everything is put back
    {"do": "enter"}    ->  {"entering": 5}           beside it so many descriptors (SCM_RIGHTS): see ``enter``

The connection ends when bridge does, which is how ``bridge leave`` knows that everything is back.
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
from bridge.laptop import messages
from bridge.paths import private_directory, runtime_directory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

VERSION = 1
ANSWERS_WITHIN = 5.0
LONGEST_LINE = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Status:
    """How a session is. Times are seconds, ``round_trip`` too; bytes are those on the stream.

    ``state``: ``starting``, ``connected``, ``reconnecting``, ``over``. ``connections_in``: those that the process (or
    what stands in for it) has taken; ``held``: those that wait for it now. ``guard``: what the keeper says of itself.
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

    def render(self) -> dict[str, Any]:
        """Return it as JSON to be; see ``VERSION``."""
        return asdict(self)


class Gone(BridgeError):
    """The session's bridge does not answer on its socket."""


def socket_path(pid: int) -> Path:
    """Return where the socket of this bridge is."""
    return runtime_directory(os.environ) / f"{pid}.sock"


@asynccontextmanager
async def serving(
    status: Callable[[], Status], leave: Callable[[], object], way_in: Callable[[], Awaitable[list[int]]]
) -> AsyncIterator[None]:
    """Serve this bridge's socket while this lasts; on the event loop.

    ``way_in`` gives the descriptors for who enters, which are closed here; BridgeError: why that can't be.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=0)  # drain() waits until all is sent
        try:
            with suppress(ConnectionError, ValueError):  # ValueError: a line that does not end
                while line := await reader.readline():
                    wish = _wish(line)
                    if wish == "enter":
                        await _let_in(writer, way_in)
                        continue
                    writer.write(_line(_answer(wish, status, leave)))
                    await writer.drain()
        finally:
            writer.close()

    path = socket_path(os.getpid())
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


async def _let_in(writer: asyncio.StreamWriter, way_in: Callable[[], Awaitable[list[int]]]) -> None:
    try:
        descriptors = await way_in()
    except BridgeError as error:
        writer.write(_line({"error": error.message, "hint": error.hint}))
        await writer.drain()
        return
    try:  # asyncio sends no descriptors; nothing of its own waits to be sent
        with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as sock:
            socket.send_fds(sock, [_line({"entering": len(descriptors)})], descriptors)
    finally:
        for each in descriptors:
            os.close(each)


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


class Visitor:
    """The other side: a terminal that asks a session. Raises Gone when its bridge does not answer."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(ANSWERS_WITHIN)
        try:
            self._socket.connect(str(socket_path(pid)))
        except OSError as error:
            self._socket.close()
            raise self._gone() from error
        self._lines = self._socket.makefile("rb")

    def ask(self, wish: str) -> dict[str, Any]:
        """Ask for something; return the answer."""
        try:
            self._socket.sendall(json.dumps({"do": wish}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(self._lines.readline() or b"null") or {}
        except (OSError, ValueError) as error:
            raise self._gone() from error
        if not answer:
            raise self._gone()
        return answer

    def ask_way_in(self) -> list[int]:
        """Ask to enter; return the descriptors, which are the caller's. Raises BridgeError when the session can't."""
        try:
            self._socket.sendall(json.dumps({"do": "enter"}).encode() + b"\n")
            line, descriptors = messages.receive_bytes(self._socket)
            answer: dict[str, Any] = json.loads(line or b"{}")
        except (OSError, ValueError) as error:
            raise self._gone() from error
        if "error" in answer:
            raise BridgeError(answer["error"], hint=answer.get("hint", ""))
        if not answer:
            raise self._gone()
        return descriptors

    def wait_until_gone(self, timeout: float) -> bool:
        """Wait until the session's bridge has ended; False if it has not within ``timeout`` seconds."""
        self._socket.settimeout(timeout)
        try:
            while self._lines.readline():
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Let go of the socket."""
        self._lines.close()
        self._socket.close()

    def _gone(self) -> Gone:
        return Gone(f"the bridge of process {self._pid} does not answer", hint="Is it stopped (Ctrl-Z)? See `ps`.")

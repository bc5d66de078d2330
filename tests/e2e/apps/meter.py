"""Run in a pod: asks a URL on schedule, whatever became of the requests before, and writes down each one's fate.

python3 meter.py URL [--new N] [--kept N] [--timeout S] [--seconds S]
    N requests a second, each on a connection of its own, and N a second on one connection that is kept. Ends after S
    seconds or on SIGTERM, when those under way have ended.
python3 meter.py --clock
    answers each line with this clock's time, so that another one can be compared with it

Each line is an object:
{"began": T}                                   the first: time.monotonic() of the start
{"t": S, "took": S, "kind": "new", ...}        a request that ended: seconds from the start until it was sent, and from
                                               then on; "ok", "who" (the answer's first line), "error", "connection" (of
                                               kept ones, which it was)
{"requests": N, "failed": N, "late": S}        the last; late: how far behind its schedule this program was, at most
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH)


class Meter:
    """The requests to one URL. The name is looked up once: DNS is not what is measured."""

    def __init__(self, url: str, timeout: float) -> None:
        parts = urlsplit(url)
        self.timeout = timeout
        self.address = socket.getaddrinfo(parts.hostname, parts.port or 80, socket.AF_INET, socket.SOCK_STREAM)[0][4]
        self.target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.host = parts.netloc
        self.began = time.monotonic()
        self.requests = self.failed = 0
        self.late = 0.0
        self.stopping = asyncio.Event()
        tell({"began": self.began})

    async def on_new_connections(self, rate: float) -> None:
        """Send requests on schedule: one that is not answered stops no other."""
        under_way: set[asyncio.Task[None]] = set()
        async for _ in self.schedule(rate):
            task = asyncio.create_task(self.on_a_new_connection())
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)

    async def on_a_new_connection(self) -> None:
        connection = Connection(self)
        await self.measure(connection, "new")
        connection.close()

    async def on_a_kept_connection(self, rate: float) -> None:
        """Send requests on one connection, one after the other; on another one if it was closed."""
        connection = Connection(self)
        async for _ in self.schedule(rate):
            if not connection.usable():
                connection.close()
                connection = Connection(self, connection.number + 1)
            await self.measure(connection, "kept")
        connection.close()

    async def schedule(self, rate: float) -> AsyncIterator[None]:
        """The moments at which a request is due, until the end; but those that passed while one was awaited."""
        due = time.monotonic()
        while not await self.stops_before(due):
            self.late = max(self.late, time.monotonic() - due)
            yield
            due += max(1, int((time.monotonic() - due) * rate)) / rate

    async def stops_before(self, moment: float) -> bool:
        """Wait until then, or for the end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0, moment - time.monotonic())):
                return await self.stopping.wait()
        return False

    async def measure(self, connection: Connection, kind: str) -> None:
        """Do one request, and tell what became of it."""
        sent, who, error = time.monotonic(), "", ""
        try:
            async with asyncio.timeout(self.timeout):
                status, body = await connection.get()
            who = body.decode(errors="replace").partition("\n")[0][:200]
            error = "" if status < 400 else f"status {status}"
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as reason:
            connection.broken, error = True, name_of(reason)
        self.requests += 1
        self.failed += bool(error)
        times = {"t": round(sent - self.began, 4), "took": round(time.monotonic() - sent, 4)}
        tell({**times, "kind": kind, "ok": not error, "who": who, "error": error, "connection": connection.number})


class Connection:
    """One connection to the URL's server, opened with the first request."""

    def __init__(self, meter: Meter, number: int = 1) -> None:
        self.meter = meter
        self.number = number
        self.broken = False
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def usable(self) -> bool:
        """Whether a request may be sent on it, as far as can be seen."""
        return not self.broken and not (self.streams and self.streams[0].at_eof())

    async def get(self) -> tuple[int, bytes]:
        """Ask; status and body of a complete answer."""
        if self.streams is None:
            self.streams = await asyncio.open_connection(*self.meter.address)
        reader, writer = self.streams
        writer.write(f"GET {self.meter.target} HTTP/1.1\r\nHost: {self.meter.host}\r\n\r\n".encode())
        await writer.drain()
        return await self.answer(reader)

    async def answer(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        """Read an answer as RFC 9112 frames it (section 6.3)."""
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip().lower() for name, _, value in (line.partition(":") for line in lines)}
        self.broken = fields.get("connection") == "close"
        if fields.get("transfer-encoding") == "chunked":
            body = await chunks(reader)
        elif "content-length" in fields:
            body = await reader.readexactly(int(fields["content-length"]))
        else:
            body, self.broken = await reader.read(), True
        return int(first.split()[1]), body

    def close(self) -> None:
        if self.streams:
            self.streams[1].close()


async def chunks(reader: asyncio.StreamReader) -> bytes:
    """A chunked body (RFC 9112, section 7.1)."""
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return body


def name_of(reason: Exception) -> str:
    """What went wrong, in a word."""
    match reason:
        case TimeoutError():
            return "timeout"
        case ConnectionRefusedError():
            return "refused"
        case ConnectionError():
            return "reset"
        case EOFError():
            return "closed before the answer was complete"
        case OSError() if reason.errno in UNREACHABLE:
            return "unreachable"
    return repr(reason)


def tell(what: dict[str, object]) -> None:
    print(json.dumps(what), flush=True)


async def run(arguments: argparse.Namespace) -> None:
    meter = Meter(arguments.url, arguments.timeout)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, meter.stopping.set)
    if arguments.seconds:
        asyncio.get_running_loop().call_later(arguments.seconds, meter.stopping.set)
    await asyncio.gather(meter.on_new_connections(arguments.new), meter.on_a_kept_connection(arguments.kept))
    tell({"requests": meter.requests, "failed": meter.failed, "late": round(meter.late, 4)})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url", nargs="?")
    parser.add_argument("--clock", action="store_true")
    parser.add_argument("--new", type=float, default=50)
    parser.add_argument("--kept", type=float, default=5)
    parser.add_argument("--timeout", type=float, default=15)
    parser.add_argument("--seconds", type=float)
    arguments = parser.parse_args()
    if arguments.clock:
        for _ in sys.stdin:
            print(time.monotonic(), flush=True)
    else:
        asyncio.run(run(arguments))


main()

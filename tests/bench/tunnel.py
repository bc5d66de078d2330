"""How fast is the tunnel? Measured on loopback against OpenSSH's own client, on one sshd, in turn.

    python -m tests.bench.tunnel [--rounds N] [--seconds S] [--only WORD] [--websocket] [--profile FILE]

Bytes go  load -> (bridge | ssh -L) -> sshd -> echo  and, inbound,  load -> sshd -> (bridge | ssh -R) -> echo;  each is
a process of its own. Printed are medians over the rounds, and bridge's as a ratio of ssh's: machine and load cancel
out.
With --websocket bridge goes through a port-forward server in a further process, as it does through the API server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import multiprocessing
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bridge.plan.endpoint import Endpoint
from bridge.plan.ports import PortMap
from bridge.tunnel.inbound import Inbound
from bridge.tunnel.outbound import Outbound
from bridge.tunnel.sockets import allow_many_descriptors
from bridge.tunnel.ssh import Connection, connect
from tests.component.tunnel.peers import DirectStream, Sshd, free_port, port_forward, running_sshd

MESSAGE = b"x" * 100
BULK = 200 * 1024 * 1024
CHUNK = bytes(256 * 1024)


# -- the servers at the far end ----------------------------------------------------------------------------------------


class Echo(asyncio.Protocol):
    """Sends back what comes; after ``D`` and 8 bytes of size sends that many; after ``U`` it counts."""

    def __init__(self) -> None:
        self.mode = b""
        self.count = 0

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if not self.mode:
            self.mode = data[:1] if data[:1] in b"DU" else b"E"
            if self.mode == b"D":
                self.count = int.from_bytes(data[1:9])
                self.resume_writing()
                return
        if self.mode == b"E":
            self.transport.write(data)
        elif self.mode == b"U":
            self.count += len(data)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        while self.mode == b"D" and self.count > 0 and not self.paused:
            self.transport.write(CHUNK)
            self.count -= len(CHUNK)

    def eof_received(self) -> bool:
        if self.mode == b"U":
            self.transport.write(self.count.to_bytes(8))
        return False


def serve_echo(sock: socket.socket) -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_server(Echo, sock=sock, backlog=4096)
        await asyncio.Event().wait()

    allow_many_descriptors()
    uvloop.run(main())


# -- the two tunnels ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """A tunnel: connect to ``port``."""

    name: str
    port: int
    pid: int


async def connect_directly(sshd: Sshd) -> Connection:
    connection = Connection(sshd.keys, headroom=DirectStream.headroom, user=sshd.user)
    loop = asyncio.get_running_loop()
    _, stream = await loop.create_connection(lambda: DirectStream(connection), "127.0.0.1", sshd.port)
    connection.begin(stream)
    await connection.ready
    return connection


def run_bridge(sshd: Sshd, url: str, outbound: socket.socket, inbound: int, echo: int, ready, profile: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        if url:
            connection = await connect(Endpoint(url=url), sshd.keys, user=sshd.user)
        else:
            connection = await connect_directly(sshd)
        for _ in range(5):
            await connection.ping()

        def route(_):
            return [connection.create_connection]

        out = Outbound(outbound, route, destination=lambda *_: ("127.0.0.1", echo))
        maps = [PortMap(pod=inbound, laptop=echo, name="", origin="")]
        async with out, Inbound(connection, maps, loop.create_connection):
            ready.set()
            waiting = asyncio.ensure_future(stop.wait())
            await asyncio.wait({waiting, connection.closed}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        connection.close()

    profiler = cProfile.Profile() if profile else None
    if profiler:
        profiler.enable()
    uvloop.run(main())
    if profiler:
        profiler.disable()
        profiler.dump_stats(profile)


def run_port_forward(port: int, urls) -> None:
    async def main() -> None:
        async with port_forward(port) as server:
            urls.put(server.endpoint.url)
            await asyncio.Event().wait()

    uvloop.run(main())


def listening() -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(4096)
    return sock


@contextmanager
def process(target, *args) -> Iterator[multiprocessing.Process]:
    child = multiprocessing.get_context("spawn").Process(target=target, args=args, daemon=True)
    child.start()
    try:
        yield child
    finally:
        child.terminate()
        child.join(10)


@contextmanager
def running_ssh(sshd: Sshd, directory: Path, outbound: int, inbound: int, echo: int) -> Iterator[int]:
    key, known = directory / "client_key", directory / "known_hosts"
    key.write_text(sshd.keys.client_private)
    key.chmod(0o600)
    known.write_text(f"[127.0.0.1]:{sshd.port} {sshd.keys.host_public}\n")
    options = [
        "UserKnownHostsFile=" + str(known),
        "ExitOnForwardFailure=yes",
        "Ciphers=aes128-gcm@openssh.com",
        "LogLevel=ERROR",
    ]
    command = ["ssh", "-N", "-F", "none", "-i", str(key), "-p", str(sshd.port)]
    for option in options:
        command += ["-o", option]
    command += [
        "-L",
        f"{outbound}:127.0.0.1:{echo}",
        "-R",
        f"127.0.0.1:{inbound}:127.0.0.1:{echo}",
        f"{sshd.user}@127.0.0.1",
    ]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        for port in (outbound, inbound):
            while child.poll() is None:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(0.02)
        yield child.pid
    finally:
        child.terminate()
        child.wait(10)


# -- the load ----------------------------------------------------------------------------------------------------------


class Asker(asyncio.Protocol):
    """Asks, and asks again when the answer is there."""

    def __init__(self, until: float, took: list[float], first: asyncio.Future | None = None) -> None:
        self.until, self.took, self.first = until, took, first
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.got = 0
        self.asked = time.perf_counter()
        self.transport.write(MESSAGE)

    def data_received(self, data: bytes) -> None:
        self.got += len(data)
        if self.got >= len(MESSAGE):
            now = time.perf_counter()
            self.took.append(now - self.asked)
            if now < self.until:
                self.ask()
            else:
                self.transport.close()

    def connection_lost(self, error) -> None:
        if not self.done.done():
            self.done.set_result(error)


async def ask(port: int, connections: int, seconds: float) -> list[float]:
    loop = asyncio.get_running_loop()
    took: list[float] = []
    until = time.perf_counter() + seconds
    askers = await asyncio.gather(
        *(loop.create_connection(lambda: Asker(until, took), "127.0.0.1", port) for _ in range(connections))
    )
    errors = [error for error in await asyncio.gather(*(asker.done for _, asker in askers)) if error]
    assert not errors, errors[:3]
    return took


def percentile(values: list[float], part: float) -> float:
    values = sorted(values)
    return values[min(int(len(values) * part), len(values) - 1)]


async def rate(port: int, connections: int, seconds: float) -> float:
    return len(await ask(port, connections, seconds)) / seconds


async def round_trip(port: int, seconds: float, part: float) -> float:
    return percentile(await ask(port, 1, seconds), part) * 1e3


async def new_connections(port: int, seconds: float, part: float) -> float:
    """Connection and first byte, one after another; ms."""
    took = []
    until = time.perf_counter() + seconds
    while (now := time.perf_counter()) < until:
        await ask(port, 1, 0)
        took.append(time.perf_counter() - now)
    return percentile(took, part) * 1e3


async def opens(port: int, seconds: float) -> float:
    """Connections made, used once and closed, a second, 50 at a time."""
    count = 0
    until = time.perf_counter() + seconds

    async def one() -> None:
        nonlocal count
        while time.perf_counter() < until:
            await ask(port, 1, 0)
            count += 1

    await asyncio.gather(*(one() for _ in range(50)))
    return count / seconds


async def download(port: int, size: int, streams: int = 1) -> float:
    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        writer.write(b"D" + size.to_bytes(8))
        got = 0
        while got < size:
            data = await reader.read(2**20)
            assert data
            got += len(data)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(streams)))
    return streams * size / 1e6 / (time.perf_counter() - started)


async def upload(port: int, size: int, streams: int = 1) -> float:
    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"U")
        for _ in range(size // len(CHUNK)):
            writer.write(CHUNK)
            await writer.drain()
        writer.write_eof()
        assert int.from_bytes(await reader.readexactly(8)) >= size
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(streams)))
    return streams * size / 1e6 / (time.perf_counter() - started)


async def during_bulk(port: int, seconds: float, bulk: Callable[[int, int], Awaitable[float]]) -> float:
    """p99 of a small request while bulk goes through the same tunnel; ms."""
    stop = time.perf_counter() + seconds

    async def forever() -> None:
        while time.perf_counter() < stop:
            await bulk(port, 20 * 1024 * 1024)

    background = asyncio.ensure_future(forever())
    took = await ask(port, 1, seconds * 0.9)
    await background
    return percentile(took, 0.99) * 1e3


async def memory(way: Way, connections: int) -> float:
    """KiB of the tunnel's process for each connection that is open and has been used."""
    await ask(way.port, 50, 0.5)
    before = resident(way.pid)
    open_ = [await asyncio.open_connection("127.0.0.1", way.port) for _ in range(connections)]
    for reader, writer in open_:
        writer.write(MESSAGE)
        await reader.readexactly(len(MESSAGE))
    used = resident(way.pid) - before
    for _, writer in open_:
        writer.close()
    return used / connections


def resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError


Measure = Callable[[int, float], Awaitable[float]]
MEASURES: dict[str, tuple[str, Measure]] = {
    "round trip p50": ("ms", lambda port, s: round_trip(port, s, 0.5)),
    "new connection p50": ("ms", lambda port, s: new_connections(port, s, 0.5)),
    "new connection p99": ("ms", lambda port, s: new_connections(port, s, 0.99)),
    "new connections/s": ("/s", opens),
    "requests/s, 1": ("/s", lambda port, s: rate(port, 1, s)),
    "requests/s, 50": ("/s", lambda port, s: rate(port, 50, s)),
    "requests/s, 400": ("/s", lambda port, s: rate(port, 400, s)),
    "down": ("MB/s", lambda port, _: download(port, BULK)),
    "up": ("MB/s", lambda port, _: upload(port, BULK)),
    "down, 8 streams": ("MB/s", lambda port, _: download(port, BULK // 8, 8)),
    "up, 8 streams": ("MB/s", lambda port, _: upload(port, BULK // 8, 8)),
    "p99 during down": ("ms", lambda port, s: during_bulk(port, s, download)),
    "p99 during up": ("ms", lambda port, s: during_bulk(port, s, upload)),
}


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(ways: dict[str, list[Way]], options: argparse.Namespace) -> None:
    for direction, pair in ways.items():
        for name, (unit, function) in MEASURES.items():
            title = f"{direction}, {name}"
            if options.only and options.only not in title:
                continue
            results: dict[str, list[float]] = {way.name: [] for way in pair}
            used: dict[str, list[float]] = {way.name: [] for way in pair}
            for _ in range(options.rounds):
                for way in pair:
                    before = cpu(way.pid)
                    results[way.name].append(uvloop.run(function(way.port, options.seconds)))
                    used[way.name].append(cpu(way.pid) - before)
            report(title, unit, results, used, options.seconds)


def measure_memory(ways: dict[str, list[Way]], options: argparse.Namespace) -> None:
    for direction, pair in ways.items():
        title = f"{direction}, memory at 2000"
        if options.only in title:
            results = {way.name: [uvloop.run(memory(way, 2000))] for way in pair}
            report(title, "KiB", results, {way.name: [0.0] for way in pair}, 1)


def report(
    title: str, unit: str, results: dict[str, list[float]], used: dict[str, list[float]], seconds: float
) -> None:
    each = {"ms": 0.0, "/s": 1e6 / seconds, "MB/s": 1e9 / BULK}.get(unit, 0.0)
    medians = {name: statistics.median(values) for name, values in results.items()}
    line = f"{title:32} {unit:5}"
    for name, median in medians.items():
        spread = max(results[name]) - min(results[name])
        cpu = statistics.median(used[name]) * each / (median if unit == "/s" else 1)
        what = {"/s": f", cpu {cpu:.1f} us each", "MB/s": f", cpu {cpu:.2f} s/GB"}.get(unit, "")
        line += f"  {name} {median:9.2f} (+-{spread / 2:.2f}{what})"
    if len(medians) == 2:
        ours, theirs = medians.values()
        line += f"  ratio {ours / theirs:.2f}"
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--only", default="")
    parser.add_argument("--websocket", action="store_true")
    parser.add_argument("--bridge-only", action="store_true")
    parser.add_argument("--profile", default="")
    options = parser.parse_args()
    allow_many_descriptors()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    echo, out = listening(), listening()
    echo_port, out_port = echo.getsockname()[1], out.getsockname()[1]
    in_port, ssh_out, ssh_in = free_port(), free_port(), free_port()
    context = multiprocessing.get_context("spawn")
    ready, urls = context.Event(), context.Queue()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sshd = stack.enter_context(running_sshd(directory))
        stack.enter_context(process(serve_echo, echo))
        url = ""
        if options.websocket:
            stack.enter_context(process(run_port_forward, sshd.port, urls))
            url = urls.get(timeout=10)
        sshd_only = Sshd(port=sshd.port, user=sshd.user, keys=sshd.keys, process=None, log=sshd.log)
        bridge = stack.enter_context(
            process(run_bridge, sshd_only, url, out, in_port, echo_port, ready, options.profile)
        )
        assert ready.wait(20)
        ways = {
            "out": [Way("bridge", out_port, bridge.pid)],
            "in": [Way("bridge", in_port, bridge.pid)],
        }
        if not options.bridge_only:
            ssh = stack.enter_context(running_ssh(sshd, directory, ssh_out, ssh_in, echo_port))
            ways["out"].append(Way("ssh", ssh_out, ssh))
            ways["in"].append(Way("ssh", ssh_in, ssh))
        measure(ways, options)
        measure_memory(ways, options)


if __name__ == "__main__":
    sys.exit(main())

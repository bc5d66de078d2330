"""A keeper that says what a test has it say, on a real socket; and ties to it, through the real sshd."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from bridge.session.tie import Ends, Tie, finish
from bridge.tunnel.inbound import Inbound
from bridge.tunnel.ssh import connect
from bridge.wire import messages
from tests.component.tunnel.talk import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.component.tunnel.peers import PortForwardServer, Sshd

REPORT = messages.Report(environ=b"A=1\0", resolv_conf="", hosts="", hostname="h", pod_ips=(), mounts=(), listening=())


class FakeKeeper:
    """Reports and echoes; ``silent``: it reads, and says nothing. ``refuses``: its answer to a hello."""

    def __init__(self) -> None:
        self.port = 0
        self.silent = False
        self.refuses = ""
        self.pings = 0
        self.hellos = 0
        self.pinged = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []
        self._unanswered: list[tuple[asyncio.StreamWriter, int]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        decoder = messages.Decoder(messages.MAX_REQUEST_LINE)
        while data := await reader.read(65536):
            for message in decoder.feed(data):
                self._take(message, writer)

    def _take(self, message: messages.Message, writer: asyncio.StreamWriter) -> None:
        match message:
            case messages.Hello():
                self.hellos += 1
                if self.refuses:
                    writer.write(messages.render(messages.Refused(self.refuses)))
                    writer.close()
                else:
                    writer.write(messages.render(REPORT))
            case messages.Ping(id=number):
                self.pings += 1
                self.pinged.set()
                self._unanswered.append((writer, number))
                self._answer()

    def _answer(self) -> None:
        while self._unanswered and not self.silent:
            writer, number = self._unanswered.pop(0)
            writer.write(messages.render(messages.Pong(number)))

    def speak(self) -> None:
        """Be silent no more: answer what was asked meanwhile."""
        self.silent = False
        self._answer()

    def say(self, message: messages.Message) -> None:
        """Say it to the newest connection."""
        self._writers[-1].write(messages.render(message))

    def close(self) -> None:
        """End the newest connection, without a word."""
        self._writers[-1].close()


@contextlib.asynccontextmanager
async def keeping() -> AsyncIterator[FakeKeeper]:
    keeper = FakeKeeper()
    async with serving(keeper.serve) as keeper.port:
        yield keeper


async def ready() -> bool:
    return True


def ends(sshd: Sshd, keeper: FakeKeeper, **changes: object) -> Ends:
    fields = {
        "ssh_port": sshd.port,
        "keeper_port": keeper.port,
        "keys": sshd.keys,
        "token": "t",
        "is_ready": ready,
        "on_guard": lambda _: None,
        "inbound": lambda _: [],
    }
    return Ends(**(fields | changes))


def inbound_at(ports: object, dial: object, **options: object) -> object:
    """What `Ends.inbound` is: makes the relays of these ports for a connection."""
    return lambda connection: [Inbound(connection, [port], dial, **options) for port in ports]


async def tied(
    sshd: Sshd, server: PortForwardServer, its_ends: Ends, *, pod: str = "proxy-1", within: float = 5
) -> Tie:
    """As `tie.tie`, but as the user of the tests' sshd."""
    return await finish(pod, await connect(server.endpoint, sshd.keys, user=sshd.user), its_ends, within=within)

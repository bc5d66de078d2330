"""Relays that are read along, whose process can be replaced by another without the client's seeing it.

The cluster's clients, Envoy for one, keep connections and use them again. When the process ends, they end with it; and
a request that is on its way at that moment is lost, however well the process ends. So while it is to be replaced
(`Pause`), each connection lets go of the process as soon as it rests between an answer and the next request: the
client's side stays open, and what comes next waits for the next process.

    joined      bytes go both ways, and are read along (`http.Conversation`)
    apart       there is no process's end. The client's first byte has one dialled, which takes a while if need be

What is no HTTP/1 can't be joined to another process, and ends with its own.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from bridge.tunnel.http import Conversation
from bridge.tunnel.relay import End, Listed, drop, join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.tunnel.inbound import Inbound
    from bridge.tunnel.reading import Reading

USED = 0.2
"""Seconds without a byte until a connection counts as idle: until then its client may be about to ask again."""
LOOK_EVERY = 0.01
"""Seconds between two looks at whether connections rest: for some it is the time that has passed which tells."""


class Relayed:
    """One connection that is read along: its client, and the process, or none.

    It is in ``among`` while it has a client. ``redial`` has another process dialled, which then is to `rejoin`.
    """

    def __init__(
        self,
        reading: Reading,
        originator: tuple[str, int],
        among: set[Relayed],
        redial: Callable[[], object],
    ) -> None:
        self.conversation = Conversation(lambda heard: reading.tell(originator, heard))
        self._pause = reading.pause
        self._among = among
        self._redial = redial
        self._dials = False
        self._leaves = False
        self._client: Client | None = None
        self.parted = 0
        """How many times it has let go of a process."""

    # -- its two ends ----------------------------------------------------------------------------------------------

    def process(self, ends: set[Listed]) -> Process:
        """Make a process's end, to be connected."""
        return Process(ends, self)

    def client(self, process: End) -> Client:
        """Make the client's end, to be connected to this process's."""
        self._client = Client(process, self)
        return self._client

    def client_came(self) -> None:
        """Note that the client's end is connected."""
        self._among.add(self)

    def client_left(self) -> None:
        """Note that there is no client any more."""
        self._among.discard(self)
        self.conversation.lost("given up by its client")

    @property
    def pauses(self) -> int:
        """How many times the process was replaced until now, or began to be."""
        return self._pause.number if self._pause else 0

    # -- apart, and joined again -----------------------------------------------------------------------------------

    def rests(self, now: float) -> bool:
        """Whether nobody waits for anything that is under way (``now``: time.monotonic)."""
        if self._client is None or self._client.other is None:
            return True
        if self._leaves and self.conversation.between and self.conversation.quiet(now) < USED:
            return False  # it is closed with the next answer
        return self.conversation.rests(now)

    def leave(self) -> None:
        """Close the client with the next answer: closed between two, it may have the next request on its way."""
        self._leaves = True

    def answered(self) -> None:
        """Do what waits for the end of an answer, if this is one."""
        if self._leaves and self._client is not None and self.conversation.between:
            self._client.transport.close()
        else:
            self.part()

    def part(self, *, process_ends: bool = False) -> bool:
        """Part from the process if that is being replaced, or ends, and nobody waits for it. Whether it did."""
        client = self._client
        if client is None or self._pause is None or not (self._pause.on or process_ends):
            return False
        if client.other is None or client.eof or not self.conversation.between:
            return False
        if process_ends and self.conversation.fresh:
            return False  # it does not want this client
        client.part()
        self.parted += 1
        if self.conversation.fresh:
            self.wake()  # it may be the server that speaks first
        return True

    def wake(self) -> None:
        """Have another process dialled: the client wants one."""
        if not self._dials:
            self._dials = True
            self._redial()

    def rejoin(self, process: Listed) -> None:
        """Go on with this process, which is connected."""
        self._dials = False
        if self._client is None or self._client.gone or process.gone:
            process.reset()
            self.give_up()
        else:
            join(self._client, process)

    def give_up(self) -> None:
        """Reset the client: there is no process for it."""
        if self._client is not None:
            self._client.reset()

    def close(self) -> None:
        """Close the client if it is without a process, and has said nothing."""
        if self._client is not None and self._client.other is None and not self._dials:
            self._client.transport.close()


class Client(End):
    """The client's end."""

    __slots__ = ("_relayed",)

    def __init__(self, process: End, relayed: Relayed) -> None:
        super().__init__(process)
        self._relayed = relayed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._relayed.client_came()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass it on, and read along; without a process keep it, and want one."""
        super().data_received(data)
        if self.other is None:
            self._relayed.wake()
        else:
            self._relayed.conversation.from_client(data)

    def eof_received(self) -> bool:
        """Pass it on; without a process, and with nothing to say, that is the end."""
        if self.other is None and not self._early:
            self.transport.close()
        return super().eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """Take the process along."""
        self._relayed.client_left()
        super().connection_lost(error)

    def part(self) -> None:
        """Let go of the process, and keep what comes."""
        process, self.other = self.other, None
        self._write = self._keep
        self.transport.resume_reading()
        assert isinstance(process, Process)
        process.part()


class Process(Listed):
    """The process's end."""

    __slots__ = ("_relayed",)

    def __init__(self, ends: set[Listed], relayed: Relayed) -> None:
        super().__init__(ends)
        self._relayed = relayed

    def data_received(self, data: bytes) -> None:
        """Pass it on, and read along."""
        super().data_received(data)
        if self.other is not None:  # else it is kept, and comes again
            self._relayed.conversation.from_process(data)
            self._relayed.answered()

    def eof_received(self) -> bool:
        """Pass it on, unless the client is to outlive it."""
        if self.other is not None:
            if self._relayed.part(process_ends=True):
                return False
            self._relayed.conversation.process_ended()
        return super().eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """Take the client along, unless it is to outlive this one."""
        if self.other is not None and not self._relayed.part(process_ends=True):
            self._relayed.conversation.lost("reset" if error else "closed")
        super().connection_lost(error)

    def part(self) -> None:
        """Close: there is nobody at the other end any more."""
        self.other = None
        self._write = drop
        if not self.gone:
            self.transport.close()


def relayed(inbound: Iterable[Inbound]) -> list[Relayed]:
    """Return all connections that are read along."""
    return [one for each in inbound for one in each.relayed]


async def until_parted(connections: Iterable[Relayed], within: float) -> None:
    """Wait until each of these has let go of its process, or rests; ``within`` seconds at the most."""
    deadline = time.monotonic() + within
    waiting = {each: each.parted for each in connections}
    while waiting and (now := time.monotonic()) < deadline:
        waiting = {each: parted for each, parted in waiting.items() if each.parted == parted and not each.rests(now)}
        await asyncio.sleep(LOOK_EVERY)


class Rests(Protocol):
    """A connection, or what has some."""

    def rests(self, now: float) -> bool:
        """Whether nobody waits for anything that is under way (``now``: time.monotonic)."""


async def until_at_rest(connections: Callable[[], Iterable[Rests]], within: float) -> int:
    """Wait until all of them rest, ``within`` seconds at the most; return how many do not."""
    deadline = time.monotonic() + within
    while True:
        now = time.monotonic()
        busy = sum(not each.rests(now) for each in connections())
        if not busy or now >= deadline:
            return busy
        await asyncio.sleep(LOOK_EVERY)

"""Inbound: the cluster's connections to the pod's ports, relayed to the process on the laptop.

Each port is listened on in the pod. A connection made there is dialled here first and taken only then, so what its
client sends waits in the client's own kernel. When the process does not accept (it restarts, after an edit or a crash),
the connection is held for a while instead of refused: the client sees a slow answer, not an error.

A process that listens, but takes no more (a debugger holds it, and its backlog is full), is alive: what comes to it is
held until it goes on, or somebody stands in for it. Where there is no process any more (``ProcessGone``), all that is
held goes to who stands in for it, at once.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Protocol, Self

from bridge.tunnel.relay import End, Listed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
    from contextlib import AbstractAsyncContextManager
    from typing import Any

    from bridge.tunnel.channels import Incoming
    from bridge.tunnel.outbound import Dial
    from bridge.tunnel.reading import Reading
    from bridge.tunnel.rejoin import Relayed
    from bridge.tunnel.ssh import Connection

log = logging.getLogger(__name__)

HOLD = 10.0
"""Seconds: shorter than most clients' patience, longer than most restarts."""
PAUSE = 0.02
"""Seconds at least between two dials for one held connection, should the condition be wrong about the process."""
ATTEMPT = 0.5
"""Seconds for one dial. The kernel itself would try a full backlog again after 1, 3, 7, 15... s: too seldom for one
whose breakpoint has just been left."""
LAPTOP = "127.0.0.1"


class PortMap(Protocol):
    """A port of the pod and the port on the laptop that serves it (`plan.ports.PortMap`)."""

    @property
    def pod(self) -> int:
        """The pod's port."""

    @property
    def laptop(self) -> int:
        """The port on the laptop."""


class Inbound:
    """Listens in the pod and relays. ``async with Inbound(connection, ports, dial): ...``, on the loop.

    ``dial`` connects to a port of the process; ProcessGone when there is none. ``wait_accepting(port)`` returns when it
    is worth dialling that port (again): the process may accept, or is gone; one connection at a time asks it. Without
    it, or with ``hold`` 0, a refused connection is not held. ``fallback`` connects to who answers the pod's port
    instead of a process that is gone, or did not accept within ``hold`` seconds. ``on_taken`` is called for each
    connection that somebody has answered. ``reading`` says, for each connection anew, whether and how it is read along;
    for one that is held, when it is dialled at last.
    """

    def __init__(
        self,
        connection: Connection,
        ports: Iterable[PortMap],
        dial: Dial,
        *,
        wait_accepting: Callable[[int], Awaitable[None]] | None = None,
        fallback: Dial | None = None,
        hold: float = HOLD,
        on_taken: Callable[[], object] | None = None,
        reading: Callable[[], Reading | None] = lambda: None,
    ) -> None:
        self._connection = connection
        self._ports = tuple(ports)
        self._dial = dial
        self._wait_accepting = wait_accepting
        self._fallback = fallback
        self._hold = hold
        self._on_taken = on_taken
        self._reading = reading
        self._dialling: set[asyncio.Task[None]] = set()
        # One at a time tries a full backlog again, and looks whether the process accepts: thousands may wait for it.
        self._turns = {port.laptop: asyncio.Lock() for port in self._ports}
        self._looks = {port.laptop: asyncio.Lock() for port in self._ports}
        self._ends: set[Listed] = set()
        self._relayed: set[Relayed] = set()

    async def start(self) -> None:
        """Listen on every port, all asked for at once. TunnelError when the pod refuses one."""
        self._connection.closed.add_done_callback(lambda _: self._forget_held())
        listening = (self._connection.listen(port.pod, self._to(port)) for port in self._ports)
        results = await asyncio.gather(*listening, return_exceptions=True)
        for error in results:
            if error is not None:
                await self.stop()
                raise error

    async def stop(self) -> None:
        """Take no more connections, and reset what is open."""
        try:
            if not self._connection.closed.done():
                unlistening = (self._connection.unlisten(port.pod) for port in self._ports)
                await asyncio.gather(*unlistening, return_exceptions=True)
        finally:  # also for who does not wait for the pod's answer
            self._forget_held()
            for relayed in list(self._relayed):
                relayed.close()
            for end in list(self._ends):
                end.reset()
        await asyncio.gather(*self._dialling, return_exceptions=True)

    def _forget_held(self) -> None:
        for task in self._dialling:
            task.cancel()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def held(self) -> int:
        """Connections that wait for the process."""
        return len(self._dialling)

    @property
    def open(self) -> int:
        """Connections that are being answered."""
        return len(self._ends)

    @property
    def unread(self) -> int:
        """Those of them that are not read along."""
        return sum(type(end) is Listed for end in self._ends)

    @property
    def relayed(self) -> Collection[Relayed]:
        """Those of them that are read along, and those of these that are without a process now."""
        return self._relayed

    def rests(self, now: float) -> bool:
        """Whether none waits for the process, and each that is read along rests, at ``now`` (time.monotonic)."""
        return not self._dialling and all(each.rests(now) for each in self._relayed)

    def part(self) -> None:
        """Have those that are read along, and rest, let go of the process, which is to be replaced."""
        for relayed in list(self._relayed):
            relayed.part()

    def leave(self) -> None:
        """Have those that are read along end with their next answer."""
        for relayed in list(self._relayed):
            relayed.leave()

    def _to(self, port: PortMap) -> Callable[[Incoming], None]:
        def on_channel(incoming: Incoming) -> None:
            reading = self._reading()
            if reading is None:
                self._begin(self._connect(incoming, port))
            else:
                self._begin(self._connect_reading(incoming, port, reading))

        return on_channel

    def _begin(self, dialling: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(dialling)
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    async def _connect_reading(self, incoming: Incoming, port: PortMap, reading: Reading) -> None:
        from bridge.tunnel.rejoin import Relayed  # the parser is not for who reads nothing

        def redial() -> None:
            self._begin(self._connect_again(relayed, port))

        relayed = Relayed(reading, incoming.originator, self._relayed, redial)
        await self._connect(incoming, port, relayed)

    async def _connect_again(self, relayed: Relayed, port: PortMap) -> None:
        """Find another process for a client that has something to say."""
        try:
            relayed.rejoin(await self._answering(port, relayed))
        except (OSError, TimeoutError) as error:
            log.debug("a connection again to port %d of the process: %s", port.laptop, error)
            relayed.give_up()
        except asyncio.CancelledError:
            relayed.give_up()
            raise

    async def _connect(self, incoming: Incoming, port: PortMap, relayed: Relayed | None = None) -> None:
        try:
            end = await self._answering(port, relayed)
        except _ToBeRead as meanwhile:
            await self._connect_reading(incoming, port, meanwhile.reading)
            return
        except (OSError, TimeoutError) as error:
            log.debug("a connection to port %d of the process: %s", port.laptop, error)
            incoming.refuse("the process does not accept connections")
            return
        except asyncio.CancelledError:
            incoming.refuse("the session ends")
            raise
        client = End(end) if relayed is None else relayed.client(end)
        if end.gone or incoming.accept(client) is None:
            end.reset()
            incoming.refuse("the process closed the connection")
        elif self._on_taken is not None:
            self._on_taken()

    async def _answering(self, port: PortMap, relayed: Relayed | None) -> Listed:
        """Connect to the process, or to who stands in for it."""
        new_end = partial(Listed, self._ends) if relayed is None else partial(relayed.process, self._ends)
        while True:
            try:
                return await self._dial_for_a_while(port.laptop, new_end, relayed)
            except (OSError, TimeoutError) as error:
                if self._fallback is None:
                    raise
                busy = isinstance(error, _Busy)
            try:
                _, end = await self._fallback(new_end, LAPTOP, port.pod)
            except OSError:
                if not busy:
                    raise
            else:
                assert isinstance(end, Listed)
                return end

    async def _dial_for_a_while(self, port: int, new_end: Callable[[], Listed], relayed: Relayed | None) -> Listed:
        """Dial until the process takes it, ``hold`` seconds at the most. _Busy: it listened, and took nothing."""
        listens = False
        turn: AbstractAsyncContextManager[object] = nullcontext()
        try:
            async with asyncio.timeout((self._hold or ATTEMPT) if self._wait_accepting else None):
                while True:
                    listens = True
                    try:
                        async with turn, asyncio.timeout(ATTEMPT):
                            if relayed is None and (reading := self._reading()):
                                raise _ToBeRead(reading)
                            return await self._dial_once(port, new_end, relayed)
                    except TimeoutError:
                        turn = self._turns[port]
                    except ConnectionError:
                        listens = False
                        if self._wait_accepting is None or not self._hold:
                            raise
                        await asyncio.gather(self._worth_dialling(port, self._wait_accepting), asyncio.sleep(PAUSE))
        except TimeoutError as error:
            raise (_Busy if listens and self._hold else TimeoutError)(f"port {port} took nothing") from error

    async def _worth_dialling(self, port: int, wait_accepting: Callable[[int], Awaitable[None]]) -> None:
        async with self._looks[port]:
            await wait_accepting(port)

    async def _dial_once(self, port: int, new_end: Callable[[], Listed], relayed: Relayed | None) -> Listed:
        pauses = relayed.pauses if relayed else 0
        _, end = await self._dial(new_end, LAPTOP, port)
        assert isinstance(end, Listed)
        if relayed is not None and relayed.pauses != pauses:
            end.reset()
            raise ConnectionResetError("it was taken by a process that is replaced by now")
        return end


class ProcessGone(OSError):
    """There is no process any more, and none is to be waited for."""


class _ToBeRead(Exception):
    """A connection is to be read along by now; while it was held that was not known."""

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self.reading = reading


class _Busy(TimeoutError):
    """The process listens, but takes no connection: its backlog is full."""

"""The laptop and the pod, joined: which way each connection goes, on the event loop.

    process -> anywhere          redirected in the sandbox -> Outbound -> a channel of the tunnel, or localhost
    process -> names             DnsServer -> TCP to the pod's nameserver through the tunnel
    cluster -> process           a port of the pod -> Inbound -> the process's port, inside the sandbox
    cluster -> original          the same port: what the process does not take in time, if a replica was kept for that;
                                 and at the end, from when the original is back until the pod is gone
    browser -> process           Published: the process's ports on the laptop's own localhost

What the process opens goes to the line, which outlives each single connection to the pod. Inbound hangs on one
connection, so `inbound` makes it anew for each (see ``tie``).

Only wiring: laptop/ and tunnel/ do not know each other, this module hands the ones to the others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from bridge.laptop.dns import DnsServer
from bridge.laptop.gate import Gate, Parking
from bridge.laptop.localhost import Localhost, Way, ways
from bridge.laptop.published import Elsewhere, Opened, Published
from bridge.laptop.servers import Inside, InsideOrOutside
from bridge.session.advice import kernels_choice
from bridge.session.readiness import LOOK_EVERY
from bridge.tunnel.inbound import Inbound, ProcessGone
from bridge.tunnel.outbound import Outbound
from bridge.tunnel.reading import Pause, Reading
from bridge.tunnel.relay import End

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
    from typing import Any

    from bridge.laptop.published import Event
    from bridge.laptop.sandbox import Sandbox
    from bridge.laptop.servers import Servers
    from bridge.laptop.settings import NetworkSettings
    from bridge.plan.ports import PortMap
    from bridge.session.advice import Advice
    from bridge.session.narrator import Narrator
    from bridge.session.wanted import Wanted
    from bridge.tunnel.keeper import Keeper
    from bridge.tunnel.line import Line
    from bridge.tunnel.outbound import Dial
    from bridge.tunnel.ssh import Connection


class Joined:
    """The relays of one session. Everything on the event loop."""

    def __init__(
        self,
        box: Sandbox,
        line: Line,
        wanted: Wanted,
        advice: Advice,
        *,
        hold: float,
        outside: bool,
        narrator: Narrator,
        reading: Reading | None = None,
    ) -> None:
        self._box = box
        self._line = line
        self._wanted = wanted
        self._advice = advice
        self._shown: set[int] = set(kernels_choice())  # what nobody looks for is not shown
        self._published = Published(self._accept_published, self._tell_published)
        self.servers: Servers = InsideOrOutside(box, lambda: self._published.ports) if outside else Inside(box)
        """Who answers; ``outside``: also what listens on the laptop outside of the sandbox."""
        self._hold = hold
        self._narrator = narrator
        self._reading = self._of_process = reading
        self._parting = Pause()
        self._network: NetworkSettings | None = None
        self._keeper: Keeper | None = None
        self._stack = AsyncExitStack()
        self._over = False
        self.taken = 0
        """Connections from the cluster that the process, or who stood in for it, has answered."""
        self._stand_ins: deque[str] = deque()
        self._known = asyncio.Event()
        self._awaited = False

    async def open(self, network: NetworkSettings, keeper: Keeper) -> None:
        """Start what outlives a connection; ``keeper``: of the pod whose network it is."""
        self.moved(network, keeper)
        self.servers.open()
        self._stack.callback(self.servers.close)
        dns = DnsServer(
            self._line.create_connection,
            network.nameservers,
            sockets=self._box.dns_sockets,
            tells=lambda: self._line.connection is not None,
        )
        for part in (*self._outbound(), dns):
            await self._stack.enter_async_context(part)
        self._stack.push_async_callback(self._published.stop)
        self._stack.callback(self._advice.stop)
        self._keep(Localhost(self._box, self._published, self._pod_ports, self._looked).run())

    def moved(self, network: NetworkSettings, keeper: Keeper) -> None:
        """Note that another pod is there, with addresses and sidecars of its own."""
        self._network, self._keeper = network, keeper

    async def close(self) -> None:
        """Stop the relays; what is open is reset."""
        await self._stack.aclose()

    def inbound(self, connection: Connection, ports: Sequence[PortMap]) -> list[Inbound]:
        """Make the relays of what comes to the pod's ports through ``connection``."""
        return [self._inbound(connection, port) for port in ports]

    def use_stand_ins(self, originals: Sequence[str]) -> None:
        """Have the replicas of the original at these addresses answer what the process does not take in time."""
        if sorted(originals) != sorted(self._stand_ins):
            self._stand_ins = deque(originals)
        if originals:
            self._known.set()

    def hold_for_original(self) -> None:
        """Have what comes wait for the original: there is no process any more."""
        self._over = self._awaited = True
        self._parting.end()
        # To know when the last of them has come to its end; and should there be a process again, they go on with it.
        self._reading = self._reading or Reading(pause=self._parting)

    def hand_over(self, originals: Sequence[str]) -> None:
        """Relay what the pod still gets to the original at these addresses, also what is held; none: there is none."""
        self.use_stand_ins(originals)
        self._over, self._awaited = True, False
        self._known.set()

    def process_again(self) -> None:
        """Have a process answer what comes from now on, also on connections to the original, as soon as they rest."""
        self._over = self._awaited = False
        self._stand_ins.clear()
        self._known.set()  # for those who wait now: they go to the process
        self._known.clear()
        self._reading = self._of_process
        self._parting.begin()

    def original_left(self) -> None:
        """Note that no connection need let go of the original any more: it goes."""
        self._parting.end()

    # ---- ways -----------------------------------------------------------------------------------------------------
    def _inbound(self, connection: Connection, port: PortMap) -> Inbound:
        return Inbound(
            connection,
            [port],
            partial(self._dial_target, port.pod),
            wait_accepting=partial(self._wait_accepting, port.pod),
            fallback=self._dial_stand_in,
            hold=self._hold,
            on_taken=self._count,
            reading=lambda: self._reading,
        )

    def _count(self) -> None:
        self.taken += 1

    def _outbound(self) -> list[Outbound | Gate]:
        """The relay of the process's connections; before it, where the kernel can, what tells connect() the truth."""
        listener = self._box.listener.dup()  # the relay closes what it gets; the sandbox's outlives it
        if self._box.queue is None:
            return [Outbound(listener, self._route)]
        parking = Parking(self._route)
        self._stack.callback(parking.close)
        return [Outbound(listener, self._route, take=parking.take), Gate(self._box.queue, parking.decide)]

    def _route(self, destination: tuple[str, int]) -> Iterable[Dial]:
        dials: dict[Way, Dial] = {
            Way.INSIDE: self._box.dial_inside,
            Way.LAPTOP: asyncio.get_running_loop().create_connection,
            Way.POD: self._line.create_connection,
        }
        assert self._network is not None
        there = ways(destination, pod_ips=self._network.pod_ips, pod_ports=self._pod_ports())
        return [dials[way] for way in there]

    def _pod_ports(self) -> Collection[int]:
        """What the pod's sidecars listen on now, as far as we know: some start after the process."""
        assert self._keeper is not None
        return self._keeper.listening

    async def _dial_target(
        self, pod_port: int, factory: Callable[[], asyncio.Protocol], _host: str, _port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        if self._over:
            raise ProcessGone("the process has ended")
        if self._is_replaced():
            raise ConnectionRefusedError("the process is being replaced")
        return await self.servers.dial(factory, self._wanted.laptop(pod_port))

    async def _dial_stand_in(
        self, factory: Callable[[], asyncio.Protocol], host: str, pod_port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        if self._awaited:
            await self._known.wait()  # its client's patience is the bound, and the end of the session
            if not self._over:
                return await self._dial_target(pod_port, factory, host, pod_port)
        if not self._stand_ins:
            raise ConnectionRefusedError("no replica of the original stands in")
        self._stand_ins.rotate(-1)  # in turn, as a Service does it
        return await self._line.create_connection(factory, self._stand_ins[-1], pod_port)

    def _accept_published(self, port: int) -> asyncio.Protocol:
        return _Dialling(lambda end: self._box.dial_inside(lambda: End(end), "localhost", port))

    def _tell_published(self, event: Event) -> None:
        match event:
            case Opened(port) if port not in self._shown:
                self._shown.add(port)
                self._narrator.note(f"port {port} of the process is localhost:{port} on this laptop, too")
            case Elsewhere(port, at, reason):
                self._narrator.warn(f"port {port} of the process is localhost:{at} on this laptop: {reason}")

    def _looked(self) -> None:
        self._advice.look(self.servers.begun())

    # ---- the process ----------------------------------------------------------------------------------------------
    async def accepting(self) -> None:
        """Wait until something accepts on one of the ports that the cluster sends to, if there are any."""
        while (wanted := self._wanted.ports) and wanted.isdisjoint(self.servers.ports()):  # noqa: ASYNC110  # as below
            await asyncio.sleep(LOOK_EVERY)

    async def _wait_accepting(self, pod_port: int, _port: int) -> None:
        while not (self._over or self._is_accepting(pod_port)):  # noqa: ASYNC110  # nobody tells; Inbound bounds it
            await asyncio.sleep(LOOK_EVERY)

    def _is_accepting(self, pod_port: int) -> bool:
        return not self._is_replaced() and self._wanted.laptop(pod_port) in self.servers.ports()

    def _is_replaced(self) -> bool:
        return self._reading is not None and self._reading.pause is not None and self._reading.pause.on

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)

        async def stop() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self._stack.push_async_callback(stop)


class _Dialling(End):
    """An accepted connection whose other end is dialled first."""

    __slots__ = ("_dial", "_task")

    def __init__(self, dial: Callable[[End], Awaitable[object]]) -> None:
        super().__init__()
        self._dial = dial

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._task = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        try:
            await self._dial(self)
        except OSError:
            self.reset()

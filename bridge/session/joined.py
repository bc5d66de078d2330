"""The laptop and the pod, joined: which way each connection goes, on the event loop.

    process -> anywhere          redirected in the sandbox -> Outbound -> a channel of the tunnel, or localhost
    process -> names             DnsServer -> TCP to the pod's nameserver through the tunnel
    cluster -> process           a port of the pod -> Inbound -> the process's port, inside the sandbox
    cluster -> original          the same port, at the end: from when the original is back until the pod is gone
    browser -> process           Published: the process's ports on the laptop's own localhost

Only wiring: laptop/ and tunnel/ do not know each other, this module hands the ones to the others.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from bridge.laptop.dns import DnsServer
from bridge.laptop.gate import Gate, Parking
from bridge.laptop.localhost import Localhost, Way, ways
from bridge.laptop.published import Published, Unavailable
from bridge.session.inbox import TunnelLost
from bridge.session.readiness import LOOK_EVERY
from bridge.tunnel.inbound import Inbound
from bridge.tunnel.outbound import Outbound
from bridge.tunnel.relay import End
from bridge.tunnel.sockets import original_destination

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
    from typing import Any

    from bridge.errors import TunnelError
    from bridge.laptop.published import Event
    from bridge.laptop.sandbox import Sandbox
    from bridge.laptop.settings import NetworkSettings
    from bridge.plan.ports import PortMap
    from bridge.session.inbox import Inbox
    from bridge.session.narrator import Narrator
    from bridge.tunnel.keeper import Keeper
    from bridge.tunnel.outbound import Dial
    from bridge.tunnel.ssh import Connection


class Joined:
    """The relays of one session over one connection. ``async with`` on the event loop."""

    def __init__(
        self,
        box: Sandbox,
        connection: Connection,
        keeper: Keeper,
        network: NetworkSettings,
        *,
        ports: Sequence[PortMap],
        inbox: Inbox,
        narrator: Narrator,
    ) -> None:
        self._box = box
        self._connection = connection
        self._keeper = keeper
        self._network = network
        self._ports = ports
        self._inbox = inbox
        self._narrator = narrator
        self._stack = AsyncExitStack()
        self._original = ""

    async def open(self) -> None:
        """Start the relays. TunnelError when the pod refuses a port."""
        self._published = Published(self._accept_published, self._tell_published)
        dns = DnsServer(self._connection.create_connection, self._network.nameservers, sockets=self._box.dns_sockets)
        for part in (*self._outbound(), dns, *(self._inbound(port) for port in self._ports)):
            await self._stack.enter_async_context(part)
        self._stack.push_async_callback(self._published.stop)
        self._keep(Localhost(self._box, self._published).run())
        self._keep(self._notice_loss(self._connection.closed))
        self._keep(self._notice_loss(self._keeper.closed))

    async def close(self) -> None:
        """Stop the relays; what is open is reset."""
        await self._stack.aclose()

    def hand_over(self, original: str) -> None:
        """Relay what the pod still gets to the original at this address, also what is held now; on the loop."""
        self._original = original

    # ---- ways -----------------------------------------------------------------------------------------------------
    def _inbound(self, port: PortMap) -> Inbound:
        dial = partial(self._dial_target, port.pod)
        return Inbound(self._connection, [port], dial, wait_accepting=self._wait_accepting)

    def _outbound(self) -> list[Outbound | Gate]:
        """The relay of the process's connections; before it, where the kernel can, what tells connect() the truth."""
        listener = self._box.listener.dup()  # the relay closes what it gets; the sandbox's outlives it
        if self._box.queue is None:
            return [Outbound(listener, self._route)]
        parking = Parking(self._route, original_destination)
        self._stack.callback(parking.close)
        return [Outbound(listener, parking.route, destination=parking.where), Gate(self._box.queue, parking.decide)]

    def _route(self, destination: tuple[str, int]) -> Iterable[Dial]:
        dials: dict[Way, Dial] = {
            Way.INSIDE: self._box.dial_inside,
            Way.LAPTOP: asyncio.get_running_loop().create_connection,
            Way.POD: self._connection.create_connection,
        }
        there = ways(destination, pod_ips=self._network.pod_ips, pod_ports=self._network.pod_ports)
        return [dials[way] for way in there]

    async def _dial_target(
        self, pod_port: int, factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        if self._original:
            return await self._connection.create_connection(factory, self._original, pod_port)
        return await self._dial_process(factory, host, port)

    async def _dial_process(
        self, factory: Callable[[], asyncio.Protocol], _host: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        return await self._box.dial_inside(factory, "localhost", port)

    def _accept_published(self, port: int) -> asyncio.Protocol:
        return _Dialling(lambda end: self._dial_process(lambda: End(end), "localhost", port))

    def _tell_published(self, event: Event) -> None:
        if isinstance(event, Unavailable):
            self._narrator.warn(f"the process's port {event.port} is not on this laptop's localhost: {event.reason}")

    # ---- the process ----------------------------------------------------------------------------------------------
    async def _wait_accepting(self, port: int) -> None:
        while not (self._original or self._box.is_accepting(port)):  # noqa: ASYNC110  # nobody tells; Inbound bounds it
            await asyncio.sleep(LOOK_EVERY)

    async def _notice_loss(self, closed: asyncio.Future[TunnelError | None]) -> None:
        error = await asyncio.shield(closed)
        if error is not None:
            self._inbox.put(TunnelLost(error.message))

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

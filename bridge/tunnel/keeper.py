"""The laptop's end of the control connection to the proxy pod's keeper (`bridge.wire.messages` has the grammar).

It brings the report (what the container was given: environment, resolv.conf, mounts), answers the kubelet's readiness
probes, which the keeper passes on, and its echo shows that the pod is alive, not only sshd.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Self

from bridge.clock import since_boot
from bridge.errors import TunnelError
from bridge.wire import messages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bridge.tunnel.outbound import Dial

log = logging.getLogger(__name__)


POD = "127.0.0.1"
"""The keeper listens on the pod's loopback, reached by a channel."""


class Refused(TunnelError):
    """The keeper ends the connection; ``reason`` is what it says."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class NotThere(TunnelError):
    """Nobody listens on the keeper's port: sshd was there first, and the keeper comes in a moment."""


class Keeper(asyncio.Protocol):
    """A control connection. `open_keeper` makes one that has its report."""

    def __init__(
        self,
        *,
        is_ready: Callable[[], Awaitable[bool]],
        on_guard: Callable[[messages.Guard], object] | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.reported: asyncio.Future[messages.Report] = loop.create_future()
        self.closed: asyncio.Future[TunnelError | None] = loop.create_future()
        """Resolves to why the connection ended; None when we closed it."""
        self.ending: asyncio.Future[None] = loop.create_future()
        """Resolves when the pod was told to end, and another may be there soon."""
        self.listening: tuple[int, ...] = ()
        """The ports that other containers of the pod have open on its loopback, as last heard: some start late."""
        self.round_trip = 0.0
        """Seconds that the latest echo took."""
        self.heard = since_boot()
        """When the latest came (`since_boot`)."""
        self._is_ready = is_ready
        self._on_guard = on_guard
        self._transport: Any = None
        self._decoder = messages.Decoder(messages.MAX_REPORT_LINE)
        self._pings: dict[int, asyncio.Future[None]] = {}
        self._last_ping = 0
        self._probes: set[asyncio.Task[None]] = set()
        self._reason: TunnelError | None = None
        self._closing = False

    @property
    def report(self) -> messages.Report:
        """What the container was given."""
        return self.reported.result()

    def hello(self, token: str) -> None:
        """Say who we are; the report follows."""
        self._say(messages.Hello(token))

    async def ping(self) -> float:
        """Have the keeper answer; return the seconds that it took. TunnelError when the connection is or gets lost."""
        if self.closed.done():
            raise self._gone()
        self._last_ping += 1
        number, answered = self._last_ping, asyncio.get_running_loop().create_future()
        self._pings[number] = answered
        started = time.perf_counter()
        try:
            self._say(messages.Ping(number))
            await answered
        finally:
            self._pings.pop(number, None)
        self.round_trip = time.perf_counter() - started
        self.heard = since_boot()
        return self.round_trip

    def close(self) -> None:
        """Close; probes are answered no more."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        await self.closed

    # -- asyncio.Protocol ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take messages."""
        try:
            for message in self._decoder.feed(data):
                self._take(message)
        except messages.WireError as error:
            self._fail(TunnelError(f"the keeper says what this bridge does not understand: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        """End: tell everyone who waits."""
        if self._reason is None and not self._closing:
            how = f"the connection to the keeper was lost: {error}" if error else "the keeper closed the connection"
            self._reason = TunnelError(how)
        self.closed.set_result(self._reason)
        waiting: list[asyncio.Future[Any]] = [self.reported, *self._pings.values()]
        for future in waiting:
            if not future.done():  # or cancelled, by who gave up waiting
                future.set_exception(self._gone())
                future.exception()  # nobody may be waiting
        for task in self._probes:
            task.cancel()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _take(self, message: messages.Message) -> None:
        match message:
            case messages.Report() if not self.reported.done():
                self.listening = message.listening
                self.reported.set_result(message)
            case messages.Probe(id=number):
                task = asyncio.get_running_loop().create_task(self._answer(number))
                self._probes.add(task)
                task.add_done_callback(self._probes.discard)
            case messages.Pong(id=number) if number in self._pings:
                if not self._pings[number].done():
                    self._pings[number].set_result(None)
            case messages.Refused(reason=reason):
                self._fail(Refused(f"the keeper ends the connection: {reason}", reason=reason))
            case _:
                self._take_news(message)

    def _take_news(self, message: messages.Message) -> None:
        match message:
            case messages.Listening(ports=ports):
                self.listening = ports
            case messages.Guard() if self._on_guard is not None:
                self._on_guard(message)
            case messages.Ending() if not self.ending.done():
                self.ending.set_result(None)
            case _:
                log.debug("the keeper says %s, which nobody waits for", type(message).__name__)

    async def _answer(self, number: int) -> None:
        try:
            ready = await self._is_ready()
        except Exception:
            log.exception("whether the process is ready can't be told")
            ready = False
        self._say(messages.Probed(number, ready=ready))

    def _say(self, message: messages.Message) -> None:
        self._transport.write(messages.render(message))

    def _fail(self, reason: TunnelError) -> None:
        self._reason = self._reason or reason
        self._transport.abort()

    def _gone(self) -> TunnelError:
        return self._reason or TunnelError("the connection to the keeper is closed")


async def open_keeper(
    dial: Dial,
    port: int,
    token: str,
    *,
    is_ready: Callable[[], Awaitable[bool]],
    on_guard: Callable[[messages.Guard], object] | None = None,
) -> Keeper:
    """Connect to the keeper and get its report. TunnelError when it does not answer, or refuses us.

    ``dial``: `Connection.create_connection`. ``is_ready`` is asked for each of the kubelet's probes, and may take as
    long as the process needs (the keeper gives up by itself). ``on_guard``: how it stands with what restores the target
    when this laptop is gone, whenever that changes.
    """
    keeper = Keeper(is_ready=is_ready, on_guard=on_guard)
    try:
        await dial(lambda: keeper, POD, port)
    except ConnectionRefusedError as error:
        raise NotThere(f"the pod's keeper can't be reached: {error}") from error
    except OSError as error:
        raise TunnelError(f"the pod's keeper can't be reached: {error}") from error
    keeper.hello(token)
    try:
        await keeper.reported
    except BaseException:
        keeper.close()
        raise
    return keeper

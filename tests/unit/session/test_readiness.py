"""When the pod is Ready, by each rule. What is asked over HTTP is a real server; the sandbox is this machine."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from bridge.plan.ports import Expose, PortMap
from bridge.plan.probe import Probe
from bridge.session import probing, readiness
from bridge.session.inbox import Inbox, Ready
from bridge.session.readiness import Readiness
from bridge.session.wanted import Wanted
from bridge.tunnel.loop import EventLoop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

WELL, ILL, MOVED, NO_HTTP = b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 500 No\r\n\r\n", b"HTTP/1.0 302 X\r\n", b"hello\r\n"


@pytest.fixture(autouse=True)
def _quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "ANSWER_WITHIN", 0.4)
    monkeypatch.setattr(readiness, "ASK_EVERY", 0.02)
    monkeypatch.setattr(probing, "PATIENCE", 0.1)


class Here:
    """Servers on this machine's loopback; which of their ports are listened on is told."""

    def __init__(self) -> None:
        self.listening: set[int] = set()

    def open(self) -> None: ...

    def close(self) -> None: ...

    def ports(self) -> set[int]:
        return self.listening

    async def dial(self, factory: Callable[[], asyncio.Protocol], port: int) -> Any:
        return await asyncio.get_running_loop().create_connection(factory, "127.0.0.1", port)


class Web:
    """A server; ``says`` is what it answers, None while it is paused. ``asked``: the requests that it got."""

    def __init__(self) -> None:
        self.says: bytes | None = WELL
        self.asked: list[bytes] = []
        self._goes_on = asyncio.Event()
        self.port = 0

    def go_on(self, says: bytes) -> None:
        self.says = says
        self._goes_on.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(await reader.readuntil(b"\r\n\r\n"))
        if self.says is None:
            await self._goes_on.wait()
        writer.write(self.says or b"")
        writer.close()

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield


def run(story: Coroutine[Any, Any, None]) -> None:
    """As in bridge: on its loop, whose transports are none of asyncio's classes."""
    with EventLoop() as loop:
        loop.run(story)


def of(probe: str, *ports: int) -> Readiness:
    wanted = Wanted([PortMap(port, port, "", "container") for port in ports])
    return Readiness(Probe.parse(probe), Here(), wanted, Inbox())


def test_by_port_it_is_ready_when_one_of_the_ports_is_listened_on() -> None:
    async def story() -> None:
        here, inbox = Here(), Inbox()
        wanted = Wanted([PortMap(8080, 8080, "", "container"), PortMap(9090, 9090, "", "container")])
        ready = Readiness(Probe(), here, wanted, inbox)
        here.listening = {9090}
        assert not await ready.answer()  # there is no process
        ready.process_started()
        assert await ready.answer()
        assert inbox.get(0) == Ready()
        here.listening = {8000}
        assert not await ready.answer()
        wanted.expose(Expose(pod=8080, laptop=8000))
        assert await ready.answer()
        here.listening = set()
        ready.process_ended()  # what comes is held for the original
        assert await ready.answer()

    run(story())


def test_by_process_it_is_ready_from_the_start() -> None:
    async def story() -> None:
        ready = of("process", 8080)
        assert not await ready.answer()
        ready.process_started()
        assert await ready.answer()

    run(story())


@pytest.mark.parametrize(("says", "is_ready"), [(WELL, True), (MOVED, True), (ILL, False), (NO_HTTP, False)])
def test_by_http_it_is_ready_when_the_answer_is_good(says: bytes, is_ready: bool) -> None:
    async def story() -> None:
        web = Web()
        web.says = says
        async with web.running():
            ready = of("http:/healthz", web.port, 9090)
            ready.process_started()
            assert await ready.answer() is is_ready
        head = web.asked[0].decode()
        assert head.startswith("GET /healthz HTTP/1.1\r\n")
        assert f"\r\nHost: localhost:{web.port}\r\n" in head

    run(story())


def test_by_http_it_waits_for_a_program_that_just_starts() -> None:
    async def story() -> None:
        web = Web()
        async with web.running():
            pass  # so its port is known, and nobody listens there now
        ready = of(f"http:/@{web.port}", 8080)
        ready.process_started()
        probe = asyncio.ensure_future(ready.answer())
        await asyncio.sleep(0.05)
        async with web.running(web.port):
            assert await probe
        assert not await ready.answer()  # refused

    run(story())


def test_by_http_a_program_that_is_paused_stays_ready_and_is_asked_once() -> None:
    async def story() -> None:
        web = Web()
        async with web.running():
            ready = of("http:/", web.port)
            ready.process_started()
            assert await ready.answer()
            web.says = None
            for _ in range(3):
                assert await ready.answer()
            assert len(web.asked) == 2  # the good one, and the one that waits
            web.go_on(ILL)
            assert not await ready.answer()
            web.go_on(WELL)
            assert await ready.answer()

    run(story())


def test_by_http_a_program_that_has_never_answered_is_not_ready() -> None:
    async def story() -> None:
        web = Web()
        web.says = None
        async with web.running():
            ready = of("http:/", web.port)
            ready.process_started()
            assert not await ready.answer()
            web.go_on(WELL)
            assert await ready.answer()

    run(story())


def test_by_http_without_any_port_the_process_is_enough() -> None:
    async def story() -> None:
        ready = of("http:/")
        ready.process_started()
        assert await ready.answer()

    run(story())


def test_after_a_process_the_pod_stays_ready_until_there_is_another() -> None:
    async def story() -> None:
        here, inbox = Here(), Inbox()
        ready = Readiness(Probe(), here, Wanted([PortMap(8080, 8080, "", "container")]), inbox)
        ready.process_ended()
        assert await ready.answer()  # by the original
        assert inbox.get(0) is None
        again = asyncio.ensure_future(ready.again())
        await asyncio.sleep(0.05)
        assert not again.done()
        here.listening = {8080}
        await again
        assert await ready.answer()
        assert inbox.get(0) == Ready()

    run(story())

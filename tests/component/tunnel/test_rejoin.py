"""Connections from the cluster outlive the process that answers them, and are read along without being touched."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass, field

import pytest

from bridge.plan.ports import PortMap
from bridge.tunnel.http import Answered, Unread
from bridge.tunnel.inbound import Inbound
from bridge.tunnel.reading import Pause, Reading
from bridge.tunnel.rejoin import until_at_rest, until_parted
from tests.component.proxy import free_ports, running_proxy
from tests.component.tunnel.peers import Sshd
from tests.component.tunnel.talk import connected, echo, serving, with_reset

PORT = free_ports(1)[0]
REQUEST = b"GET /%s HTTP/1.1\r\nHost: web\r\n\r\n"


@pytest.fixture(scope="module")
def pod():
    with running_proxy([PORT]) as proxy:
        log = proxy.directory / "log"
        yield Sshd(port=proxy.ssh_port, user="bridge", keys=proxy.keys, process=proxy.process, log=log)


@dataclass
class Stage:
    """The pod's port, answered by whatever `process` is; in a pause by nobody."""

    pause: Pause
    heard: list[object] = field(default_factory=list)
    process: int = 0
    dials: int = 0
    inbound: Inbound | None = None

    async def dial(self, factory, host, port):
        if self.pause.on or not self.process:
            raise ConnectionRefusedError
        self.dials += 1
        return await asyncio.get_running_loop().create_connection(factory, host, self.process)

    async def wait_accepting(self, _: int) -> None:
        while self.pause.on or not self.process:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def begin_pause(self) -> None:
        self.pause.begin()
        self.inbound.part()

    def go_on_with(self, process: int) -> None:
        self.process = process
        self.pause.end()


@contextlib.asynccontextmanager
async def stage(pod, *, outlives: bool = True, hold: float = 10):
    here = Stage(Pause())
    reading = Reading(tell=lambda _, heard: here.heard.append(heard), pause=here.pause if outlives else None)
    async with connected(pod) as (connection, _):
        maps = [PortMap(pod=PORT, laptop=1, name="", origin="")]
        async with Inbound(
            connection,
            maps,
            here.dial,
            wait_accepting=here.wait_accepting,
            hold=hold,
            reading=lambda: reading,
        ) as here.inbound:
            yield here


def server(name: bytes, *, delay: float = 0.0, closes: bool = False):
    """Answers each request with its own name and the path."""

    async def answer(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(delay)
                body = name + b" " + request.split()[1]
                more = b"Connection: close\r\n" if closes else b""
                writer.write(b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (more, len(body), body))
                if closes:
                    return

    return answer


class Client:
    """One connection that is used again and again."""

    @classmethod
    async def open(cls) -> Client:
        self = cls()
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", PORT)
        return self

    async def ask(self, path: bytes) -> bytes:
        self.writer.write(REQUEST % path)
        return await self.answer()

    async def answer(self) -> bytes:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return await self.reader.readexactly(length)

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


async def until(so) -> None:
    async with asyncio.timeout(5):
        while not so():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def test_a_connection_goes_on_with_the_next_process(run, pod):
    async def main():
        async with serving(server(b"one")) as one, serving(server(b"two")) as two, stage(pod) as here:
            here.go_on_with(one)
            client = await Client.open()
            assert await client.ask(b"a") == b"one /a"
            here.begin_pause()
            asking = asyncio.ensure_future(client.ask(b"b"))
            await until(lambda: here.inbound.held)
            assert not asking.done()
            here.go_on_with(two)
            assert await asking == b"two /b"
            assert await client.ask(b"c") == b"two /c"
            await client.close()
            assert [(each.path, each.status) for each in here.heard] == [("/a", 200), ("/b", 200), ("/c", 200)]

    run(main())


def test_a_connection_that_is_to_leave_is_closed_with_an_answer(run, pod):
    """Closed at any other moment, it may be just when the next request is on its way: that one is lost."""

    async def main():
        async with serving(server(b"one")) as one, stage(pod) as here:
            here.go_on_with(one)
            used, idle = await Client.open(), await Client.open()
            assert [await used.ask(b"a"), await idle.ask(b"a")] == [b"one /a", b"one /a"]
            here.inbound.leave()
            assert await until_at_rest(lambda: here.inbound.relayed, 0) == 2
            assert await used.ask(b"b") == b"one /b"
            assert await used.reader.read() == b""
            assert await until_at_rest(lambda: here.inbound.relayed, 5) == 0
            assert not idle.reader.at_eof()
            await idle.close()
            await used.close()

    run(main())


def test_a_request_under_way_gets_its_answer_from_the_old_process(run, pod):
    async def main():
        slow = serving(server(b"one", delay=0.2))
        async with slow as one, serving(server(b"two")) as two, stage(pod) as here:
            here.go_on_with(one)
            client = await Client.open()
            client.writer.write(REQUEST % b"a" + REQUEST % b"b")  # pipelined: both are the old one's
            await until(lambda: any(each.conversation.awaited for each in here.inbound.relayed))
            here.begin_pause()
            assert await until_at_rest(lambda: here.inbound.relayed, 5) == 0
            here.go_on_with(two)
            assert [await client.answer(), await client.answer()] == [b"one /a", b"one /b"]
            assert await client.ask(b"c") == b"two /c"
            await client.close()

    run(main())


def test_those_that_wait_for_their_answer_let_go_when_they_have_it(run, pod):
    async def main():
        async with serving(server(b"one", delay=0.2)) as one, stage(pod) as here:
            here.go_on_with(one)
            resting, busy = await Client.open(), await Client.open()
            assert await resting.ask(b"a") == b"one /a"
            asking = asyncio.ensure_future(busy.ask(b"b"))
            await until(lambda: any(each.conversation.awaited for each in here.inbound.relayed))
            here.begin_pause()
            await until_parted(here.inbound.relayed, 5)
            assert await asking == b"one /b"
            assert [each.parted for each in here.inbound.relayed] == [1, 1]
            lasts = asyncio.get_running_loop().time()
            await until_parted(here.inbound.relayed, 5)  # nothing more to wait for
            assert asyncio.get_running_loop().time() - lasts < 1
            await resting.close()
            await busy.close()

    run(main())


def test_what_does_not_come_to_its_answer_is_waited_for_only_so_long(run, pod):
    async def main():
        async with serving(server(b"one", delay=60)) as one, stage(pod) as here:
            here.go_on_with(one)
            client = await Client.open()
            client.writer.write(REQUEST % b"a")
            await until(lambda: any(each.conversation.awaited for each in here.inbound.relayed))
            here.begin_pause()
            assert await until_at_rest(lambda: here.inbound.relayed, 0.1) == 1
            await client.close()

    run(main())


def test_no_request_is_lost_while_processes_come_and_go(run, pod):
    """Each process is gone for good, with all its connections, before the next one is there."""

    async def main():
        answers: list[bytes] = []
        over = asyncio.Event()

        async def keep_asking(client: Client) -> None:
            while not over.is_set():
                answers.append(await client.ask(b"x"))
            await client.close()

        async with stage(pod) as here:
            async with serving(server(b"0", delay=0.003)) as first:
                here.go_on_with(first)
                clients = [asyncio.ensure_future(keep_asking(await Client.open())) for _ in range(10)]
                await until(lambda: len(answers) > 50)
                here.begin_pause()
                assert await until_at_rest(lambda: here.inbound.relayed, 5) == 0
            for number in range(1, 10):
                async with serving(server(b"%d" % number, delay=0.003)) as port:
                    before = len(answers)
                    here.go_on_with(port)
                    await until(lambda: len(answers) > before + 50)  # noqa: B023
                    here.begin_pause()
                    assert await until_at_rest(lambda: here.inbound.relayed, 5) == 0
            async with serving(server(b"last")) as port:
                here.go_on_with(port)
                await until(lambda: answers[-1] == b"last /x")
                over.set()
                await asyncio.gather(*clients)
            assert {each.split()[0] for each in answers} == {*(b"%d" % n for n in range(10)), b"last"}
            assert all(isinstance(each, Answered) and not each.cut for each in here.heard)

    run(main())


def test_a_connection_outlives_a_process_that_ends_by_itself_between_requests(run, pod):
    async def main():
        async with stage(pod) as here:
            async with serving(server(b"one")) as one:
                here.go_on_with(one)
                client = await Client.open()
                assert await client.ask(b"a") == b"one /a"
                here.process = 0
            async with serving(server(b"two")) as two:
                here.process = two
                assert await client.ask(b"b") == b"two /b"
                await client.close()

    run(main())


def test_a_client_without_a_process_may_leave_and_what_is_held_too_long_is_reset(run, pod):
    async def main():
        async with serving(server(b"one")) as one, stage(pod, hold=0.2) as here:
            here.go_on_with(one)
            leaves, waits = await Client.open(), await Client.open()
            for client in (leaves, waits):
                assert await client.ask(b"a") == b"one /a"
            here.begin_pause()
            assert len(here.inbound.relayed) == 2
            await leaves.close()
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await waits.ask(b"b")
            await waits.close()
            await until(lambda: not here.inbound.relayed)

    run(main())


def test_what_the_process_closes_is_closed(run, pod):
    async def main():
        async with serving(server(b"one", closes=True)) as one, stage(pod) as here:
            here.go_on_with(one)
            client = await Client.open()
            assert await client.ask(b"a") == b"one /a"
            assert await client.reader.read() == b""
            await client.close()
            await until(lambda: not here.inbound.relayed)

    run(main())


def test_another_protocol_ends_with_its_process_and_a_server_that_speaks_first_is_heard_again(run, pod):
    async def greet(reader, writer):
        writer.write(b"220 ready\r\n")
        await reader.read()

    async def main():
        async with serving(greet) as one, stage(pod) as here:
            here.go_on_with(one)
            client = await Client.open()
            assert await client.reader.readexactly(11) == b"220 ready\r\n"
            here.begin_pause()
            assert await until_at_rest(lambda: here.inbound.relayed, 5) == 0
            assert here.heard == [Unread("not HTTP/1")]
            assert here.inbound.open == 1  # it is still joined
            await client.close()

    run(main())


def test_a_connection_on_which_nothing_was_said_is_joined_to_the_next_process_at_once(run, pod):
    async def main():
        async with serving(server(b"one")) as one, serving(echo) as two, stage(pod) as here:
            here.go_on_with(one)
            client = await Client.open()
            await until(lambda: here.inbound.open)
            here.begin_pause()
            here.go_on_with(two)
            await until(lambda: here.dials == 2)
            client.writer.write(b"hello")
            assert await client.reader.readexactly(5) == b"hello"
            await client.close()

    run(main())


def test_a_reset_is_told_and_passed_on(run, pod):
    async def reset(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        with_reset(writer)

    async def main():
        async with serving(reset) as one, stage(pod) as here:
            here.go_on_with(one)
            client = await Client.open()
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await client.ask(b"a")
            await client.close()
            (told,) = here.heard
            assert (told.path, told.status, told.cut) == ("/a", None, "reset")

    run(main())


@pytest.mark.parametrize("outlives", [True, False])
def test_bytes_are_the_same_whether_read_or_not(run, pod, outlives):
    async def main():
        async with serving(echo) as port, stage(pod, outlives=outlives) as here:
            here.go_on_with(port)
            for start in (b"", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
                data = start + os.urandom(2 * 1024 * 1024)
                client = await Client.open()
                client.writer.write(data)
                client.writer.write_eof()
                assert await client.reader.read() == data
                await client.close()

    run(main())

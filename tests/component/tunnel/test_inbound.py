"""Connections made in the pod reach the process on the laptop, or wait for it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from bridge.errors import TunnelError
from bridge.plan.ports import PortMap
from bridge.tunnel.inbound import Inbound
from tests.component.proxy import free_ports, running_proxy
from tests.component.tunnel.peers import Sshd
from tests.component.tunnel.talk import connected, echo, serving, with_reset

PORTS = free_ports(2)


@pytest.fixture(scope="module")
def pod():
    with running_proxy(PORTS) as proxy:
        log = proxy.directory / "log"
        yield Sshd(port=proxy.ssh_port, user="bridge", keys=proxy.keys, process=proxy.process, log=log)


@contextlib.asynccontextmanager
async def inbound(pod, to: int, **options):
    """The pod's first port, answered by port ``to`` of the laptop."""
    loop = asyncio.get_running_loop()
    async with connected(pod) as (connection, server):
        maps = [PortMap(pod=PORTS[0], laptop=to, name="", origin="")]
        async with Inbound(connection, maps, loop.create_connection, **options) as inbound:
            yield inbound, server


async def ask(text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", PORTS[0])
    writer.write(text)
    writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()


def test_the_process_answers_what_comes_to_the_pods_port(run, pod):
    async def main():
        async with serving(echo) as port, inbound(pod, port):
            answers = await asyncio.gather(*(ask(b"%d" % number) for number in range(100)))
            assert answers == [b"%d" % number for number in range(100)]

    run(main())


def test_a_process_that_speaks_first_is_heard(run, pod):
    async def greet(reader, writer):
        writer.write(b"220 ready\r\n")
        await reader.read()

    async def main():
        async with serving(greet) as port, inbound(pod, port):
            assert await ask(b"") == b"220 ready\r\n"

    run(main())


def test_without_a_condition_a_refused_connection_is_closed_at_once(run, pod):
    async def main():
        async with inbound(pod, free_ports(1)[0]):
            with contextlib.suppress(ConnectionResetError):  # what was sent was not read: RST
                assert await asyncio.wait_for(ask(b"hello"), 5) == b""

    run(main())


def test_a_connection_is_held_until_the_process_accepts(run, pod):
    async def main():
        port = free_ports(1)[0]
        accepting = asyncio.Event()

        async def wait_accepting(asked: int) -> None:
            assert asked == port
            await accepting.wait()

        async with inbound(pod, port, wait_accepting=wait_accepting) as (inbound_, _):
            asking = [asyncio.ensure_future(ask(b"held %d" % number)) for number in range(50)]
            async with asyncio.timeout(5):
                while inbound_.held < 50:  # noqa: ASYNC110  # sshd hands them over one by one
                    await asyncio.sleep(0.01)
            assert not any(each.done() for each in asking)
            server = await asyncio.start_server(_echo_and_close, "127.0.0.1", port)
            accepting.set()
            async with asyncio.timeout(5):
                assert await asyncio.gather(*asking) == [b"held %d" % number for number in range(50)]
            server.close()
            await server.wait_closed()

    run(main())


async def _echo_and_close(reader, writer):
    await echo(reader, writer)
    writer.close()


def test_a_connection_is_held_only_so_long(run, pod):
    async def main():
        async def never(_: int) -> None:
            await asyncio.Event().wait()

        async with inbound(pod, free_ports(1)[0], wait_accepting=never, hold=0.2) as (inbound_, _):
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(ask(b"hello"), 5) == b""
            assert inbound_.held == 0

    run(main())


def test_a_condition_that_is_wrong_does_not_make_the_loop_spin(run, pod):
    async def main():
        dials = 0

        async def says_yes(_: int) -> None:
            pass

        loop = asyncio.get_running_loop()

        async def dial(factory, host, port):
            nonlocal dials
            dials += 1
            return await loop.create_connection(factory, host, port)

        async with connected(pod) as (connection, _):
            maps = [PortMap(pod=PORTS[0], laptop=free_ports(1)[0], name="", origin="")]
            async with Inbound(connection, maps, dial, wait_accepting=says_yes, hold=0.3):
                with contextlib.suppress(ConnectionResetError):
                    await asyncio.wait_for(ask(b"hello"), 5)
                assert dials < 20

    run(main())


def test_a_reset_by_the_process_ends_the_connection_in_the_pod(run, pod):
    async def reset_at_once(reader, writer):
        await reader.read(1)
        with_reset(writer)

    async def main():
        async with serving(reset_at_once) as port, inbound(pod, port):
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(ask(b"hello"), 5) == b""

    run(main())


def test_a_cut_stream_resets_the_process_s_connections(run, pod):
    ended: asyncio.Future[Exception | None]

    async def note(reader, writer):
        writer.write(b"x")
        try:
            await reader.read()
        except ConnectionResetError as error:
            ended.set_result(error)
        else:
            ended.set_result(None)

    async def main():
        nonlocal ended
        ended = asyncio.get_running_loop().create_future()
        async with serving(note) as port, inbound(pod, port) as (_, server):
            reader, writer = await asyncio.open_connection("127.0.0.1", PORTS[0])
            await reader.readexactly(1)
            server.cut()
            assert isinstance(await asyncio.wait_for(ended, 5), ConnectionResetError)
            writer.close()

    run(main())


def test_a_port_that_the_session_has_not_named_is_refused(run, pod):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected(pod) as (connection, _):
            other = free_ports(1)[0]
            maps = [PortMap(pod=port, laptop=port, name="", origin="") for port in (PORTS[0], other)]
            with pytest.raises(TunnelError, match=str(other)):
                await Inbound(connection, maps, loop.create_connection).start()

    run(main())

"""Connections made in the pod reach the process on the laptop, or wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from bridge.errors import TunnelError
from bridge.plan.ports import PortMap
from bridge.tunnel.inbound import ATTEMPT, Inbound, ProcessGone
from bridge.tunnel.reading import Reading
from tests.component.proxy import free_ports, running_proxy
from tests.component.tunnel.peers import Sshd
from tests.component.tunnel.talk import connected, echo, refused, serving, with_reset

PORTS = free_ports(2)
SOON = 30
"""Seconds after which something is taken not to come: longer than a busy machine stands still."""


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


async def ask(text: bytes, host: str = "127.0.0.1") -> bytes:
    reader, writer = await asyncio.open_connection(host, PORTS[0])
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


def test_the_pods_port_is_reached_by_ipv6_too_until_it_stops(run, pod):
    """A Service may have IPv6 endpoints, and the kubelet ask there whether the pod is Ready."""

    async def main():
        async with serving(echo) as port, inbound(pod, port):
            assert await ask(b"by IPv6", host="::1") == b"by IPv6"
        await refused(PORTS[0], "::1")

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
                assert await asyncio.wait_for(ask(b"hello"), SOON) == b""

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
            async with asyncio.timeout(SOON):
                while inbound_.held < 50:  # noqa: ASYNC110  # sshd hands them over one by one
                    await asyncio.sleep(0.01)
            assert not any(each.done() for each in asking)
            server = await asyncio.start_server(_echo_and_close, "127.0.0.1", port)
            accepting.set()
            async with asyncio.timeout(SOON):
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
                assert await asyncio.wait_for(ask(b"hello"), SOON) == b""
            assert inbound_.held == 0

    run(main())


def test_a_process_that_listens_but_takes_no_more_is_waited_for(run, pod):
    """A debugger holds it, and its backlog is full: that may take longer than a restart."""

    async def refused(*_: object) -> None:
        raise ConnectionRefusedError("nobody stands in")

    async def listens(_: int) -> None:
        pass

    async def main():
        with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
            port = server.getsockname()[1]
            async with inbound(pod, port, wait_accepting=listens, fallback=refused, hold=0.7) as (inbound_, _):
                asking = [asyncio.ensure_future(ask(b"held %d" % number)) for number in range(50)]
                async with asyncio.timeout(10):
                    while inbound_.held + inbound_.open < 50:  # noqa: ASYNC110  # sshd hands them over one by one
                        await asyncio.sleep(0.01)
                await asyncio.sleep(1)  # longer than the hold
                assert (inbound_.held > 0, any(each.done() for each in asking)) == (True, False)
                going_on = await asyncio.start_server(_echo_and_close, sock=server)
                async with asyncio.timeout(10):
                    assert await asyncio.gather(*asking) == [b"held %d" % number for number in range(50)]
                going_on.close()
                await going_on.wait_closed()

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
                    await asyncio.wait_for(ask(b"hello"), SOON)
                assert dials < 20

    run(main())


def test_a_reset_by_the_process_ends_the_connection_in_the_pod(run, pod):
    async def reset_at_once(reader, writer):
        await reader.read(1)
        with_reset(writer)

    async def main():
        async with serving(reset_at_once) as port, inbound(pod, port):
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(ask(b"hello"), SOON) == b""

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
            assert isinstance(await asyncio.wait_for(ended, SOON), ConnectionResetError)
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


# ---- the original stands in ------------------------------------------------------------------------------------------
async def never_accepting(_: int) -> None:
    await asyncio.Event().wait()


def standing_in(port: int, asked: list[tuple[str, int]]):
    """A dial to who answers the pod's port in the place of the process."""

    async def dial(factory, host, pod_port):
        asked.append((host, pod_port))
        return await asyncio.get_running_loop().create_connection(factory, "127.0.0.1", port)

    return dial


async def say_original(reader, writer):
    writer.write(b"original:" + await reader.read())


def test_what_the_process_does_not_take_in_time_the_original_answers(run, pod):
    async def main():
        asked, taken = [], []
        async with serving(say_original) as original:
            options = {"wait_accepting": never_accepting, "hold": 0.1, "on_taken": lambda: taken.append(1)}
            fallback = standing_in(original, asked)
            async with inbound(pod, free_ports(1)[0], fallback=fallback, **options) as (inbound_, _):
                began = asyncio.get_running_loop().time()
                assert await asyncio.wait_for(ask(b"hello"), SOON) == b"original:hello"
                assert asyncio.get_running_loop().time() - began >= 0.098  # uvloop counts in whole milliseconds
                assert asked == [("127.0.0.1", PORTS[0])]  # the pod's port, not the laptop's
                assert taken == [1]
                assert inbound_.held == 0

    run(main())


def test_without_a_hold_the_original_answers_at_once(run, pod):
    async def main():
        async with serving(say_original) as original:
            options = {"wait_accepting": never_accepting, "hold": 0.0}
            async with inbound(pod, free_ports(1)[0], fallback=standing_in(original, []), **options):
                answers = await asyncio.wait_for(asyncio.gather(*(ask(b"%d" % n) for n in range(20))), 10)
                assert answers == [b"original:%d" % n for n in range(20)]

    run(main())


def test_without_a_hold_the_process_answers_all_the_same(run, pod):
    async def main():
        asked = []
        async with serving(echo) as port, serving(say_original) as original:
            options = {"wait_accepting": never_accepting, "hold": 0.0, "fallback": standing_in(original, asked)}
            async with inbound(pod, port, **options):
                answers = await asyncio.gather(*(ask(b"%d" % number) for number in range(20)))
                assert (answers, asked) == ([b"%d" % number for number in range(20)], [])

    run(main())


def test_all_that_is_held_goes_to_the_original_at_once_when_the_process_is_gone(run, pod):
    """Each of them takes a round trip of the tunnel: one after another, the last would come too late."""

    async def main():
        gone, dialled, arrived = False, 0, asyncio.Event()

        async def dial(*_):
            raise ProcessGone if gone else ConnectionRefusedError

        async def wait_accepting(_: int) -> None:
            while not gone:  # noqa: ASYNC110  # as who tells by the kernel's table
                await asyncio.sleep(0.01)

        async with serving(say_original) as original:

            async def far_away(factory, _host, _port):
                nonlocal dialled
                dialled += 1
                if dialled == 50:
                    arrived.set()
                await arrived.wait()
                return await asyncio.get_running_loop().create_connection(factory, "127.0.0.1", original)

            options = {"wait_accepting": wait_accepting, "fallback": far_away, "hold": 60}
            async with connected(pod) as (connection, _):
                maps = [PortMap(pod=PORTS[0], laptop=1, name="", origin="")]
                async with Inbound(connection, maps, dial, **options) as inbound_:
                    asking = [asyncio.ensure_future(ask(b"%d" % number)) for number in range(50)]
                    async with asyncio.timeout(SOON):
                        while inbound_.held < 50:  # noqa: ASYNC110  # sshd hands them over one by one
                            await asyncio.sleep(0.01)
                        await asyncio.sleep(2 * ATTEMPT)  # longer than a try of a process that takes nothing
                        gone = True
                        assert await asyncio.gather(*asking) == [b"original:%d" % number for number in range(50)]

    run(main())


def test_one_at_a_time_looks_whether_the_process_accepts(run, pod):
    async def main():
        port, accepting, looking, most = free_ports(1)[0], asyncio.Event(), 0, 0

        async def wait_accepting(_: int) -> None:
            nonlocal looking, most
            looking += 1
            most = max(most, looking)
            try:
                await accepting.wait()
            finally:
                looking -= 1

        async with inbound(pod, port, wait_accepting=wait_accepting, hold=60) as (inbound_, _):
            asking = [asyncio.ensure_future(ask(b"%d" % number)) for number in range(20)]
            async with asyncio.timeout(SOON):
                while inbound_.held < 20 or not looking:  # noqa: ASYNC110  # sshd hands them over one by one
                    await asyncio.sleep(0.01)
                server = await asyncio.start_server(_echo_and_close, "127.0.0.1", port)
                accepting.set()
                assert await asyncio.gather(*asking) == [b"%d" % number for number in range(20)]
            assert most == 1
            server.close()
            await server.wait_closed()

    run(main())


def test_what_was_held_on_a_stream_that_is_cut_is_forgotten(run, pod):
    async def main():
        async with inbound(pod, free_ports(1)[0], wait_accepting=never_accepting, hold=60) as (inbound_, server):
            asking = asyncio.ensure_future(ask(b"hello"))
            async with asyncio.timeout(SOON):
                while not inbound_.held:  # noqa: ASYNC110  # nobody tells
                    await asyncio.sleep(0.01)
                server.cut()
                while inbound_.held:  # noqa: ASYNC110  # nobody tells
                    await asyncio.sleep(0.01)
            with contextlib.suppress(ConnectionResetError):
                await asyncio.wait_for(asking, SOON)

    run(main())


def test_the_original_is_not_asked_while_the_process_accepts(run, pod):
    async def main():
        asked, taken = [], []
        async with serving(echo) as port, serving(say_original) as original:
            options = {"wait_accepting": never_accepting, "hold": 5, "on_taken": lambda: taken.append(1)}
            async with inbound(pod, port, fallback=standing_in(original, asked), **options):
                answers = await asyncio.gather(*(ask(b"%d" % number) for number in range(10)))
                assert answers == [b"%d" % number for number in range(10)]
                assert asked == []
                assert len(taken) == 10

    run(main())


def test_a_connection_that_is_held_is_read_along_if_it_is_to_be_when_it_is_dialled(run, pod):
    async def main():
        readings, port, accepting, waited_for, seen = [], free_ports(1)[0], asyncio.Event(), asyncio.Event(), []

        async def wait_accepting(_: int) -> None:
            waited_for.set()
            await accepting.wait()

        def reading() -> Reading | None:
            return readings[0] if readings else None

        async with inbound(pod, port, wait_accepting=wait_accepting, hold=60, reading=reading) as (inbound_, _):

            async def see(reader, writer):
                seen.append((await reader.readexactly(4), len(inbound_.relayed), inbound_.unread))
                await _echo_and_close(reader, writer)

            asking = asyncio.ensure_future(ask(b"held"))
            await asyncio.wait_for(waited_for.wait(), SOON)
            readings.append(Reading())
            server = await asyncio.start_server(see, "127.0.0.1", port)
            accepting.set()
            assert await asyncio.wait_for(asking, SOON) == b""
            assert seen == [(b"held", 1, 0)]
            server.close()
            await server.wait_closed()

    run(main())


def test_a_process_that_accepts_within_the_hold_is_asked_and_not_the_original(run, pod):
    async def main():
        asked, port, accepting, waited_for = [], free_ports(1)[0], asyncio.Event(), asyncio.Event()

        async def wait_accepting(_: int) -> None:
            waited_for.set()
            await accepting.wait()

        async with serving(say_original) as original:
            fallback = standing_in(original, asked)
            async with inbound(pod, port, fallback=fallback, wait_accepting=wait_accepting, hold=60):
                asking = asyncio.ensure_future(ask(b"held"))
                await asyncio.wait_for(waited_for.wait(), SOON)
                server = await asyncio.start_server(_echo_and_close, "127.0.0.1", port)
                accepting.set()
                assert await asyncio.wait_for(asking, SOON) == b"held"
                assert asked == []
                server.close()
                await server.wait_closed()

    run(main())


def test_when_the_original_refuses_too_the_connection_is_closed(run, pod):
    async def main():
        taken = []
        options = {"wait_accepting": never_accepting, "hold": 0.05, "on_taken": lambda: taken.append(1)}
        async with inbound(pod, free_ports(1)[0], fallback=standing_in(free_ports(1)[0], []), **options):
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(ask(b"hello"), SOON) == b""
            assert taken == []

    run(main())


def test_what_nobody_answers_is_not_counted_as_taken(run, pod):
    async def main():
        taken = []
        async with inbound(pod, free_ports(1)[0], on_taken=lambda: taken.append(1)):
            with contextlib.suppress(ConnectionResetError):
                await asyncio.wait_for(ask(b"hello"), SOON)
            assert taken == []

    run(main())


def test_what_is_held_when_it_stops_is_closed_at_once(run, pod):
    async def main():
        waited_for = asyncio.Event()

        async def wait_accepting(_: int) -> None:
            waited_for.set()
            await asyncio.Event().wait()

        async with inbound(pod, free_ports(1)[0], wait_accepting=wait_accepting, hold=60) as (inbound_, _):
            asking = asyncio.ensure_future(ask(b"hello"))
            await asyncio.wait_for(waited_for.wait(), SOON)
            assert (inbound_.held, inbound_.open) == (1, 0)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(asking, SOON) == b""

    run(main())


def test_what_is_answered_is_counted_as_open_until_it_ends(run, pod):
    async def main():
        async with serving(echo) as port, inbound(pod, port) as (inbound_, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", PORTS[0])
            writer.write(b"x")
            assert await asyncio.wait_for(reader.readexactly(1), SOON) == b"x"
            assert (inbound_.held, inbound_.open) == (0, 1)
            writer.close()
            async with asyncio.timeout(SOON):
                while inbound_.open:  # noqa: ASYNC110  # nothing tells
                    await asyncio.sleep(0.005)

    run(main())

"""The control connection with the real keeper, through the real sshd."""

from __future__ import annotations

import asyncio

import pytest

from bridge.errors import TunnelError
from bridge.tunnel.keeper import open_keeper
from bridge.wire import messages
from tests.component.proxy import running_proxy
from tests.component.tunnel.peers import Sshd
from tests.component.tunnel.talk import connected, serving


@pytest.fixture(scope="module")
def proxy():
    huge = b"x" * 1_000_000
    with running_proxy(environ={b"PGPASSWORD": b"s3cret", b"LINES": b"a\nb\xff", b"HUGE": huge[:120_000]}) as proxy:
        yield proxy


def pod(proxy):
    return Sshd(port=proxy.ssh_port, user="bridge", keys=proxy.keys, process=proxy.process, log=proxy.directory / "log")


async def ready() -> bool:
    return True


async def probe(proxy) -> bytes:
    """As the kubelet asks."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.probe_port)
    writer.write(b"GET /ready HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer.split(b" ")[1]


def test_the_report_tells_what_the_container_was_given(run, proxy):
    async def main():
        async with connected(pod(proxy)) as (connection, _):
            dial = connection.create_connection
            async with await open_keeper(dial, proxy.keeper_port, proxy.token, is_ready=ready) as keeper:
                environ = keeper.report.environ.split(b"\0")
                assert b"PGPASSWORD=s3cret" in environ
                assert b"LINES=a\nb\xff" in environ
                assert 0 < await keeper.ping() < 5
            assert keeper.closed.result() is None
            with pytest.raises(TunnelError):
                await keeper.ping()

    run(main())


@pytest.mark.parametrize(("process_ready", "status"), [(True, b"200"), (False, b"503")])
def test_the_kubelets_probe_is_answered_by_the_laptop(run, proxy, process_ready, status):
    async def is_ready() -> bool:
        return process_ready

    async def main():
        async with connected(pod(proxy)) as (connection, _):
            dial = connection.create_connection
            async with await open_keeper(dial, proxy.keeper_port, proxy.token, is_ready=is_ready):
                assert await asyncio.wait_for(probe(proxy), 5) == status

    run(main())


def test_a_probe_waits_for_the_process_to_become_ready(run, proxy):
    async def main():
        asked, accepts = asyncio.Event(), asyncio.Event()

        async def is_ready() -> bool:
            asked.set()
            return await accepts.wait()

        async with connected(pod(proxy)) as (connection, _):
            dial = connection.create_connection
            async with await open_keeper(dial, proxy.keeper_port, proxy.token, is_ready=is_ready):
                probing = asyncio.ensure_future(probe(proxy))
                await asked.wait()
                assert not probing.done()
                accepts.set()
                assert await asyncio.wait_for(probing, 5) == b"200"

    run(main())


def test_a_failing_answer_is_no_readiness(run, proxy, caplog):
    async def is_ready() -> bool:
        raise ZeroDivisionError

    async def main():
        async with connected(pod(proxy)) as (connection, _):
            dial = connection.create_connection
            async with await open_keeper(dial, proxy.keeper_port, proxy.token, is_ready=is_ready):
                assert await asyncio.wait_for(probe(proxy), 5) == b"503"
        assert "can't be told" in caplog.text

    run(main())


def test_a_wrong_token_is_refused_with_the_keepers_words(run, proxy):
    async def main():
        async with connected(pod(proxy)) as (connection, _):
            with pytest.raises(TunnelError, match="token"):
                await open_keeper(connection.create_connection, proxy.keeper_port, "guessed", is_ready=ready)

    run(main())


def test_a_keeper_that_is_not_there_is_told(run, proxy):
    async def main():
        async with connected(pod(proxy)) as (connection, _):
            with pytest.raises(TunnelError, match="can't be reached"):
                await open_keeper(connection.create_connection, 1, proxy.token, is_ready=ready)

    run(main())


def test_a_newer_connection_takes_over_and_the_older_one_says_so(run, proxy):
    async def main():
        async with connected(pod(proxy)) as (connection, _):
            dial = connection.create_connection
            older = await open_keeper(dial, proxy.keeper_port, proxy.token, is_ready=ready)
            waiting = asyncio.ensure_future(older.ping())
            async with await open_keeper(dial, proxy.keeper_port, proxy.token, is_ready=ready) as newer:
                reason = await asyncio.wait_for(older.closed, 5)
                assert "newer" in str(reason)
                assert await newer.ping() > 0
            await asyncio.gather(waiting, return_exceptions=True)

    run(main())


def test_nonsense_from_the_keeper_ends_the_connection(run, proxy):
    async def nonsense(reader, writer):
        await reader.readline()
        writer.write(b"{}\n")
        await reader.read()

    async def main():
        async with connected(pod(proxy)) as (connection, _), serving(nonsense) as port:
            with pytest.raises(TunnelError, match="does not understand"):
                await open_keeper(connection.create_connection, port, proxy.token, is_ready=ready)

    run(main())


def test_news_about_ports_replace_the_reports_and_unknown_answers_are_ignored(run, proxy):
    report = messages.Report(
        environ=b"A=1\0", resolv_conf="", hosts="", hostname="h", pod_ips=(), mounts=(), listening=(1,)
    )
    guard = messages.Guard(messages.GuardState.ARMED, "")

    async def tell(reader, writer):
        await reader.readline()
        for message in (report, messages.Pong(7), messages.Listening((2, 3)), guard):
            writer.write(messages.render(message))
        await reader.read()

    async def main():
        heard = asyncio.get_running_loop().create_future()
        async with connected(pod(proxy)) as (connection, _), serving(tell) as port:
            dial = connection.create_connection
            keeper = await open_keeper(dial, port, "t", is_ready=ready, on_guard=heard.set_result)
            async with keeper:
                assert keeper.report == report
                await asyncio.wait_for(heard, 5)
                assert keeper.listening == (2, 3)

    run(main())


def test_a_port_that_a_neighbour_opens_later_is_known_soon(run, proxy):
    async def main():
        async with connected(pod(proxy)) as (connection, _):
            dial = connection.create_connection
            async with await open_keeper(dial, proxy.keeper_port, proxy.token, is_ready=ready) as keeper:
                assert keeper.listening == keeper.report.listening
                late = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
                async with late, asyncio.timeout(10):
                    while late.sockets[0].getsockname()[1] not in keeper.listening:
                        await keeper.ping()

    run(main())

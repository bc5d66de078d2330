"""A tie notices what goes wrong with it: each row with a real sshd, and a keeper on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import psutil
import pytest

from bridge.errors import TunnelError
from bridge.plan.ports import PortMap
from bridge.session import tie as tie_module
from bridge.session.tie import Ends, Tie, Trouble
from bridge.tunnel import heartbeat
from bridge.tunnel.heartbeat import until_silent
from bridge.wire import messages
from tests.component.proxy import free_ports, running_proxy
from tests.component.session.keeper import ends, inbound_at, keeping, ready, tied
from tests.component.tunnel.peers import Sshd, port_forward, running_sshd
from tests.component.tunnel.talk import Collect, echo, serving


@contextlib.asynccontextmanager
async def a_tie(sshd, **changes):
    """A tie, its keeper, and the port-forward that it goes through."""
    async with keeping() as keeper, port_forward(sshd.port) as server:
        tie = await tied(sshd, server, ends(sshd, keeper, **changes))
        try:
            yield tie, keeper, server
        finally:
            server.silent = False
            await asyncio.wait_for(tie.close(), 5)


async def trouble_of(tie: Tie) -> Trouble | None:
    return await asyncio.wait_for(tie.trouble(), 5)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats in tenths of seconds: the same code, other figures."""

    async def quickly(keeper, answered):
        await until_silent(keeper, answered, every=0.05, silent=0.2)

    monkeypatch.setattr(tie_module, "until_silent", quickly)


def test_a_stream_that_is_cut_is_a_trouble(run, sshd):
    async def main():
        async with a_tie(sshd) as (tie, _, server):
            watching = asyncio.ensure_future(trouble_of(tie))
            await asyncio.wait([watching], timeout=0.02)
            server.cut()
            trouble = await watching
            assert trouble
            assert trouble.reason
            assert (trouble.silent, trouble.goes_on, trouble.refused) == (False, False, "")

    run(main())


def test_a_trouble_that_came_before_anybody_watched_is_told(run, sshd):
    async def main():
        async with a_tie(sshd) as (tie, _, server):
            server.cut()
            await tie.connection.closed
            assert await trouble_of(tie)

    run(main())


def test_an_sshd_that_is_killed_is_a_trouble(run, tmp_path):
    async def main(own):
        async with a_tie(own) as (tie, _, _server):
            children = psutil.Process(own.process.pid).children(recursive=True)
            for each in (own.process, *children):
                each.kill()
            assert await trouble_of(tie)

    with running_sshd(tmp_path) as own:
        run(main(own))


def test_a_keeper_that_closes_without_a_word_is_a_trouble(run, sshd):
    async def main():
        async with a_tie(sshd) as (tie, keeper, _):
            keeper.close()
            trouble = await trouble_of(tie)
            assert trouble
            assert "closed" in trouble.reason
            assert not trouble.refused

    run(main())


def test_what_the_keeper_refuses_with_is_passed_on(run, sshd):
    async def main():
        async with a_tie(sshd) as (tie, keeper, _):
            keeper.say(messages.Refused("restored: no heartbeat for 30 s"))
            keeper.close()
            trouble = await trouble_of(tie)
            assert trouble
            assert trouble.refused == "restored: no heartbeat for 30 s"

    run(main())


def test_what_the_keeper_refuses_with_is_not_lost_when_the_stream_ends_with_it(run, sshd):
    """Otherwise bridge would go on trying to reach a session that has ended."""

    async def main():
        async with a_tie(sshd) as (tie, keeper, server):
            keeper.say(messages.Refused("taken: by eve@desk"))
            await asyncio.wait_for(tie.keeper.closed, 5)
            server.cut()
            await tie.connection.closed
            trouble = await trouble_of(tie)
            assert trouble
            assert trouble.refused == "taken: by eve@desk"

    run(main())


def test_a_pod_that_was_told_to_end_goes_on_for_a_moment(run, sshd):
    async def main():
        async with a_tie(sshd) as (tie, keeper, _):
            keeper.say(messages.Ending())
            trouble = await trouble_of(tie)
            assert trouble
            assert trouble.goes_on
            assert await tie.keeper.ping() > 0

    run(main())


def test_a_keeper_that_answers_no_more_is_silent(run, sshd, hasty):
    async def main():
        async with a_tie(sshd) as (tie, keeper, _):
            watching = asyncio.ensure_future(trouble_of(tie))
            async with asyncio.timeout(5):
                await keeper.pinged.wait()
            keeper.silent = True
            trouble = await watching
            assert trouble
            assert trouble.silent
            assert not tie.connection.closed.done()

    run(main())


def test_a_stream_that_swallows_all_is_silent(run, sshd, hasty):
    async def main():
        async with a_tie(sshd) as (tie, _, server):
            server.silent = True
            trouble = await trouble_of(tie)
            assert trouble
            assert trouble.silent
            tie.abort()

    run(main())


def test_heartbeats_go_on_as_long_as_they_are_answered(run, sshd, hasty):
    async def main():
        async with a_tie(sshd) as (tie, keeper, _):
            watching = asyncio.ensure_future(tie.trouble())
            async with asyncio.timeout(5):
                while keeper.pings < 5:
                    keeper.pinged.clear()
                    await keeper.pinged.wait()
            assert not watching.done()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            assert tie.keeper.round_trip > 0

    run(main())


def test_a_tie_that_we_close_has_no_trouble(run, sshd):
    async def main():
        async with a_tie(sshd) as (tie, _, _server):
            watching = asyncio.ensure_future(trouble_of(tie))
            await asyncio.wait([watching], timeout=0.02)
            await tie.close()
            assert await watching is None
            assert await trouble_of(tie) is None

    run(main())


def test_a_heartbeat_is_fast_enough_for_ten_seconds():
    assert heartbeat.EVERY + heartbeat.SILENT <= 10


def test_a_tie_has_listened_on_its_ports_when_it_is_there(run, sshd):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving(echo) as port:
            maps = PortMap(pod=free_ports(1)[0], laptop=port, name="", origin="")
            async with a_tie(sshd, inbound=inbound_at([maps], loop.create_connection)):
                reader, writer = await asyncio.open_connection("127.0.0.1", maps.pod)
                writer.write(b"x")
                assert await asyncio.wait_for(reader.readexactly(1), 5) == b"x"
                writer.close()

    run(main())


def test_a_port_that_the_pod_refuses_leaves_no_connection_open(run, sshd):
    async def main():
        loop = asyncio.get_running_loop()
        async with keeping() as keeper, port_forward(sshd.port) as server, serving(echo) as taken:
            maps = PortMap(pod=taken, laptop=taken, name="", origin="")
            with pytest.raises(TunnelError, match=str(taken)):
                await tied(sshd, server, ends(sshd, keeper, inbound=inbound_at([maps], loop.create_connection)))

    run(main())


def test_a_keeper_that_does_not_answer_at_first_is_told_in_time(run, sshd):
    async def silence(reader, writer):
        await reader.read()

    async def main():
        async with serving(silence) as port, port_forward(sshd.port) as server, keeping() as keeper:
            keeper.port = port
            with pytest.raises(TunnelError, match=r"did not answer within 0\.2 s"):
                await tied(sshd, server, ends(sshd, keeper), within=0.2)

    run(main())


def test_closing_a_tie_into_a_black_hole_comes_to_its_end(run, sshd):
    """Ctrl-C while the network is away: nobody answers the goodbye."""

    async def main():
        loop = asyncio.get_running_loop()
        async with serving(echo) as port:
            maps = [PortMap(pod=pod, laptop=port, name="", origin="") for pod in free_ports(2)]
            async with a_tie(sshd, inbound=inbound_at(maps, loop.create_connection)) as (tie, _, server):
                server.silent = True
                await asyncio.wait_for(tie.close(), 5)
                assert tie.connection.closed.done()

    run(main())


def test_what_is_held_ends_with_a_tie_that_is_closed_into_a_black_hole(run, sshd):
    async def main():
        loop, asked = asyncio.get_running_loop(), asyncio.Event()

        async def never(_: int) -> None:
            asked.set()
            await asyncio.Event().wait()

        pod, nobody = free_ports(2)
        maps = [PortMap(pod=pod, laptop=nobody, name="", origin="")]
        relays = inbound_at(maps, loop.create_connection, wait_accepting=never)
        async with a_tie(sshd, inbound=relays) as (tie, _, server):
            _, writer = await asyncio.open_connection("127.0.0.1", pod)
            await asyncio.wait_for(asked.wait(), 5)
            server.silent = True
            await asyncio.wait_for(tie.close(), 5)
            writer.close()

    run(main())


def test_an_aborted_tie_resets_what_is_open_and_leaves_nothing(run, sshd):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving(echo) as port:
            maps = PortMap(pod=free_ports(1)[0], laptop=port, name="", origin="")
            async with a_tie(sshd, inbound=inbound_at([maps], loop.create_connection)) as (tie, _, _server):
                reader, writer = await asyncio.open_connection("127.0.0.1", maps.pod)
                writer.write(b"x")
                await asyncio.wait_for(reader.readexactly(1), 5)
                assert sum(each.open for each in tie.inbound) == 1
                tie.abort()
                await tie.connection.closed
                with contextlib.suppress(ConnectionError):
                    assert await asyncio.wait_for(reader.read(), 5) == b""
                writer.close()

    run(main())


def test_a_tie_rests_when_what_is_open_has_come_to_its_end_whoever_opened_it(run, sshd, monkeypatch):
    monkeypatch.setattr(tie_module, "LINGER", 0.0)

    async def main():
        loop = asyncio.get_running_loop()
        async with serving(echo) as port:
            maps = PortMap(pod=free_ports(1)[0], laptop=port, name="", origin="")
            async with a_tie(sshd, inbound=inbound_at([maps], loop.create_connection)) as (tie, _, _server):
                await asyncio.wait_for(tie.rested(60), 5)
                reader, writer = await asyncio.open_connection("127.0.0.1", maps.pod)
                writer.write(b"x")
                await asyncio.wait_for(reader.readexactly(1), 5)
                transport, protocol = await tie.lanes.create_connection(Collect, "127.0.0.1", port)
                resting = asyncio.ensure_future(tie.rested(60))
                await asyncio.wait([resting], timeout=0.1)
                writer.close()
                await asyncio.wait([resting], timeout=0.1)
                assert not resting.done()
                transport.close()
                await asyncio.wait_for(resting, 5)
                await protocol.lost

    run(main())


def test_a_connection_that_is_held_is_waited_for_too(run, sshd, monkeypatch):
    monkeypatch.setattr(tie_module, "LINGER", 0.0)

    async def main():
        asked, accepting = asyncio.Event(), asyncio.Event()

        async def wait(_: int) -> None:
            asked.set()
            await accepting.wait()

        pod, nobody = free_ports(2)
        maps = [PortMap(pod=pod, laptop=nobody, name="", origin="")]
        relays = inbound_at(maps, asyncio.get_running_loop().create_connection, wait_accepting=wait)
        async with a_tie(sshd, inbound=relays) as (tie, _, _server):
            _, writer = await asyncio.open_connection("127.0.0.1", pod)
            await asyncio.wait_for(asked.wait(), 5)
            resting = asyncio.ensure_future(tie.rested(0.3))
            await asyncio.wait([resting], timeout=0.1)
            assert not resting.done()
            await asyncio.wait_for(resting, 5)  # the limit
            writer.close()

    run(main())


@pytest.mark.parametrize("how", ["cut", "silent", "limit"])
def test_who_waits_for_a_tie_to_rest_learns_that_it_never_will_and_goes_on_beating(run, sshd, hasty, how):
    async def main():
        async with serving(echo) as port, a_tie(sshd) as (tie, keeper, server):
            await tie.lanes.create_connection(Collect, "127.0.0.1", port)
            resting = asyncio.ensure_future(tie.rested(1.5 if how == "limit" else 60))
            async with asyncio.timeout(5):
                while keeper.pings < 3:
                    keeper.pinged.clear()
                    await keeper.pinged.wait()
            assert not resting.done()
            if how == "cut":
                server.cut()
            keeper.silent = how == "silent"
            await asyncio.wait_for(resting, 5)

    run(main())


def test_a_real_keeper_that_is_stopped_is_silent_and_lives_again_when_it_goes_on(run, hasty):
    async def main(proxy, pod):
        async with port_forward(pod.port) as server:
            its_ends = Ends(
                ssh_port=proxy.ssh_port, keeper_port=proxy.keeper_port, keys=proxy.keys, token=proxy.token,
                is_ready=ready, on_guard=lambda _: None, inbound=lambda _: [],
            )  # fmt: skip
            tie = await tied(pod, server, its_ends)
            os.kill(proxy.pid, signal.SIGSTOP)
            trouble = await trouble_of(tie)
            assert trouble
            assert trouble.silent
            os.kill(proxy.pid, signal.SIGCONT)
            assert await asyncio.wait_for(tie.keeper.ping(), 5) > 0
            await tie.close()

    with running_proxy() as proxy:
        pod = Sshd(port=proxy.ssh_port, user="bridge", keys=proxy.keys, process=proxy.process, log=proxy.directory)
        run(main(proxy, pod))

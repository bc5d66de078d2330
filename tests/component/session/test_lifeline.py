"""The tunnel is lost in the ways that a network has, and a program that connects meanwhile sees a slow connect()."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from bridge.clock import since_boot
from bridge.plan.ports import PortMap
from bridge.session import tie as tie_module
from bridge.session.lifeline import Lifeline
from bridge.tunnel.heartbeat import until_silent
from bridge.tunnel.line import Line
from bridge.wire import messages
from tests.component.proxy import free_ports
from tests.component.session.keeper import ends, inbound_at, keeping, tied
from tests.component.tunnel.peers import port_forward
from tests.component.tunnel.talk import Collect, echo, serving
from tests.unit.session.telling import Told


class Held:
    """A lifeline with real ties, an echo server in the cluster, and a port of the pod answered by the laptop."""

    def __init__(self, sshd, keeper, server, echo_port):
        self.keeper, self.server, self.echo_port = keeper, server, echo_port
        self.told, self.overs, self.tries = Told(), [], 0
        self.line = Line()
        self.pod_port = free_ports(1)[0]
        dial = asyncio.get_running_loop().create_connection

        def tie(pod):
            maps = PortMap(pod=self.pod_port, laptop=echo_port, name="", origin="")
            return tied(sshd, server, ends(sshd, keeper, inbound=inbound_at([maps], dial)), pod=pod)

        self.tie = tie
        self.lifeline = Lifeline(self.line, self.another, self.overs.append, self.told)

    async def another(self, not_to):
        self.tries += 1
        return await self.tie(f"proxy-{self.tries + 1}")

    async def asked(self) -> bytes:
        """From the process to the cluster."""
        transport, protocol = await self.line.create_connection(Collect, "127.0.0.1", self.echo_port)
        transport.write(b"out")
        answer = await protocol.wait_for(3)
        transport.close()
        await protocol.lost
        return answer

    async def answered(self) -> bytes:
        """From the cluster to the process."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.pod_port)
        writer.write(b"in")
        try:
            return await reader.readexactly(2)
        finally:
            writer.close()

    async def until(self, state: str) -> None:
        async with asyncio.timeout(10):
            while self.lifeline.state != state:  # noqa: ASYNC110  # bounded
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def held(sshd):
    async with keeping() as keeper, port_forward(sshd.port) as server, serving(echo) as echo_port:
        world = Held(sshd, keeper, server, echo_port)
        await world.lifeline.hold(await world.tie("proxy-1"))
        try:
            yield world
        finally:
            server.silent, server.refuse = False, None
            await asyncio.wait_for(world.lifeline.release(), 10)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    async def quickly(keeper, answered):
        await until_silent(keeper, answered, every=0.05, silent=0.3)

    monkeypatch.setattr(tie_module, "until_silent", quickly)


def test_a_cut_stream_is_mended_and_what_is_opened_meanwhile_waits(run, sshd):
    async def main():
        async with held(sshd) as world:
            assert await world.asked() == b"out"
            world.server.refuse = (503, b"the API server restarts")
            world.server.cut()
            await world.until("reconnecting")
            asking = [asyncio.ensure_future(world.asked()) for _ in range(10)]
            await asyncio.wait(asking, timeout=0.05)
            assert not any(each.done() for each in asking)
            world.server.refuse = None
            async with asyncio.timeout(10):
                assert await asyncio.gather(*asking) == [b"out"] * 10
            assert await world.answered() == b"in"
            assert world.line.totals.reconnects == 1
            assert world.overs == []

    run(main())


def test_it_is_mended_many_times_in_a_row(run, sshd):
    async def main():
        async with held(sshd) as world:
            for number in range(1, 6):
                world.server.cut()
                async with asyncio.timeout(10):
                    while world.line.totals.reconnects < number:  # noqa: ASYNC110  # bounded
                        await asyncio.sleep(0.005)
                assert await asyncio.wait_for(world.asked(), 5) == b"out"

    run(main())


def test_a_keeper_that_falls_silent_and_answers_again_keeps_its_connections(run, sshd):
    async def main():
        async with held(sshd) as world:
            transport, protocol = await world.line.create_connection(Collect, "127.0.0.1", world.echo_port)
            world.server.refuse = (503, b"the network is away")
            world.keeper.silent = True
            await world.until("reconnecting")
            world.keeper.speak()
            await world.until("connected")
            transport.write(b"still there")
            assert await protocol.wait_for(11) == b"still there"
            transport.close()
            await protocol.lost
            assert world.lifeline.tie.pod == "proxy-1"

    run(main())


def test_a_keeper_that_has_restored_ends_it(run, sshd):
    async def main():
        async with held(sshd) as world:
            world.keeper.refuses = "restored: no heartbeat for 30 s"
            world.server.cut()
            await world.until("over")
            assert world.overs == ["restored: no heartbeat for 30 s"]

    run(main())


def test_a_pod_that_is_told_to_end_answers_until_another_does(run, sshd):
    async def main():
        async with held(sshd) as world:
            world.server.refuse = (404, b"not there yet")
            world.keeper.say(messages.Ending())
            await world.until("reconnecting")
            assert await asyncio.wait_for(world.asked(), 5) == b"out"
            assert await asyncio.wait_for(world.answered(), 5) == b"in"

    run(main())


def test_what_is_open_on_a_pod_that_is_told_to_end_comes_to_its_end(run, sshd):
    async def main():
        async with held(sshd) as world:
            reader, writer = await asyncio.open_connection("127.0.0.1", world.pod_port)
            transport, protocol = await world.line.create_connection(Collect, "127.0.0.1", world.echo_port)
            writer.write(b"half")
            assert await asyncio.wait_for(reader.readexactly(4), 5) == b"half"
            first, world.pod_port = world.lifeline.tie, free_ports(1)[0]  # the successor has an address of its own
            world.keeper.say(messages.Ending())
            async with asyncio.timeout(10):
                while world.lifeline.tie is first:  # noqa: ASYNC110  # bounded
                    await asyncio.sleep(0.005)
            assert await world.asked() == b"out"
            assert await world.answered() == b"in"
            await asyncio.wait([first.connection.closed], timeout=1.5)
            writer.write(b"rest")
            assert await asyncio.wait_for(reader.readexactly(4), 5) == b"rest"
            writer.close()
            await asyncio.wait([first.connection.closed], timeout=0.1)
            transport.write(b"still")
            assert await protocol.wait_for(5) == b"still"
            transport.close()
            assert await asyncio.wait_for(first.connection.closed, 5) is None
            assert world.line.totals.reconnects == 1

    run(main())


def test_letting_go_while_something_is_open_on_a_pod_that_ends_leaves_nothing(run, sshd):
    async def main():
        async with held(sshd) as world:
            reader, writer = await asyncio.open_connection("127.0.0.1", world.pod_port)
            writer.write(b"x")
            await asyncio.wait_for(reader.readexactly(1), 5)
            first, world.pod_port = world.lifeline.tie, free_ports(1)[0]
            world.keeper.say(messages.Ending())
            async with asyncio.timeout(10):
                while world.lifeline.tie is first:  # noqa: ASYNC110  # bounded
                    await asyncio.sleep(0.005)
            assert not first.connection.closed.done()
            await asyncio.wait_for(world.lifeline.release(), 5)
            await asyncio.wait_for(first.connection.closed, 5)
            writer.close()

    run(main())


def test_letting_go_while_it_is_being_mended_leaves_nothing(run, sshd):
    async def one(turns: int):
        async with held(sshd) as world:
            world.server.cut()
            await world.until("reconnecting")
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.wait_for(world.lifeline.release(), 5)

    async def main():
        for turns in range(0, 60, 4):
            await one(turns)

    run(main())


def test_letting_go_into_a_black_hole_comes_to_its_end(run, sshd):
    async def main():
        async with held(sshd) as world:
            world.server.silent = True
            await world.until("reconnecting")
            await asyncio.wait_for(world.lifeline.release(), 10)

    run(main())


def test_how_long_it_was_away_counts_sleep(run, sshd):
    """Who was away for the grace time swaps again; who was not, and finds its session ended, was ended by somebody."""

    async def main():
        async with held(sshd) as world:
            async with asyncio.timeout(10):
                while world.lifeline.tie.keeper.round_trip == 0:  # noqa: ASYNC110  # bounded
                    await asyncio.sleep(0.005)
            assert world.lifeline.away() < 5
            world.lifeline.tie.keeper.heard = since_boot() - 600  # as after ten minutes of sleep
            assert world.lifeline.away() >= 600 or world.lifeline.away() < 5  # unless an echo came just now

    run(main())

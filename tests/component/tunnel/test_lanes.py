"""Lanes of real SSH connections to the real sshd: when there is one more, who goes where, and what is lost with one."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

import pytest

from bridge.errors import TunnelError
from bridge.tunnel import lanes as module
from bridge.tunnel.heartbeat import until_silent
from bridge.tunnel.lanes import Lanes
from bridge.tunnel.ssh import connect
from tests.component.proxy import free_ports
from tests.component.tunnel.talk import Collect, connected, echo, serving

BULK = b"x" * 200_000


@pytest.fixture(autouse=True)
def little_is_much(monkeypatch):
    """A test on loopback has no megabyte on the way."""
    monkeypatch.setattr(module, "FULL", 1)


@contextlib.asynccontextmanager
async def opened(sshd):
    """Lanes; those that were opened besides the first; the port of an echo server; the API server."""
    more = []
    async with serving(echo) as port, connected(sshd) as (first, server):

        async def another():
            more.append(await connect(server.endpoint, sshd.keys, user=sshd.user))
            return more[-1]

        lanes = Lanes(first, another)
        try:
            yield lanes, more, port, server
        finally:
            lanes.abort()
            for each in more:
                await each.closed


async def asked(lanes: Lanes, port: int, text: bytes = b"hello") -> Collect:
    """Have it echoed on a connection that stays open; return its end here."""
    transport, protocol = await lanes.create_connection(Collect, "127.0.0.1", port)
    transport.write(text)
    assert await protocol.wait_for(len(text)) == text
    return protocol


async def until(condition) -> None:
    while not condition():  # noqa: ASYNC110  # bounded by `run`
        await asyncio.sleep(0.005)


async def one_more(lanes: Lanes, more: list, port: int) -> None:
    """Carry much, and look, as a heartbeat does; wait for the lane that this opens."""
    number = len(more)
    for each in [lanes.first, *more]:
        transport, protocol = await each.create_connection(Collect, "127.0.0.1", port)
        transport.write(BULK)
        await protocol.wait_for(len(BULK))
        transport.close()
    lanes.look()
    await until(lambda: len(more) > number)
    lanes.look()  # nothing was carried since


def test_a_lane_that_is_full_gets_another_beside_it_and_new_connections_are_spread(run, sshd):
    async def main():
        async with opened(sshd) as (lanes, more, port, _):
            lanes.look()
            await one_more(lanes, more, port)
            before = [each.statistics.channels for each in (lanes.first, *more)]
            for _ in range(8):
                await asked(lanes, port)
            now = [each.statistics.channels for each in (lanes.first, *more)]
            assert [b - a for a, b in zip(before, now, strict=True)] == [4, 4]

    run(main())


def test_lanes_that_carry_little_stay_alone(run, sshd, monkeypatch):
    monkeypatch.setattr(module, "FULL", module.MIB)

    async def main():
        async with opened(sshd) as (lanes, more, port, _):
            await asked(lanes, port, BULK)
            lanes.look()
            await asked(lanes, port)
            assert not more

    run(main())


def test_there_are_no_more_lanes_than_are_allowed(run, sshd):
    async def main():
        async with opened(sshd) as (lanes, more, port, _):
            for _ in range(module.MOST - 1):
                await one_more(lanes, more, port)
            for each in (lanes.first, *more):
                await asked(Lanes(each), port, BULK)
            lanes.look()
            await asked(lanes, port)
            assert len(more) == module.MOST - 1

    run(main())


def test_a_new_connection_goes_where_least_is_carried(run, sshd):
    async def main():
        async with opened(sshd) as (lanes, more, port, _):
            await one_more(lanes, more, port)
            await asked(Lanes(lanes.first), port, BULK)
            lanes._another = None  # this look is to open nothing
            lanes.look()
            before = more[0].statistics.channels
            await asked(lanes, port)
            assert more[0].statistics.channels == before + 1

    run(main())


def test_a_lane_that_is_lost_takes_its_connections_along_and_no_others(run, sshd):
    async def main():
        async with opened(sshd) as (lanes, more, port, _):
            await one_more(lanes, more, port)
            ends = [await asked(lanes, port) for _ in range(4)]
            more[0].abort()
            await more[0].closed
            await until(lambda: sum(end.lost.done() for end in ends) == 2)
            for _ in range(4):
                await asked(lanes, port)
            assert lanes.statistics.channels_opened == sum(
                each.statistics.channels_opened for each in (lanes.first, *more)
            )

    run(main())


def test_what_was_being_opened_on_a_lane_that_is_lost_is_opened_on_another(run, sshd):
    async def main():
        async with opened(sshd) as (lanes, more, port, _):
            await one_more(lanes, more, port)
            opening = [asyncio.ensure_future(asked(lanes, port)) for _ in range(4)]
            await asyncio.sleep(0)  # each has asked sshd by now, and nothing was read since
            more[0].abort()
            await asyncio.gather(*opening)

    run(main())


def test_the_pods_own_refusal_is_passed_on_from_every_lane(run, sshd):
    async def main():
        async with opened(sshd) as (lanes, more, port, _):
            await one_more(lanes, more, port)
            (closed,) = free_ports(1)
            for _ in range(2):
                with pytest.raises(ConnectionRefusedError):
                    await lanes.create_connection(asyncio.Protocol, "127.0.0.1", closed)

    run(main())


def test_a_lane_that_falls_silent_is_dropped(run, sshd, monkeypatch):
    monkeypatch.setattr(module, "until_silent", partial(until_silent, every=0.01, silent=0.2))

    async def main():
        async with opened(sshd) as (lanes, more, port, server):
            await one_more(lanes, more, port)
            server.silent = True
            await more[0].closed
            server.silent = False
            await until(lambda: lanes.statistics.channels == lanes.first.statistics.channels)
            await asked(lanes, port)

    run(main())


def test_a_lane_that_can_not_be_opened_costs_nothing_else_and_is_tried_again(run, sshd):
    async def main():
        tries = []

        async def another():
            tries.append(1)
            raise TunnelError("not now")

        async with serving(echo) as port, connected(sshd) as (first, _):
            lanes = Lanes(first, another)
            for number in (1, 2):
                await asked(lanes, port, BULK)
                lanes.look()
                await until(lambda number=number: len(tries) == number)
                await asyncio.sleep(0)
            await asked(lanes, port)

    run(main())

"""The line goes over one connection after another; the connections are real ones, to the real sshd."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from bridge.tunnel.lanes import Lanes
from bridge.tunnel.line import Line
from bridge.tunnel.ssh import Statistics, connect
from tests.component.proxy import free_ports
from tests.component.tunnel.talk import Collect, connected, echo, serving


async def asked(line: Line, port: int, text: bytes = b"hello") -> bytes:
    """Connect over the line, and return the echo."""
    transport, protocol = await line.create_connection(Collect, "127.0.0.1", port)
    transport.write(text)
    answer = await protocol.wait_for(len(text))
    transport.close()
    await protocol.lost
    return answer


@contextlib.asynccontextmanager
async def another(sshd, server):
    """One more connection to the same place."""
    connection = await connect(server.endpoint, sshd.keys, user=sshd.user)
    try:
        yield connection
    finally:
        connection.close()
        await connection.closed


def test_a_connection_goes_over_the_one_that_stands(run, sshd):
    async def main():
        async with connected(sshd) as (connection, _), serving(echo) as port:
            line = Line()
            line.use(Lanes(connection))
            assert line.connection is connection
            assert await asked(line, port) == b"hello"
            assert line.totals.channels_opened == connection.statistics.channels_opened

    run(main())


def test_while_the_line_is_down_a_connection_waits_for_the_next(run, sshd):
    async def main():
        async with connected(sshd) as (connection, _), serving(echo) as port:
            line = Line()
            asking = [asyncio.ensure_future(asked(line, port, b"%d" % number)) for number in range(20)]
            await asyncio.wait(asking, timeout=0.05)
            assert not any(each.done() for each in asking)
            line.use(Lanes(connection))
            async with asyncio.timeout(5):
                assert await asyncio.gather(*asking) == [b"%d" % number for number in range(20)]

    run(main())


def test_who_has_waited_for_the_gap_is_told_so(run):
    async def main():
        line = Line(gap=0.05)
        with pytest.raises(TimeoutError, match="the tunnel is down"):
            await line.create_connection(asyncio.Protocol, "127.0.0.1", 1)

    run(main())


def test_a_gap_is_counted_from_the_beginning_however_often_the_line_comes_and_goes(run, sshd):
    async def main():
        async with connected(sshd) as (connection, _):
            line = Line(gap=0.3)
            asking = asyncio.ensure_future(line.create_connection(asyncio.Protocol, "127.0.0.1", 1))
            connection.abort()
            await connection.closed
            for _ in range(3):  # each lets it try, in vain
                line.use(Lanes(connection))
                await asyncio.wait([asking], timeout=0.02)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asking, 5)

    run(main())


def test_what_is_being_opened_when_the_connection_is_lost_is_opened_again_on_the_next(run, sshd):
    async def main():
        async with serving(echo) as port, connected(sshd) as (first, server):
            line = Line()
            line.use(Lanes(first))
            server.silent = True  # nothing arrives at sshd any more: the openings stay open
            asking = [asyncio.ensure_future(asked(line, port)) for _ in range(3)]
            await asyncio.wait(asking, timeout=0.05)
            server.silent = False
            first.abort()
            await first.closed
            await asyncio.wait(asking, timeout=0.05)
            assert line.connection is None
            assert not any(each.done() for each in asking)
            async with another(sshd, server) as second, asyncio.timeout(5):
                line.use(Lanes(second))
                assert await asyncio.gather(*asking) == [b"hello"] * 3

    run(main())


def test_a_loss_that_is_noticed_late_does_not_take_the_next_connection_along(run, sshd):
    async def main():
        async with serving(echo) as port, connected(sshd) as (first, server):
            line = Line()
            line.use(Lanes(first))
            server.silent = True
            asking = asyncio.ensure_future(asked(line, port))
            await asyncio.wait([asking], timeout=0.05)
            server.silent = False
            async with another(sshd, server) as second:
                line.use(Lanes(second))  # before anybody has noticed that the first one is gone
                first.abort()
                assert await asyncio.wait_for(asking, 5) == b"hello"
                assert line.connection is second

    run(main())


def test_the_pods_own_refusal_is_passed_on_at_once(run, sshd):
    async def main():
        async with connected(sshd) as (connection, _):
            line = Line()
            line.use(Lanes(connection))
            with pytest.raises(ConnectionRefusedError):
                await asyncio.wait_for(line.create_connection(asyncio.Protocol, "127.0.0.1", free_ports(1)[0]), 5)
            assert line.connection is connection

    run(main())


def test_closing_wakes_who_waits_and_fails_who_comes_later(run):
    async def main():
        line = Line()
        asking = [asyncio.ensure_future(line.create_connection(asyncio.Protocol, "127.0.0.1", 1)) for _ in range(3)]
        await asyncio.wait(asking, timeout=0.02)
        line.close()
        async with asyncio.timeout(5):
            results = await asyncio.gather(*asking, return_exceptions=True)
            assert all(isinstance(each, TimeoutError) for each in results)
            with pytest.raises(TimeoutError):
                await line.create_connection(asyncio.Protocol, "127.0.0.1", 1)

    run(main())


def test_who_stops_waiting_leaves_nothing_behind(run):
    async def main():
        line = Line()
        with pytest.raises(TimeoutError, match=r"^$"):  # the caller's own, not the line's
            await asyncio.wait_for(line.create_connection(asyncio.Protocol, "127.0.0.1", 1), 0.02)

    run(main())


def test_totals_add_up_over_real_connections(run, sshd):
    async def main():
        async with serving(echo) as port, connected(sshd) as (first, server):
            line = Line()
            line.use(Lanes(first))
            await asked(line, port)
            async with another(sshd, server) as second:
                line.use(Lanes(second))
                first.close()
                await first.closed
                await asked(line, port)
                one, two, total = first.statistics, second.statistics, line.totals
                assert total.channels_opened == one.channels_opened + two.channels_opened
                assert total.bytes_out > two.bytes_out
                assert total.reconnects == 1

    run(main())


class Counted:
    """A connection, as far as the totals look at it."""

    def __init__(self, **done):
        self.statistics = Statistics(key_exchanges=1, shortest_round_trip=0.0, **done)


def test_totals_are_sums_but_for_what_is_of_the_moment(run):
    async def main():
        line = Line()
        assert line.totals.reconnects == 0
        line.use(Lanes(Counted(bytes_in=1, bytes_out=10, channels=3, channels_opened=5, round_trip=0.5)))
        assert (line.totals.reconnects, line.totals.round_trip) == (0, 0.5)
        line.lose()
        line.lose()  # once more counts nothing twice
        down = line.totals
        assert (down.bytes_in, down.bytes_out, down.channels_opened) == (1, 10, 5)
        line.use(Lanes(Counted(bytes_in=2, bytes_out=20, channels=1, channels_opened=7, round_trip=0.25)))
        line.use(Lanes(Counted(bytes_in=4, bytes_out=40, channels=2, channels_opened=1, round_trip=0.125)))
        total = line.totals
        assert (total.bytes_in, total.bytes_out, total.channels_opened) == (7, 70, 13)
        assert (total.channels, total.round_trip, total.reconnects) == (2, 0.125, 2)
        line.close()
        assert line.totals.bytes_in == 7

    run(main())


def test_going_on_with_the_lanes_that_were_lost_counts_nothing_twice_and_is_no_reconnect(run):
    """A tie that was silent, and answers again."""

    async def main():
        line = Line()
        line.use(Lanes(Counted(bytes_in=1, bytes_out=10, channels=3, channels_opened=5, round_trip=0.5)))
        silent = Lanes(Counted(bytes_in=2, bytes_out=20, channels=1, channels_opened=7, round_trip=0.25))
        line.use(silent)
        before = line.totals
        for _ in range(2):
            line.lose()
            assert line.totals == before
            line.use(silent)
            assert line.totals == before
        line.use(silent)
        assert line.totals == before
        assert (before.bytes_in, before.channels_opened, before.reconnects) == (3, 12, 1)

    run(main())

"""What TCP clients see through the tunnel is what they would see without it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os

import pytest

from bridge.tunnel import windows
from tests.component.tunnel.talk import Collect, connected, echo, outbound_to, serving, with_reset

MIB = 1024 * 1024


def test_thirteen_bulk_echoes_with_a_hundred_idle_connections_come_back_unchanged(run, sshd):
    async def main():
        async with connected(sshd) as (connection, _), serving(echo) as port, outbound_to(connection, port) as own:
            idle = [await asyncio.open_connection("127.0.0.1", own) for _ in range(100)]
            payload = os.urandom(20 * MIB)

            async def bulk(number: int) -> bool:
                data = bytes([number]) + payload
                reader, writer = await asyncio.open_connection("127.0.0.1", own)

                async def send() -> None:
                    for start in range(0, len(data), 65536):
                        writer.write(data[start : start + 65536])
                        await writer.drain()
                    writer.write_eof()

                sending = asyncio.ensure_future(send())
                digest = hashlib.blake2b()
                while piece := await reader.read(256 * 1024):
                    digest.update(piece)
                await sending
                writer.close()
                return digest.digest() == hashlib.blake2b(data).digest()

            assert all(await asyncio.gather(*(bulk(number) for number in range(13))))
            for reader, writer in idle:
                writer.write(b"still here")
                assert await reader.readexactly(10) == b"still here"
                writer.close()
            assert connection.statistics.channels_opened == 114  # and the terminal

    run(main())


def test_a_client_that_half_closes_still_gets_the_answer(run, sshd):
    async def answer(reader, writer):
        request = await reader.read()
        await asyncio.sleep(0.05)
        writer.write(b"got %d" % len(request))

    async def main():
        async with connected(sshd) as (connection, _), serving(answer) as port, outbound_to(connection, port) as own:
            reader, writer = await asyncio.open_connection("127.0.0.1", own)
            writer.write(bytes(3 * MIB))
            writer.write_eof()
            assert await reader.read() == b"got %d" % (3 * MIB)
            writer.close()

    run(main())


def test_a_server_that_half_closes_can_still_be_written_to(run, sshd):
    got: asyncio.Future[int]

    async def half_close(reader, writer):
        writer.write(b"all I say")
        writer.write_eof()
        got.set_result(len(await reader.read()))

    async def main():
        nonlocal got
        got = asyncio.get_running_loop().create_future()
        async with (
            connected(sshd) as (connection, _),
            serving(half_close) as port,
            outbound_to(connection, port) as own,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", own)
            assert await reader.read() == b"all I say"
            writer.write(bytes(2 * MIB))
            await writer.drain()
            writer.close()
            assert await got == 2 * MIB

    run(main())


def test_a_clients_reset_ends_the_servers_connection(run, sshd):
    ended: asyncio.Future[None]

    async def wait_for_end(reader, writer):
        writer.write(b"hello")
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        ended.set_result(None)

    async def main():
        nonlocal ended
        ended = asyncio.get_running_loop().create_future()
        async with (
            connected(sshd) as (connection, _),
            serving(wait_for_end) as port,
            outbound_to(connection, port) as own,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", own)
            await reader.readexactly(5)
            with_reset(writer)
            await asyncio.wait_for(ended, 5)

    run(main())


def test_a_servers_reset_resets_a_client_that_goes_on_writing(run, sshd):
    async def reset_at_once(reader, writer):
        await reader.read(1)
        with_reset(writer)

    async def main():
        async with (
            connected(sshd) as (connection, _),
            serving(reset_at_once) as port,
            outbound_to(connection, port) as own,
        ):
            _reader, writer = await asyncio.open_connection("127.0.0.1", own)

            async def write_on():
                while True:
                    writer.write(b"more")
                    await writer.drain()
                    await asyncio.sleep(0.001)

            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await asyncio.wait_for(write_on(), 5)
            writer.close()

    run(main())


def test_the_answer_of_a_server_that_closes_early_is_not_lost(run, sshd):
    """As with HTTP's 413: the server answers in the middle of an upload and closes."""

    async def refuse_early(reader, writer):
        await reader.readexactly(1000)
        writer.write(b"too large" * 1000)
        await writer.drain()
        writer.write_eof()
        while await reader.read(65536):  # a kind server reads on for a while
            pass

    async def main():
        async with (
            connected(sshd) as (connection, _),
            serving(refuse_early) as port,
            outbound_to(connection, port) as own,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", own)
            writer.write(bytes(MIB))
            assert await reader.read() == b"too large" * 1000
            writer.close()

    run(main())


def test_a_client_that_does_not_read_stops_the_server_and_bounds_memory(run, sshd):
    sent = 0

    async def pour(reader, writer):
        nonlocal sent
        while True:
            writer.write(bytes(65536))
            sent += 65536
            await writer.drain()

    async def settled() -> int:
        """What was sent, once it does not grow any more."""
        last = -1
        while last != sent:
            last = sent
            await asyncio.sleep(0.3)
        return sent

    async def main():
        async with (
            connected(sshd) as (connection, _),
            serving(pour) as port,
            outbound_to(connection, port) as own,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", own, limit=65536)
            amount = await asyncio.wait_for(settled(), 20)
            # Kernel buffers on four sockets, and one receive window here.
            assert amount < 40 * MIB
            assert connection.statistics.bytes_in < windows.LARGEST + 16 * MIB
            other_reader, other = await asyncio.open_connection("127.0.0.1", own)
            assert len(await other_reader.readexactly(MIB)) == MIB  # others go on
            assert len(await reader.readexactly(amount)) == amount
            for each in (writer, other):
                with_reset(each)

    run(main())


def test_a_server_that_does_not_read_stops_the_client_and_bounds_memory(run, sshd):
    async def ignore(reader, writer):
        await asyncio.sleep(3600)

    async def main():
        async with (
            connected(sshd) as (connection, _),
            serving(ignore) as port,
            outbound_to(connection, port) as own,
        ):
            _, writer = await asyncio.open_connection("127.0.0.1", own)
            sent = 0
            while True:
                writer.write(bytes(65536))
                sent += 65536
                try:
                    async with asyncio.timeout(0.5):
                        await writer.drain()
                except TimeoutError:
                    break
            assert sent < 40 * MIB
            async with serving(echo) as echo_port:
                transport, protocol = await connection.create_connection(Collect, "127.0.0.1", echo_port)
                transport.write(b"others go on")
                await protocol.wait_for(12)
                transport.close()
                await protocol.lost
            with_reset(writer)

    run(main())


def test_two_thousand_connections_are_served(run, sshd):
    async def main():
        async with connected(sshd) as (connection, _), serving(echo) as port:
            pairs = await asyncio.gather(
                *(connection.create_connection(Collect, "127.0.0.1", port) for _ in range(2000))
            )
            assert connection.statistics.channels >= 2000
            for number, (transport, _) in enumerate(pairs):
                transport.write(b"%d" % number)
            for number, (_, protocol) in enumerate(pairs):
                assert await protocol.wait_for(len(b"%d" % number)) == b"%d" % number
            for transport, _ in pairs:
                transport.close()
            await asyncio.gather(*(protocol.lost for _, protocol in pairs))
            while connection.statistics.channels > 1:  # sshd's side of each close
                await connection.ping()

    run(main())


def test_sockets_that_are_relayed_are_reset_when_the_stream_is_cut(run, sshd):
    async def main():
        async with connected(sshd) as (connection, server), serving(echo) as port, outbound_to(connection, port) as own:
            reader, writer = await asyncio.open_connection("127.0.0.1", own)
            writer.write(b"hello")
            await reader.readexactly(5)
            server.cut()
            assert "cut" in str(await asyncio.wait_for(connection.closed, 5))
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 5)
            writer.close()

    run(main())


def test_a_connection_that_no_way_reaches_is_reset(run, sshd):
    async def main():
        async with connected(sshd) as (connection, _), outbound_to(connection, 1) as own:
            reader, writer = await asyncio.open_connection("127.0.0.1", own)
            writer.write(b"hello")
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 5)
            writer.close()

    run(main())


def test_four_hundred_connections_at_once_are_accepted_and_answered(run, sshd):
    async def main():
        async with connected(sshd) as (connection, _), serving(echo) as port, outbound_to(connection, port) as own:

            async def one(number: int) -> None:
                reader, writer = await asyncio.open_connection("127.0.0.1", own)
                writer.write(b"%05d" % number)
                assert await reader.readexactly(5) == b"%05d" % number
                writer.close()
                await writer.wait_closed()

            await asyncio.gather(*(one(number) for number in range(400)))

    run(main())

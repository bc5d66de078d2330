"""The SSH connection against OpenSSH's sshd, through a port-forward server."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import os
import socket

import pytest

from bridge.errors import TunnelError
from bridge.tunnel.keys import make_session_keys
from bridge.tunnel.ssh import connect
from tests.component.tunnel.peers import free_port, port_forward, running_sshd
from tests.component.tunnel.talk import Collect, connected, echo, outbound_to, refused, serving, with_reset

MIB = 1024 * 1024


async def echoed(connection, port: int, size: int) -> bool:
    """Whether ``size`` random bytes come back through a channel."""
    data = os.urandom(size)
    transport, protocol = await connection.create_connection(Collect, "127.0.0.1", port)
    for start in range(0, size, 100_000):
        transport.write(data[start : start + 100_000])
    transport.write_eof()
    async with asyncio.timeout(30):
        await protocol.lost
    return hashlib.blake2b(protocol.data).digest() == hashlib.blake2b(data).digest()


class Unread(Collect):
    """Reads nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False

    def connection_made(self, transport):
        super().connection_made(transport)
        transport.pause_reading()

    def pause_writing(self):
        self.full = True

    def resume_writing(self):
        self.full = False


@contextlib.asynccontextmanager
async def reset_with_unread(connection, *, unsent: int):
    """A channel whose server has sent 100 KB, read nothing, and been reset; ``unsent``: bytes written to it before."""
    told = asyncio.Event()

    async def send_and_reset(reader, writer):
        writer.write(b"x" * 100_000)
        await writer.drain()
        await told.wait()
        with_reset(writer)

    async with serving(send_and_reset) as port:
        transport, protocol = await connection.create_connection(Unread, "127.0.0.1", port)
        before = connection.statistics.channels
        transport.write(b"y" * unsent)
        assert protocol.full == (unsent > MIB)
        await asyncio.sleep(0.3)  # what was sent has come, and is not read
        told.set()
        async with asyncio.timeout(5):
            while connection.statistics.channels == before:  # sshd finds out when it writes
                transport.write(b"y")
                await asyncio.sleep(0.01)
        yield transport, protocol


def test_what_is_written_after_the_pods_side_was_reset_goes_nowhere(run, sshd):
    """sshd ends the whole connection for a message to a channel that it has closed, or gives it to the next one."""

    async def main():
        async with connected(sshd) as (connection, _), serving(echo) as port:
            async with reset_with_unread(connection, unsent=1) as (transport, protocol):
                for _ in range(5):
                    transport.write(b"z" * 1000)
                assert await echoed(connection, port, 100_000)
                transport.write(b"z")
                transport.resume_reading()
                async with asyncio.timeout(5):
                    assert isinstance(await protocol.lost, ConnectionResetError)
                assert bytes(protocol.data) == b"x" * 100_000
            assert await echoed(connection, port, 100_000)
            assert not connection.closed.done()

    run(main())


@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_channel_that_was_reset_and_not_read_ends_when_we_end_it(run, sshd, end):
    async def main():
        async with (
            connected(sshd) as (connection, _),
            reset_with_unread(connection, unsent=1) as (transport, protocol),
        ):
            getattr(transport, end)()
            async with asyncio.timeout(5):
                await protocol.lost

    run(main())


def test_who_waits_to_write_to_a_side_that_was_reset_goes_on(run, sshd):
    async def main():
        async with (
            connected(sshd) as (connection, _),
            reset_with_unread(connection, unsent=8 * MIB) as (transport, protocol),
        ):
            assert not protocol.full
            transport.abort()

    run(main())


def test_the_pods_host_key_is_pinned(run, sshd):
    async def main():
        async with port_forward(sshd.port) as server:
            keys = dataclasses.replace(sshd.keys, host_public=make_session_keys().host_public)
            with pytest.raises(TunnelError, match="another host key"):
                await connect(server.endpoint, keys, user=sshd.user)

    run(main())


def test_another_sessions_key_is_not_let_in(run, sshd):
    async def main():
        async with port_forward(sshd.port) as server:
            keys = dataclasses.replace(sshd.keys, client_private=make_session_keys().client_private)
            with pytest.raises(TunnelError, match="does not accept") as caught:
                await connect(server.endpoint, keys, user=sshd.user)
            assert "another session" in caught.value.hint

    run(main())


def test_what_does_not_speak_ssh_is_not_talked_to(run, sshd):
    async def shout(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n" + b"x" * 100_000)
        await reader.read()

    async def main():
        async with serving(shout) as port, port_forward(port) as server:
            with pytest.raises(TunnelError, match="does not speak SSH"):
                await connect(server.endpoint, sshd.keys, user=sshd.user)

    run(main())


def test_a_port_that_says_nothing_is_given_up(run, sshd):
    async def silence(reader, writer):
        await reader.read()

    async def main():
        async with serving(silence) as port, port_forward(port) as server:
            with pytest.raises(TunnelError, match=r"did not answer within 0\.3 s"):
                await connect(server.endpoint, sshd.keys, user=sshd.user, within=0.3)

    run(main())


def test_a_stream_that_ends_in_the_handshake_says_so(run, sshd):
    async def hang_up(reader, writer):
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        await reader.read(10)

    async def main():
        async with serving(hang_up) as port, port_forward(port) as server:
            with pytest.raises(TunnelError, match="cut"):
                await connect(server.endpoint, sshd.keys, user=sshd.user)

    run(main())


@pytest.mark.parametrize(
    ("host", "port", "kind"),
    [
        ("127.0.0.1", 1, ConnectionRefusedError),
        ("no-such-name.invalid", 80, socket.gaierror),
        ("255.255.255.255", 80, OSError),
    ],
)
def test_a_connection_that_the_pod_cannot_make_fails_as_it_does_there(run, sshd, host, port, kind):
    async def main():
        async with connected(sshd) as (connection, _):
            with pytest.raises(kind):
                await connection.create_connection(Collect, host, port)
            before = connection.statistics.channels
            with pytest.raises(kind):
                await connection.create_connection(Collect, host, port)
            assert connection.statistics.channels <= before  # the terminal may have ended meanwhile

    run(main())


def test_a_forbidden_destination_is_a_permission_error(run, tmp_path):
    async def main(server):
        async with connected(server) as (connection, _):
            with pytest.raises(PermissionError, match="does not allow"):
                await connection.create_connection(Collect, "127.0.0.1", 80)

    with running_sshd(tmp_path, "PermitOpen 127.0.0.1:9") as server:
        run(main(server))


def test_opens_are_pipelined(run, sshd):
    """All are asked for before the first is answered: on a long link they cost one round trip, not a hundred."""

    async def main():
        async with connected(sshd) as (connection, _), serving(echo) as port:
            before = connection.statistics
            opening = [
                asyncio.ensure_future(connection.create_connection(Collect, "127.0.0.1", port)) for _ in range(100)
            ]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            sent = connection.statistics
            assert sent.channels_opened == before.channels_opened
            assert sent.channels == before.channels + 100
            for transport, protocol in await asyncio.gather(*opening):
                transport.close()
                await protocol.lost

    run(main())


def test_an_open_that_nobody_waits_for_any_more_is_closed_again(run, sshd):
    async def main():
        accepted, ended = asyncio.Event(), asyncio.Event()

        async def note(reader, writer):
            accepted.set()
            await reader.read()
            ended.set()

        async with connected(sshd) as (connection, _), serving(note) as port:
            opening = asyncio.ensure_future(connection.create_connection(Collect, "127.0.0.1", port))
            await asyncio.sleep(0)
            opening.cancel()
            async with asyncio.timeout(5):
                await accepted.wait()
                await ended.wait()

    run(main())


def test_new_keys_that_the_client_wants_do_not_disturb_transfers(run, sshd):
    async def main():
        async with connected(sshd) as (connection, _), serving(echo) as port:
            connection.packets.rekey_bytes = 2 * MIB
            assert all(await asyncio.gather(*(echoed(connection, port, 10 * MIB) for _ in range(4))))
            assert connection.statistics.key_exchanges > 10

    run(main())


def test_new_keys_that_sshd_wants_do_not_disturb_transfers(run, tmp_path):
    async def main(server):
        async with connected(server) as (connection, _), serving(echo) as port:
            assert all(await asyncio.gather(*(echoed(connection, port, 10 * MIB) for _ in range(4))))
            assert connection.statistics.key_exchanges > 10

    with running_sshd(tmp_path, "RekeyLimit 2M") as server:
        run(main(server))


def test_new_keys_that_both_want_at_once_do_not_disturb_transfers(run, tmp_path):
    async def main(server):
        async with connected(server) as (connection, _), serving(echo) as port:
            connection.packets.rekey_bytes = MIB
            assert all(await asyncio.gather(*(echoed(connection, port, 5 * MIB) for _ in range(4))))
            opened = await asyncio.gather(
                *(connection.create_connection(Collect, "127.0.0.1", port) for _ in range(100))
            )
            for transport, protocol in opened:
                transport.close()
                await protocol.lost
            assert connection.statistics.key_exchanges > 20

    with running_sshd(tmp_path, "RekeyLimit 1M") as server:
        run(main(server))


def test_a_write_that_is_larger_than_any_window_arrives_whole(run, sshd):
    async def main():
        async with connected(sshd) as (connection, _), serving(echo) as port:
            assert await echoed(connection, port, 1)
            assert await echoed(connection, port, 32 * 1024)
            assert await echoed(connection, port, 32 * 1024 + 1)
            data = os.urandom(9 * MIB)
            transport, protocol = await connection.create_connection(Collect, "127.0.0.1", port)
            transport.write(data)
            assert transport.get_write_buffer_size() > 0
            transport.close()  # still sends what was written
            await protocol.lost
            assert protocol.data == b""

    run(main())


def test_writing_after_the_end_of_file_is_an_error_as_on_a_socket(run, sshd):
    async def main():
        async with connected(sshd) as (connection, _), serving(echo) as port:
            transport, protocol = await connection.create_connection(Collect, "127.0.0.1", port)
            transport.write_eof()
            with pytest.raises(RuntimeError):
                transport.write(b"x")
            assert await protocol.lost is None
            transport.write(b"ignored, as on a socket")

    run(main())


def test_pausing_holds_data_and_end_back_and_resuming_gives_them_in_order(run, sshd):
    async def say_and_leave(reader, writer):
        writer.write(b"a" * 200_000)

    async def main():
        async with connected(sshd) as (connection, _), serving(say_and_leave) as port:
            transport, protocol = await connection.create_connection(Paused, "127.0.0.1", port)
            await connection.ping()
            await asyncio.sleep(0.1)
            await connection.ping()
            assert not protocol.data
            assert not protocol.eof.done()
            transport.resume_reading()
            async with asyncio.timeout(5):
                await protocol.eof
            assert len(protocol.data) == 200_000
            transport.close()
            await protocol.lost

    run(main())


class Paused(Collect):
    def connection_made(self, transport):
        super().connection_made(transport)
        transport.pause_reading()


def test_a_protocol_that_fails_ends_its_own_connection_only(run, sshd):
    class Fails(Collect):
        def data_received(self, data):
            raise ZeroDivisionError

    async def main():
        contexts = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
        async with connected(sshd) as (connection, _), serving(echo) as port:
            transport, protocol = await connection.create_connection(Fails, "127.0.0.1", port)
            transport.write(b"x")
            await asyncio.wait_for(protocol.lost, 5)
            assert await echoed(connection, port, 1000)
        assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError]

    run(main())


def test_ping_measures_the_round_trip(run, sshd):
    async def main():
        async with connected(sshd) as (connection, _):
            seconds = await connection.ping()
            assert 0 < connection.statistics.shortest_round_trip <= seconds < 1

    run(main())


def test_ping_on_a_stream_that_went_silent_does_not_return(run, sshd):
    async def main():
        async with connected(sshd) as (connection, server):
            server.silent = True
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(connection.ping(), 0.3)
            assert not connection.closed.done()

    run(main())


def test_what_waits_on_a_connection_that_ends_is_told(run, sshd):
    async def main():
        async with connected(sshd) as (connection, server), serving(echo) as port:
            _transport, protocol = await connection.create_connection(Collect, "127.0.0.1", port)
            server.silent = True
            waiting = [
                asyncio.ensure_future(connection.ping()),
                asyncio.ensure_future(connection.create_connection(Collect, "127.0.0.1", port)),
            ]
            await asyncio.sleep(0)
            server.cut()
            reason = await asyncio.wait_for(connection.closed, 5)
            assert isinstance(reason, TunnelError)
            assert isinstance(await protocol.lost, ConnectionResetError)
            ping, opening = await asyncio.gather(*waiting, return_exceptions=True)
            assert isinstance(ping, TunnelError)
            assert isinstance(opening, ConnectionResetError)
            with pytest.raises(OSError, match="closed"):
                await connection.create_connection(Collect, "127.0.0.1", port)
            with pytest.raises(TunnelError):
                await connection.ping()

    run(main())


def test_sshds_death_is_noticed(run, tmp_path):
    async def main(server):
        async with connected(server) as (connection, _):
            # The process that serves this connection is the listening one's child.
            children = await asyncio.create_subprocess_exec(
                "ps", "-o", "pid=", "--ppid", str(server.process.pid), stdout=asyncio.subprocess.PIPE
            )
            output, _ = await children.communicate()
            for pid in output.split():
                os.kill(int(pid), 9)
            assert await asyncio.wait_for(connection.closed, 5) is not None

    with running_sshd(tmp_path) as server:
        run(main(server))


def test_a_port_in_the_pod_can_be_listened_on_and_given_up(run, sshd):
    async def main():
        async with connected(sshd) as (connection, _):
            port = free_port()
            accepted = []

            def on_channel(incoming):
                accepted.append(incoming.originator)
                incoming.accept(Echo())

            await connection.listen(port, on_channel)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            own = writer.get_extra_info("sockname")
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            assert accepted == [own]
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await connection.unlisten(port)
            await refused(port)

    run(main())


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


def test_a_refused_channel_is_closed_for_its_client(run, sshd):
    async def main():
        async with connected(sshd) as (connection, _):
            port = free_port()
            await connection.listen(port, lambda incoming: incoming.refuse("not now"))
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.read() == b""
            writer.close()

    run(main())


def test_a_port_that_is_taken_in_the_pod_is_refused_with_its_number(run, sshd):
    async def main():
        async with connected(sshd) as (connection, _), serving(echo) as taken:
            with pytest.raises(TunnelError, match=str(taken)):
                await connection.listen(taken, lambda _: None)

    run(main())


def test_a_pod_without_ipv6_is_listened_on_all_the_same(run, sshd):
    async def main():
        with socket.create_server(("::", 0), family=socket.AF_INET6) as in_the_way:
            port = in_the_way.getsockname()[1]
            async with connected(sshd) as (connection, _):
                await connection.listen(port, lambda incoming: incoming.refuse("seen"))
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
                writer.close()
                await connection.unlisten(port)
                await refused(port)

    run(main())


def test_a_port_that_this_session_may_not_have_is_refused(run, tmp_path):
    async def main(server):
        async with connected(server) as (connection, _):
            with pytest.raises(TunnelError, match="port 4242"):
                await connection.listen(4242, lambda _: None)

    with running_sshd(tmp_path, "PermitListen 0.0.0.0:4243") as server:
        run(main(server))


def test_a_small_request_overtakes_a_bulk_copy_that_waits(run, sshd):
    async def swallow(reader, writer):
        while await reader.read(65536):
            pass

    async def main():
        async with (
            connected(sshd) as (connection, _),
            serving(swallow) as bulk,
            serving(echo) as small,
            outbound_to(connection, bulk) as own,
        ):
            _, writer = await asyncio.open_connection("127.0.0.1", own)

            async def copy():
                while True:
                    writer.write(bytes(256 * 1024))
                    await writer.drain()

            copying = asyncio.ensure_future(copy())
            transport, protocol = await connection.create_connection(Collect, "127.0.0.1", small)
            for count in range(1, 50):
                transport.write(b"x")
                await asyncio.wait_for(protocol.wait_for(count), 2)
            copying.cancel()
            await asyncio.gather(copying, return_exceptions=True)
            transport.close()
            writer.transport.abort()

    run(main())

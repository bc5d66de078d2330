import asyncio
import errno
import socket
import struct
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.laptop.gate import Held, Parking, Verdict, parse, render, verdict_of

TCP = struct.pack("!HHIIHHHH", 40000, 80, 1, 0, 0x5002, 65535, 0, 0)


def ipv4(source: str, destination: str) -> bytes:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0)
    return header + socket.inet_aton(source) + socket.inet_aton(destination) + TCP


def ipv6(source: str, destination: str) -> bytes:
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, destination)
    return struct.pack("!IHBB", 6 << 28, 20, 6, 64) + ends + TCP


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def packet(number: int, payload: bytes) -> bytes:
    body = struct.pack("!BBH", 2, 0, 0) + attribute(1, struct.pack("!IHB", number, 0x0800, 3))
    body += attribute(3, struct.pack("!I", 0)) + attribute(10, payload)
    return struct.pack("=IHHII", 16 + len(body), 3 << 8, 0, 0, 0) + body


def test_held_packets_of_both_families_are_read():
    data = packet(7, ipv4("10.42.0.7", "10.43.0.1")) + packet(8, ipv6("fd00::7", "fd00::1"))
    assert list(parse(data)) == [
        Held(7, ("10.42.0.7", 40000), ("10.43.0.1", 80)),
        Held(8, ("fd00::7", 40000), ("fd00::1", 80)),
    ]


def test_an_acknowledgement_is_no_packet():
    assert list(parse(struct.pack("=IHHIIi", 36, 2, 0, 1, 0, 0) + b"\0" * 16)) == []


@given(st.binary(max_size=60))
def test_a_message_cut_short_gives_what_is_whole(tail):
    data = packet(7, ipv4("10.42.0.7", "10.43.0.1"))
    assert next(parse(data + struct.pack("=I", 0) + tail)).number == 7


@pytest.mark.parametrize("verdict", [*Verdict, None])
def test_a_verdict_has_the_packets_number_and_its_mark(verdict):
    message = render(7, verdict)
    length, kind, flags, *_ = struct.unpack_from("=IHHII", message)
    assert (length, kind, flags) == (len(message), 0x0301, 1)
    action, number = struct.unpack_from("!II", message, 24)
    (mark,) = struct.unpack_from("!I", message, 36)
    assert (action, number) == (0 if verdict is None else 1, 7)
    assert mark == (verdict.value if verdict else 0)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, ""), Verdict.REFUSED),
        (OSError(errno.EHOSTUNREACH, ""), Verdict.UNREACHABLE),
        (OSError(errno.ENETUNREACH, ""), Verdict.UNREACHABLE),
        (TimeoutError(), Verdict.LOST),
        (OSError(errno.ETIMEDOUT, ""), Verdict.LOST),
        (OSError(errno.EACCES, ""), Verdict.REFUSED),
    ],
)
def test_a_failure_in_the_pod_is_the_same_for_the_program(error, verdict):
    assert verdict_of(error) == verdict


SOURCE, DESTINATION = ("10.42.0.7", 40000), ("10.43.0.1", 80)


@asynccontextmanager
async def greeter():
    """Dials a server that says one word and waits for the end; waits itself until each connection has ended."""
    dialled, ended = [], asyncio.Queue[bool]()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome")
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        ended.put_nowait(True)

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:

        async def dial(factory, _host, _port):
            dialled.append(
                await asyncio.get_running_loop().create_connection(factory, *server.sockets[0].getsockname())
            )
            return dialled[-1]

        yield dial
        for _ in dialled:
            await ended.get()


async def refuse(_factory, _host, _port):
    raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")


class Client(asyncio.Protocol):
    def __init__(self) -> None:
        self.got = asyncio.get_running_loop().create_future()

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got.set_result(data)


async def decided(parking: Parking) -> list[Verdict]:
    verdicts: list[Verdict] = []
    await parking.decide(SOURCE, DESTINATION, verdicts.append)
    return verdicts


def test_what_was_dialled_is_taken_once_and_by_its_own_connection_only():
    async def scenario() -> None:
        async with greeter() as dial:
            parking = Parking(lambda _: [dial])
            assert await decided(parking) == [Verdict.ACCEPTED]
            assert parking.take(("10.42.0.7", 40001), DESTINATION) is None
            assert parking.take(SOURCE, ("10.43.0.1", 81)) is None
            hand_over = parking.take(SOURCE, DESTINATION)
            assert parking.take(SOURCE, DESTINATION) is None
            client = Client()
            assert hand_over(client)
            assert await client.got == b"welcome"
            client.transport.close()

    asyncio.run(scenario())


def test_the_kernel_is_told_before_the_dialling_task_goes_on():
    async def scenario() -> None:
        async with greeter() as dial:
            told = []

            async def dial_and_look(*where):
                made = await dial(*where)
                told.append("dialled")
                return made

            parking = Parking(lambda _: [dial_and_look])
            await parking.decide(SOURCE, DESTINATION, told.append)
            assert told == [Verdict.ACCEPTED, "dialled"]
            parking.close()

    asyncio.run(scenario())


def test_the_next_way_is_tried_when_one_fails():
    async def scenario() -> None:
        async with greeter() as dial:
            parking = Parking(lambda _: [refuse, dial])
            assert await decided(parking) == [Verdict.ACCEPTED]
            parking.close()
        assert await decided(Parking(lambda _: [refuse])) == [Verdict.REFUSED]

    asyncio.run(scenario())


def test_a_syn_that_comes_again_finds_what_was_dialled():
    async def scenario() -> None:
        async with greeter() as dial:
            dials = iter([dial])
            parking = Parking(lambda _: [next(dials)])
            assert await decided(parking) == [Verdict.ACCEPTED]
            assert await decided(parking) == [Verdict.ACCEPTED]
            parking.close()

    asyncio.run(scenario())


def test_what_was_reset_while_it_waited_is_not_handed_over():
    async def scenario() -> None:
        async with greeter() as dial:
            made = []

            async def dial_and_keep(*where):
                made.append(await dial(*where))
                return made[0]

            parking = Parking(lambda _: [dial_and_keep])
            await decided(parking)
            hand_over = parking.take(SOURCE, DESTINATION)
            made[0][0].abort()
            await asyncio.sleep(0)  # connection_lost is called in the turn after
            assert not hand_over(asyncio.Protocol())

    asyncio.run(scenario())

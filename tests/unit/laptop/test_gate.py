import asyncio
import errno
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.laptop.gate import Flow, Held, Parking, Verdict, parse, render, verdict_of

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


def test_what_was_dialled_is_taken_once():
    async def scenario() -> None:
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        async def dial(factory, _host, _port):
            return await asyncio.get_running_loop().create_connection(factory, "127.0.0.1", port)

        parking = Parking(lambda _: [dial], lambda _: ("10.43.0.1", 80))
        source, destination = ("10.42.0.7", 40000), ("10.43.0.1", 80)
        assert await parking.decide(source, destination) is Verdict.ACCEPTED
        assert list(parking.route(Flow.of(("10.42.0.7", 40001), destination))) == [dial]
        (taken,) = parking.route(Flow.of(source, destination))
        assert taken != dial
        assert list(parking.route(Flow.of(source, destination))) == [dial]
        transport, _ = await taken(asyncio.Protocol, *destination)
        transport.close()
        server.close()

    asyncio.run(scenario())

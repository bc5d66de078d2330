"""What the messages of a port-forward mean, however they are cut."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.tunnel.subprotocols import HEADROOM, SUBPROTOCOLS, V4, Spdy

REPLIES = b"".join(struct.pack(">III", 0x80030002, 4, number) for number in (Spdy.BYTES, Spdy.ERRORS))
FIN = 0x01000000


def data(number: int, content: bytes, flags: int = 0) -> bytes:
    return struct.pack(">II", number, flags | len(content)) + content


def taken(spdy: Spdy, wire: bytes, size: int = 4096) -> bytes:
    """What comes out when the wire's bytes come in parts of this size."""
    parts = [memoryview(wire[at : at + size]) for at in range(0, len(wire), size)]
    return b"".join(bytes(got) for part in parts for got in spdy.unwrap(part, begins=False))


@given(st.lists(st.binary(max_size=300)), st.integers(1, 70))
def test_bytes_come_through_however_they_are_cut(contents, size):
    spdy = Spdy(2222)
    assert taken(spdy, REPLIES + b"".join(data(Spdy.BYTES, each) for each in contents), size) == b"".join(contents)
    assert spdy.ready
    assert not spdy.ended


def test_nothing_may_be_sent_before_both_streams_are_answered():
    spdy = Spdy(2222)
    taken(spdy, REPLIES[:12])
    assert not spdy.ready
    taken(spdy, REPLIES[12:])
    assert spdy.ready


def test_what_goes_wrong_is_said_even_after_the_end_of_the_bytes():
    spdy = Spdy(2222)
    taken(spdy, REPLIES + data(Spdy.BYTES, b"", FIN))
    assert not spdy.ended
    taken(spdy, data(Spdy.ERRORS, b"connection refused"), 5)
    assert spdy.ended
    assert spdy.reason == "connection refused"


@pytest.mark.parametrize(
    "end",
    [
        data(Spdy.BYTES, b"", FIN) + data(Spdy.ERRORS, b"", FIN),
        struct.pack(">IIII", 0x80030003, 8, Spdy.BYTES, 5) + struct.pack(">IIII", 0x80030003, 8, Spdy.ERRORS, 5),
        struct.pack(">IIII", 0x80030007, 8, 0, 0),
    ],
    ids=["finished", "reset", "going away"],
)
def test_it_ends_with_both_streams_or_all(end):
    spdy = Spdy(2222)
    assert taken(spdy, REPLIES + data(Spdy.BYTES, b"last") + end, 3) == b"last"
    assert spdy.ended
    assert not spdy.reason


def test_pings_come_back_and_our_own_answers_do_not():
    spdy = Spdy(2222)
    spdy.answers = b""
    theirs, ours = struct.pack(">III", 0x80030006, 4, 2), struct.pack(">III", 0x80030006, 4, 1)
    taken(spdy, theirs + ours)
    assert spdy.answers == theirs


def test_what_is_no_spdy_ends_it_instead_of_filling_the_memory():
    spdy = Spdy(2222)
    taken(spdy, b"HTTP/1.1 400 Bad Request\r\n\r\n".replace(b"H", b"\xc8", 1))
    assert spdy.ended
    assert "SPDY" in spdy.reason


@pytest.mark.parametrize("subprotocol", SUBPROTOCOLS.values())
def test_what_is_sent_is_framed_in_place(subprotocol):
    buffer = bytearray(b"-" * (HEADROOM + 3) + b"abc")
    begin = subprotocol(2222).wrap(buffer, HEADROOM + 3)
    assert begin >= 3
    assert bytes(buffer[begin:]) == {V4: b"\x00abc", Spdy: data(Spdy.BYTES, b"abc")}[subprotocol]


def test_v4_tells_bytes_from_errors_and_joins_the_parts_of_a_message():
    v4 = V4(2222)
    messages = [(b"\x00\xae\x08", True), (b"\x01\xae\x08", True), (b"\x00ab", True), (b"cd", False), (b"\x01no", True)]
    got = b"".join(
        bytes(part) for message, begins in messages for part in v4.unwrap(memoryview(message), begins=begins)
    )
    assert got == b"abcd"
    assert v4.ended
    assert v4.reason == "no"

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.laptop.dns_message import Malformed, Query, identifier, with_identifier

QUESTION = b"\x05tasks\x02db\0" + struct.pack("!HH", 1, 1)


def query(*, edns: int | None = None, flags: int = 0x0100, number: int = 0x1234) -> bytes:
    opt = b"" if edns is None else struct.pack("!BHHIH", 0, 41, edns, 0, 0)
    return struct.pack("!6H", number, flags, 1, 0, 0, int(edns is not None)) + QUESTION + opt


def test_a_query_without_edns_takes_512_bytes():
    assert Query.parse(query()).udp_limit == 512


def test_a_query_with_edns_takes_what_it_says_but_no_less_than_512():
    assert Query.parse(query(edns=1232)).udp_limit == 1232
    assert Query.parse(query(edns=100)).udp_limit == 512


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"\0" * 11,
        query(flags=0x8000),  # an answer
        query()[:-1],  # cut in the question
        query(edns=1232)[:-1],  # cut in the OPT record
        struct.pack("!6H", 1, 0, 2, 0, 0, 0) + QUESTION * 2,
        struct.pack("!6H", 1, 0, 1, 0, 0, 0) + b"\x3fa",
    ],
)
def test_what_is_no_query_is_malformed(wire):
    with pytest.raises(Malformed):
        Query.parse(wire)


@given(st.binary(max_size=600))
def test_no_bytes_raise_anything_but_malformed(wire):
    try:
        parsed = Query.parse(wire)
    except Malformed:
        return
    assert len(parsed.servfail()) <= 512


@given(st.binary(min_size=0, max_size=2000), st.sampled_from([None, 512, 1232, 4096]))
def test_an_answer_fits_or_says_that_tcp_must_be_used(records, edns):
    parsed = Query.parse(query(edns=edns))
    answer = struct.pack("!6H", 0x1234, 0x8180, 1, 1, 0, 0) + QUESTION + records
    sent = parsed.fit(answer)
    assert len(sent) <= parsed.udp_limit
    if len(answer) <= parsed.udp_limit:
        assert sent == answer
    else:
        number, flags, questions, answers, authorities, extra = struct.unpack_from("!6H", sent)
        assert (number, flags, questions, answers, authorities) == (0x1234, 0x8180 | 0x0200, 1, 0, 0)
        assert extra == (edns is not None)
        assert sent[12 : 12 + len(QUESTION)] == QUESTION


def test_servfail_repeats_the_question_and_keeps_recursion_desired():
    number, flags, *_ = struct.unpack_from("!6H", Query.parse(query()).servfail())
    assert (number, flags) == (0x1234, 0x8182)


def test_an_identifier_is_replaced_and_nothing_else():
    changed = with_identifier(query(), 7)
    assert identifier(changed) == 7
    assert changed[2:] == query()[2:]

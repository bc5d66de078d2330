import contextlib

import paramiko
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.tunnel import ssh_messages as messages
from bridge.tunnel.ssh_messages import Opening, Reader

numbers = st.integers(0, 2**32 - 1)


def reader(message: bytes, padding: int = 5) -> Reader:
    return Reader(bytes([padding]) + message + bytes(padding))


@given(st.text(max_size=50), numbers, st.integers(1, 65535), numbers)
def test_a_direct_tcpip_open_is_what_paramiko_reads(host, channel, port, window):
    sent = messages.channel_open("direct-tcpip", channel, window, messages.direct_tcpip(host, port))
    theirs = paramiko.Message(sent[1:])
    assert sent[0] == messages.CHANNEL_OPEN
    assert theirs.get_text() == "direct-tcpip"
    assert [theirs.get_int() for _ in range(3)] == [channel, window, messages.MAX_PACKET]
    assert (theirs.get_text(), theirs.get_int()) == (host, port)


@given(st.integers(4, 30), st.binary(max_size=40), numbers, st.booleans())
def test_a_reader_takes_fields_in_order_and_stops_before_the_padding(padding, data, number, flag):
    message = b"\x63" + messages.string(data) + messages.number(number) + bytes([flag]) + b"rest"
    fields = reader(message, padding)
    assert fields.string() == data
    assert fields.number() == number
    assert fields.flag() is flag
    assert fields.rest() == b"rest"
    with pytest.raises(ValueError, match="too early"):
        fields.flag()


@given(st.binary(max_size=60))
def test_nonsense_is_no_more_than_a_value_error(data):
    fields = reader(b"\x5a" + data)
    with contextlib.suppress(ValueError):
        Opening.parse(1, 2, 3, fields)


@given(st.text(max_size=20), st.integers(0, 65535), st.text(max_size=20), st.integers(0, 65535))
def test_a_forwarded_connection_says_where_and_who(address, port, originator, from_port):
    theirs = paramiko.Message()
    theirs.add_string(address)
    theirs.add_int(port)
    theirs.add_string(originator)
    theirs.add_int(from_port)
    opening = Opening.parse(1, 2, 3, reader(b"\x5a" + theirs.asbytes()))
    assert (opening.address, opening.port, opening.originator) == (address, port, (originator, from_port))


def test_a_global_request_wants_an_answer():
    theirs = paramiko.Message(messages.tcpip_forward("0.0.0.0", 8080)[1:])
    assert theirs.get_text() == "tcpip-forward"
    assert theirs.get_boolean() is True
    assert (theirs.get_text(), theirs.get_int()) == ("0.0.0.0", 8080)

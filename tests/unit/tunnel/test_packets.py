from __future__ import annotations

import itertools
import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from bridge.tunnel.packets import GCM_BLOCK, LARGEST, BadPacket, Packets
from bridge.tunnel.ssh_messages import CHANNEL_DATA

HEADROOM = 15


def pair(*, sealed: bool) -> tuple[Packets, Packets]:
    here, there = (Packets(headroom=HEADROOM, wake=lambda: None) for _ in range(2))
    if sealed:
        key, iv = AESGCM(os.urandom(16)), os.urandom(12)
        here.set_outbound_cipher(block_engine=key, iv_out=iv)
        there.set_inbound_cipher(block_engine=key, iv_in=iv)
    return here, there


def payload(packet: bytes) -> bytes:
    return packet[1 : len(packet) - packet[0]]


def pieces(data: bytes, cuts: list[int]) -> list[memoryview]:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [memoryview(data)[start:end] for start, end in itertools.pairwise(edges)]


@given(st.booleans(), st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.lists(st.integers(0, 3000)))
def test_what_is_sealed_comes_out_the_same_however_the_stream_cuts_it(sealed, messages, cuts):
    here, there = pair(sealed=sealed)
    for message in messages:
        here.seal(message)
    stream = bytes(here.take())[HEADROOM:]
    got = [payload(packet) for piece in pieces(stream, cuts) for packet in there.feed(piece)]
    assert got == messages
    assert there.packets_in == here.packets_out == len(messages)


@given(st.binary(max_size=70_000), st.integers(0, 2**32 - 1))
def test_data_is_sealed_as_any_message_is(data, channel):
    here, there = pair(sealed=True)
    here.seal_data(channel, data)
    (packet,) = there.feed(memoryview(bytes(here.take())[HEADROOM:]))
    fields = bytes([CHANNEL_DATA]) + channel.to_bytes(4) + len(data).to_bytes(4) + data
    assert payload(packet) == fields


@given(st.binary(min_size=1, max_size=500))
def test_a_packets_length_fits_the_ciphers_block(message):
    here, _ = pair(sealed=True)
    here.seal(message)
    frame = bytes(here.take())[HEADROOM:]
    length = int.from_bytes(frame[:4])
    assert length % GCM_BLOCK == 0
    assert len(frame) == 4 + length + 16


@given(st.data())
def test_one_bit_that_changes_on_the_way_ends_it(data):
    here, there = pair(sealed=True)
    here.seal(b"attack at dawn")
    frame = here.take()[HEADROOM:]
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    frame[bit // 8] ^= 1 << bit % 8
    try:
        got = list(there.feed(memoryview(bytes(frame))))
    except BadPacket:
        return
    assert not got  # a length that grew: more is waited for


@pytest.mark.parametrize("length", [0, 11, LARGEST + 1, 2**32 - 1])
def test_a_length_that_no_packet_has_ends_it(length):
    _, there = pair(sealed=False)
    with pytest.raises(BadPacket):
        list(there.feed(memoryview(length.to_bytes(4) + bytes(12))))


def test_more_padding_than_packet_ends_it():
    _, there = pair(sealed=False)
    with pytest.raises(BadPacket):
        list(there.feed(memoryview((12).to_bytes(4) + b"\x0c" + bytes(11))))


def test_keys_may_change_between_two_packets_of_one_piece():
    here, there = pair(sealed=False)
    key, iv = AESGCM(os.urandom(16)), os.urandom(12)
    here.seal(b"new keys")
    here.set_outbound_cipher(block_engine=key, iv_out=iv)
    here.seal(b"secret")
    got = []
    for packet in there.feed(memoryview(bytes(here.take())[HEADROOM:])):
        got.append(payload(packet))
        there.set_inbound_cipher(block_engine=key, iv_in=iv)
    assert got == [b"new keys", b"secret"]


def test_the_first_packet_of_a_turn_wakes_the_sender():
    woken = []
    packets = Packets(headroom=HEADROOM, wake=lambda: woken.append(True))
    packets.seal(b"a")
    packets.seal(b"b")
    assert len(woken) == 1
    packets.take()
    packets.seal(b"c")
    assert len(woken) == 2


def test_keys_wear_out_by_bytes_and_by_packets_and_new_ones_are_fresh():
    here, _ = pair(sealed=True)
    here.rekey_bytes = 1000
    here.seal(bytes(2000))
    here.take()
    assert here.worn
    here.set_outbound_cipher(block_engine=AESGCM(bytes(16)), iv_out=bytes(12))
    assert not here.worn
    here.rekey_packets = 2
    here.seal(b"1")
    here.seal(b"2")
    assert here.worn


def test_a_cipher_other_than_gcm_is_refused():
    here, _ = pair(sealed=False)
    with pytest.raises(BadPacket, match="GCM"):
        here.set_outbound_cipher(block_engine=AESGCM(bytes(16)), iv_out=None)


def test_the_nonce_counter_carries_and_wraps():
    here, there = pair(sealed=False)
    key, iv = AESGCM(bytes(16)), bytes(4) + b"\xff" * 8
    here.set_outbound_cipher(block_engine=key, iv_out=iv)
    there.set_inbound_cipher(block_engine=key, iv_in=iv)
    here.seal(b"last")
    here.seal(b"first")
    got = [payload(packet) for packet in there.feed(memoryview(bytes(here.take())[HEADROOM:]))]
    assert got == [b"last", b"first"]

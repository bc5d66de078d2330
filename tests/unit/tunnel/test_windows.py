import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.tunnel.windows import (
    GRANT,
    IN_ALL,
    LARGEST,
    ON_A_SHORT_LINK,
    SMALLEST,
    Overrun,
    ReceiveWindow,
    SendWindow,
    in_flight,
    window_size,
)


@given(st.integers(2, 10_000), st.lists(st.tuples(st.booleans(), st.integers(0, 20_000))))
def test_what_may_come_and_what_is_unread_never_pass_the_window(size, steps):
    window = ReceiveWindow(size)
    promised = size
    for comes, count in steps:
        if comes:
            amount = min(count, promised)
            window.receive(amount)
            promised -= amount
        else:
            promised += window.read(min(count, window.unread))
        assert window.usable == promised
        assert 0 <= window.usable + window.unread <= size


@given(st.integers(2, 10_000), st.data())
def test_a_reader_that_keeps_up_never_leaves_the_peer_without_window(size, data):
    window = ReceiveWindow(size)
    for _ in range(20):
        count = data.draw(st.integers(0, window.usable))
        window.receive(count)
        window.read(count)
        assert window.usable > 0


def test_window_messages_are_rare():
    window = ReceiveWindow(1000)
    grants = 0
    for _ in range(1000):
        window.receive(1)
        grants += bool(window.read(1))
    assert grants == 2


def test_a_peer_that_sends_more_than_it_may_is_found_out():
    window = ReceiveWindow(10)
    window.receive(10)
    with pytest.raises(Overrun):
        window.receive(1)


def test_a_window_that_shrank_grants_nothing_until_it_is_below_its_new_size():
    window = ReceiveWindow(1000)
    window.size = 100
    window.receive(500)
    assert window.read(500) == 0
    window.receive(460)
    assert window.read(460) == 60
    assert window.usable == 100


def test_the_peer_can_not_allow_more_than_its_number_holds():
    window = SendWindow(2**32 - 1, 32768)
    with pytest.raises(Overrun):
        window.grant(1)


@given(st.floats(0, 10), st.integers(0, 20_000))
def test_a_windows_size_has_bounds(round_trip, channels):
    size = window_size(round_trip=round_trip, channels=channels)
    assert SMALLEST <= size <= LARGEST
    assert size * channels <= IN_ALL or size == SMALLEST


def test_what_is_on_the_way_is_always_enough_for_sshd_to_grant_more():
    assert in_flight(round_trip=0.0) > 3 * 32 * 1024
    assert in_flight(round_trip=0.0005) == ON_A_SHORT_LINK
    assert in_flight(round_trip=1.0) == LARGEST


def test_a_large_window_is_granted_in_small_pieces():
    window = ReceiveWindow(LARGEST)
    window.receive(GRANT)
    assert window.read(GRANT) == GRANT


def test_a_long_link_gets_a_large_window():
    assert window_size(round_trip=0.0005, channels=10) == ON_A_SHORT_LINK
    assert window_size(round_trip=0.08, channels=10) == LARGEST
    assert window_size(round_trip=0.08, channels=2000) == IN_ALL // 2000

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.tunnel.windows import (
    GRANT,
    IN_ALL,
    LARGEST,
    LATEST,
    MIB,
    ON_A_SHORT_LINK,
    SMALLEST,
    Overrun,
    Pace,
    ReceiveWindow,
    SendWindow,
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
    window = SendWindow(2**32 - 1, 32768, LARGEST)
    with pytest.raises(Overrun):
        window.grant(1, LARGEST)


@given(
    st.integers(0, 2**21),
    st.integers(0, 2**21),
    st.lists(st.tuples(st.booleans(), st.integers(0, 2**21), st.integers(0, 2**22))),
)
def test_never_more_is_on_the_way_than_the_peer_allows_and_the_limit(allowed, limit, steps):
    window, on_the_way = SendWindow(allowed, 2**30, limit), 0
    for sends, most, new_limit in steps:
        if sends:
            sent = min(most, window.sendable())
            window.left -= sent
            on_the_way += sent
            assert not sent or on_the_way <= min(allowed, limit)
        else:
            read, limit = min(most, on_the_way), new_limit
            window.grant(read, limit)
            on_the_way -= read
        assert window.sendable() == max(min(allowed, limit) - on_the_way, 0)


@given(st.integers(0, 2**30), st.integers(0, 20_000))
def test_a_windows_size_has_bounds(wanted, channels):
    size = window_size(wanted, channels=channels)
    assert size >= SMALLEST
    assert size * channels <= IN_ALL or size == SMALLEST


def test_what_is_on_the_way_is_always_enough_for_sshd_to_grant_more():
    assert Pace().wanted > 3 * 32 * 1024


def test_a_large_window_is_granted_in_small_pieces():
    window = ReceiveWindow(LARGEST)
    window.receive(GRANT)
    assert window.read(GRANT) == GRANT


def carries(pace, *, rate, round_trip, seconds):
    """Use a link of this rate (bytes/s) as far as the window allows it, for so long; return the moment of the end."""
    now, carried = 1.0, 0
    pace.measured(round_trip)
    pace.look(now, carried)
    for _ in range(int(seconds / 0.01)):
        now += 0.01
        carried += int(min(rate, pace.wanted / round_trip) * 0.01)
        pace.look(now, carried)
    return now, carried


def test_one_copy_fills_a_long_link_after_some_round_trips():
    pace = Pace()
    carries(pace, rate=50e6, round_trip=0.08, seconds=0.8)
    assert pace.wanted == LARGEST


def test_a_slow_link_gets_no_queue():
    pace = Pace()
    carries(pace, rate=2e6, round_trip=0.08, seconds=3)
    assert pace.wanted == ON_A_SHORT_LINK


def test_a_short_link_needs_no_large_window_even_while_round_trips_wait_behind_a_copy():
    pace = Pace()
    for slow in (0.03, 0.0005, 0.02, 0.04):
        pace.measured(slow)
    carries(pace, rate=300e6, round_trip=0.05, seconds=3)
    assert pace.wanted == ON_A_SHORT_LINK


def test_another_link_under_the_same_connection_is_noticed():
    pace = Pace()
    carries(pace, rate=50e6, round_trip=0.0005, seconds=1)
    for _ in range(LATEST):
        pace.measured(0.08)
    pace.look(3, 100_000_000)
    assert pace.wanted == LARGEST


def test_a_pause_is_not_the_end_and_a_long_one_is():
    pace = Pace()
    now, carried = carries(pace, rate=50e6, round_trip=0.08, seconds=1)
    pace.look(now + 0.1, carried)
    assert pace.wanted > LARGEST // 2
    for tick in range(20):
        pace.look(now + 0.2 + tick / 10, carried)
    assert pace.wanted == ON_A_SHORT_LINK


def test_many_channels_share():
    assert window_size(LARGEST, channels=10) == LARGEST
    assert window_size(LARGEST, channels=2000) == IN_ALL // 2000


@pytest.mark.parametrize(("wanted", "most"), [(ON_A_SHORT_LINK, 443 * MIB), (LARGEST, 657 * MIB)])
def test_the_windows_of_readers_that_all_stall_grow_much_more_slowly_than_their_number(wanted, most):
    together = sum(window_size(wanted, channels=count) for count in range(1, 2001))
    assert IN_ALL < together < most

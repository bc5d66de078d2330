from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire.backoff import delays


def test_waits_get_longer_up_to_the_longest_and_never_end() -> None:
    waits = delays(first=1, longest=5, factor=2, jitter=lambda: 1.0)
    assert list(islice(waits, 6)) == [1, 2, 4, 5, 5, 5]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_each_wait_is_in_the_upper_half_of_its_range(drawn: list[float]) -> None:
    full = delays(jitter=lambda: 1.0)
    rest = iter(drawn)
    for wait, most in zip(delays(jitter=lambda: next(rest)), islice(full, len(drawn) - 1), strict=False):
        assert most / 2 <= wait <= most


@pytest.mark.parametrize(("jitter", "wait"), [(0.0, 0.1), (0.5, 0.15), (1.0, 0.2)])
def test_the_first_wait_is_short(jitter: float, wait: float) -> None:
    assert next(delays(jitter=lambda: jitter)) == pytest.approx(wait)


def test_a_first_wait_beyond_the_longest_is_cut() -> None:
    assert next(delays(first=60, jitter=lambda: 1.0)) == 5

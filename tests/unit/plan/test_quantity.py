from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.plan.quantity import at_least, at_most, parse_quantity


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1", "1"), ("250m", "0.25"), ("1.5", "1.5"), (".5", "0.5"), ("5.", "5"), ("64Mi", str(64 * 2**20)),
        ("1Ei", str(2**60)), ("1E", "1e18"), ("1e3", "1000"), ("12E-1", "1.2"), ("100k", "1e5"), ("7n", "7e-9"),
        ("+2Ki", "2048"), ("-1", "-1"),
    ],
)  # fmt: skip
def test_quantities_are_read_as_the_api_server_reads_them(text: str, amount: str) -> None:
    assert parse_quantity(text) == Decimal(amount)


@pytest.mark.parametrize("text", ["", "m", "1 Gi", "1K", "0x1", "1mi", "NaN", "1e", "1Mie3"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        parse_quantity(text)


written = st.builds("{}{}".format, st.integers(0, 999), st.sampled_from(["", "m", "k", "Ki", "Mi", "G", "e2"]))


@given(written, written)
def test_bounds_keep_one_of_the_two_as_it_was_written(one: str, other: str) -> None:
    assert {at_least(one, other), at_most(one, other)} <= {one, other}
    assert parse_quantity(at_most(one, other)) <= parse_quantity(at_least(one, other))

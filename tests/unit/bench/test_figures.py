"""Statistics of the benchmark: medians, spreads, ratios by round, and what is kept between runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bench.figures import Book, Figure, Key, Spread, shown

if TYPE_CHECKING:
    from pathlib import Path

KEY = Key("outbound", "0 ms", "requests/s, 50 connections")


def test_a_ratio_is_that_of_values_of_the_same_round() -> None:
    # The machine was twice as slow in the second round: that hits both, and not their ratio.
    figure = Figure("ms", {"bridge": [1.0, 2.0, 1.1], "ssh": [2.0, 4.0, 2.0]})
    assert figure.ratio("bridge", "ssh") == Spread(0.5, 0.5, 0.55)


def test_a_round_that_failed_for_one_way_says_nothing_about_their_ratio() -> None:
    figure = Figure("ms", {"bridge": [1.0, 2.0], "ssh": [None, 4.0]})
    assert figure.ratio("bridge", "ssh") == Spread(0.5, 0.5, 0.5)
    assert figure.spread("ssh") == Spread(4.0, 4.0, 4.0)


def test_a_way_that_failed_in_all_rounds_or_was_not_measured_has_no_figure() -> None:
    figure = Figure("ms", {"bridge": [None, None]})
    assert figure.spread("bridge") is None
    assert figure.ratio("bridge", "ssh") is None


def test_a_run_replaces_the_figures_that_it_measured_and_keeps_the_others(tmp_path: Path) -> None:
    first = Book(date="monday", version="1")
    first.add(KEY, "/s", "bridge", 1.0)
    other = Key("idle", "0 ms", "memory, laptop")
    first.add(other, "MiB", "bridge", 60.0)
    first.save(tmp_path / "kept.json")
    second = Book(date="tuesday", version="2")
    second.add(KEY, "/s", "bridge", 3.0)
    both = second.after(Book.load(tmp_path / "kept.json"))
    assert both.figures[KEY] == Figure("/s", {"bridge": [3.0]}, "tuesday", "2")
    assert both.figures[other] == Figure("MiB", {"bridge": [60.0]}, "monday", "1")


def test_a_failure_is_forgotten_when_its_figure_is_measured_again(tmp_path: Path) -> None:
    first, second = Book(), Book()
    first.failed(KEY, "/s", "ssh", "refused")
    first.failed(Key("cost, inbound", "0 ms", "processor"), "s", "ssh", "reset")
    first.save(tmp_path / "kept.json")
    second.add(KEY, "/s", "ssh", 1.0)
    [failure] = second.after(Book.load(tmp_path / "kept.json")).failures
    assert str(failure) == "cost, inbound, 0 ms, processor, ssh: reset"


def test_nothing_is_kept_before_the_first_run(tmp_path: Path) -> None:
    assert not Book.load(tmp_path / "none.json").figures


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0421, "0.042"), (1.234, "1.23"), (45.67, "45.7"), (123.4, "123"), (12345.6, "12 350"), (-1, "-1.00")],
)
def test_numbers_are_shown_with_about_three_digits(value: float, text: str) -> None:
    assert shown(value) == text

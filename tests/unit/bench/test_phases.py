"""Where a start's time goes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bridge.session import steps
from tests.bench.figures import Book, Key
from tests.bench.page import plots, render
from tests.bench.phases import FIRST_LINE, LAST, PHASES, breakdown, pattern, steps_in

if TYPE_CHECKING:
    import pytest


def measured() -> Book:
    book = Book()
    rounds = {
        "swap": [{"called": 0.3, "planned": 0.7, FIRST_LINE: 1.5}, {"called": 0.3, "planned": 0.8, FIRST_LINE: 1.4}],
        "no swap": [{"called": 0.2, "planned": 0.5}, {"called": 0.4, "planned": 0.6}],
        "bridge --help": [{"": 0.2}],
    }
    for start, each in rounds.items():
        for found in each:
            for phase, seconds in reversed(found.items()):
                book.add(Key("start", "0 ms", f"{start}: {phase}" if phase else start), "s", "bridge", seconds)
    return book


def test_the_steps_stand_in_order_with_the_seconds_of_their_own() -> None:
    heads, lines = breakdown(measured().figures)
    assert heads[2:] == ["swap", "no swap"]
    assert [[line[0], *line[2:]] for line in lines] == [
        ["called", "0.30 (+0.30)", "0.30 (+0.30)"],
        ["planned", "0.75 (+0.45)", "0.55 (+0.25)"],
        [FIRST_LINE, "1.45 (+0.70)", "-"],
    ]


def test_the_page_has_the_steps_in_a_table_of_their_own_and_not_in_the_plot() -> None:
    page = render(measured(), about="")
    assert f"| planned | {PHASES['planned']} | 0.75 (+0.45) | 0.55 (+0.25) |" in page
    assert "swap: planned" not in page
    assert f"swap: {FIRST_LINE}" in page
    (plot,) = plots(measured()).values()
    assert FIRST_LINE in plot
    assert "planned" not in plot


def test_without_steps_there_is_no_such_table() -> None:
    assert breakdown({})[1] == []


def test_steps_are_found_in_what_bridge_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="bridge")
    steps.reached("put back")
    steps.reached(LAST)
    log = "".join(f"12:00:00.000 {record.name}: {record.getMessage()}\n" for record in caplog.records)
    assert steps_in(log) == ["put back", LAST]
    assert re.search(pattern(LAST), log)


def test_each_phase_is_a_step_that_bridge_documents() -> None:
    assert set(PHASES) <= set((steps.__doc__ or "").split())

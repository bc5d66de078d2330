"""The benchmark's goals, and when a ratio is worse than the committed one."""

from __future__ import annotations

from tests.bench.figures import Book, Key, Spread
from tests.bench.targets import RED, goals, ratios, report, rows
from tests.bench.work import CONNECT, bulk, dns, look_up, through

CONNECTS = Key("outbound", "0 ms", CONNECT)
COPIES = Key("outbound", "0 ms", bulk("down", 1))


def book(key: Key, ours: list[float], theirs: list[float], unit: str = "ms") -> Book:
    made = Book()
    for way, values in (("bridge", ours), ("ssh", theirs)):
        for value in values:
            made.add(key, unit, way, value)
    return made


def test_a_row_has_the_ratio_its_goal_and_whether_it_is_met() -> None:
    [row] = rows(book(CONNECTS, [1.0, 1.0], [2.0, 2.0]), {})
    assert row.cells()[1:] == ["0.500", "0.500 .. 0.500", "<= 0.800", "-", "yes"]
    [row] = rows(book(COPIES, [1.0], [2.0]), {})
    assert row.cells()[-1] == "no"


def test_a_goal_without_a_peer_is_about_the_figure_itself() -> None:
    [row] = rows(book(Key("idle", "0 ms", "memory, laptop"), [90.0], [30.0], "MiB"), {})
    assert row.cells()[1:] == ["90.0 MiB", "90.0 .. 90.0", "<= 80.0", "-", "no"]


def test_a_ratio_is_worse_only_by_more_than_the_larger_spread() -> None:
    def worse(committed: Spread) -> bool:
        [row] = rows(book(CONNECTS, [0.9, 1.0, 1.1], [1.0, 1.0, 1.0]), {f"outbound, 0 ms: {CONNECT}": committed})
        return row.worse

    assert worse(Spread(0.8, 0.75, 0.85))
    assert not worse(Spread(0.8, 0.5, 1.1))
    assert not worse(Spread(0.95, 0.95, 0.95))
    assert not worse(Spread(1.5, 1.5, 1.5))


def test_what_shall_be_much_is_worse_when_it_is_less() -> None:
    [row] = rows(book(COPIES, [1.0], [1.0]), {f"outbound, 0 ms: {COPIES.name}": Spread(1.5, 1.4, 1.6)})
    assert row.worse
    [row] = rows(book(COPIES, [2.0], [1.0]), {f"outbound, 0 ms: {COPIES.name}": Spread(1.5, 1.4, 1.6)})
    assert not row.worse


def test_a_worse_ratio_is_red_and_said_where_there_are_no_colours() -> None:
    found = rows(book(CONNECTS, [1.0], [1.0]), {f"outbound, 0 ms: {CONNECT}": Spread(0.5, 0.5, 0.5)})
    assert RED in report(found, colours=True)
    plain = report(found, colours=False)
    assert RED not in plain
    assert "WORSE" in plain


def test_what_is_committed_of_a_run_makes_none_of_its_rows_worse() -> None:
    measured = book(CONNECTS, [0.5, 0.7], [1.0, 1.0])
    assert not any(row.worse for row in rows(measured, ratios(measured)))


def test_every_goal_of_the_traffic_and_dns_names_a_figure_that_is_measured() -> None:
    measures = [*through((1, 50, 400, 2000)), *dns("shop", "cluster.local")]
    measured = {name for measure in measures for name, _, _ in measure.figures}
    wanted = {goal.key.name for goal in goals() if goal.key.part in ("outbound", "inbound", "dns")}
    assert wanted <= measured
    assert look_up("a new name each time") in wanted

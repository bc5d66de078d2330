"""What the figures shall show, and whether they are worse than what the repository says. Pure.

A *goal* with ``against`` is a ratio in one run; one without is the figure itself, which another machine's says little
about. Only ratios are compared with the committed ones (`ratios.json`), and nothing fails because of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .figures import OURS, PLAIN, THEIRS, Key, Spread, shown
from .work import (
    AFTER,
    CACHED,
    CONNECT,
    CONNECT_P99,
    FRESH,
    MORE_THREADS,
    ROUND_TRIP,
    bulk,
    during,
    look_up,
    look_ups,
    of_a_connection,
    requests,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .figures import Book

RED, PLAIN_TEXT = "\x1b[31m", "\x1b[0m"


@dataclass(frozen=True)
class Goal:
    """``most``: not above that; ``least``: not below. ``against``: another way; empty: the figure itself."""

    key: Key
    most: float | None = None
    least: float | None = None
    against: str = THEIRS

    @property
    def title(self) -> str:
        """How a row is called, on the screen and in the file of committed ratios."""
        return f"{self.key.part}, {self.key.link}: {self.key.name}"

    def met(self, value: float) -> bool:
        """Whether it is as it should be."""
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)

    def __str__(self) -> str:
        return f"<= {shown(self.most)}" if self.most is not None else f">= {shown(self.least or 0)}"


def goals() -> list[Goal]:
    """All of them, in the order in which they are shown."""
    return [*_small(), *_many(), *_bytes(), *_alone()]


def _small() -> Iterable[Goal]:
    for part in ("outbound", "inbound"):
        yield Goal(Key(part, PLAIN, ROUND_TRIP), most=1.0)
    yield Goal(Key("outbound", PLAIN, CONNECT), most=0.8)
    yield Goal(Key("outbound", PLAIN, CONNECT_P99), most=0.8)
    yield Goal(Key("inbound", PLAIN, CONNECT), most=0.15)
    yield Goal(Key("outbound", "20 ms", CONNECT), most=0.75)
    for part in ("outbound", "inbound"):
        for way in ("down", "up"):
            yield Goal(Key(part, PLAIN, during(way)), most=0.5)


def _many() -> Iterable[Goal]:
    for part in ("outbound", "inbound"):
        for connections in (50, 400):
            yield Goal(Key(part, PLAIN, requests(connections)), least=1.0)
        yield Goal(Key(part, PLAIN, requests(2000)), least=1, against="")


def _bytes() -> Iterable[Goal]:
    for part in ("outbound", "inbound"):
        for way in ("down", "up"):
            yield Goal(Key(part, PLAIN, bulk(way, 1)), least=1.0)
            for link in ("20 ms", "80 ms"):
                yield Goal(Key(part, link, bulk(way, 1)), least=1.0)
                yield Goal(Key(part, link, bulk(way, 8)), least=1.5)


def _alone() -> Iterable[Goal]:
    """What has no peer in the run."""
    for direction in ("outbound", "inbound"):
        yield Goal(Key("soak", PLAIN, f"{of_a_connection(direction)}, laptop"), most=100, against="")
    yield Goal(Key("soak", PLAIN, f"{MORE_THREADS}, laptop"), most=0, against="")
    yield Goal(Key("soak", PLAIN, f"{AFTER}, laptop"), most=80, against="")
    yield Goal(Key("idle", PLAIN, "memory, laptop"), most=80, against="")
    yield Goal(Key("dns", PLAIN, look_up(CACHED)), most=0.4, against="")
    yield Goal(Key("dns", PLAIN, look_up(FRESH)), most=3, against="")
    yield Goal(Key("dns", PLAIN, look_ups(CACHED)), least=5000, against="")
    yield Goal(Key("start", PLAIN, "swap: first line of the process"), most=1.5, against="")
    yield Goal(Key("start", PLAIN, "swap: first request served"), most=3.0, against="")
    yield Goal(Key("start", PLAIN, "swap, kept: first request served"), most=0.6, against="")


@dataclass(frozen=True)
class Row:
    """A goal beside what was measured, and beside what is committed."""

    goal: Goal
    found: Spread
    unit: str
    committed: Spread | None

    @property
    def worse(self) -> bool:
        """Whether it is worse than the committed ratio by more than both runs' spread explains."""
        if self.committed is None or not self.goal.against:
            return False
        gap = self.found.median - self.committed.median
        return (gap if self.goal.most is not None else -gap) > max(self.found.half, self.committed.half)

    def cells(self) -> list[str]:
        """Title, ratio or value, its range, the goal, what is committed, whether the goal is met."""
        return [
            self.goal.title,
            f"{shown(self.found.median)}{f' {self.unit}' if self.unit else ''}",
            f"{shown(self.found.least)} .. {shown(self.found.most)}",
            str(self.goal),
            shown(self.committed.median) if self.committed else "-",
            "yes" if self.goal.met(self.found.median) else "no",
        ]


HEADS = ["against kubectl port-forward + ssh", "ratio", "range", "goal", "committed", "met"]


def rows(book: Book, committed: Mapping[str, Spread]) -> list[Row]:
    """A row for each goal of which there are figures."""
    return [row for goal in goals() if (row := _row(goal, book, committed))]


def _row(goal: Goal, book: Book, committed: Mapping[str, Spread]) -> Row | None:
    figure = book.figures.get(goal.key)
    if figure is None:
        return None
    found = figure.ratio(OURS, goal.against) if goal.against else figure.spread(OURS)
    unit = "" if goal.against else figure.unit
    return Row(goal, found, unit, committed.get(goal.title)) if found else None


def ratios(book: Book) -> dict[str, Spread]:
    """What is committed of a run: its ratios by their goals' titles."""
    return {row.goal.title: row.found for row in rows(book, {}) if row.goal.against}


def report(found: list[Row], *, colours: bool) -> str:
    """The rows as a text; red is what is worse than committed, by more than the spread."""
    lines = [HEADS, *(row.cells() for row in found)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    marks = [False, *(row.worse for row in found)]
    return "\n".join(_marked(text, worse=worse, colours=colours) for text, worse in zip(texts, marks, strict=True))


def _marked(text: str, *, worse: bool, colours: bool) -> str:
    if not worse:
        return text
    said = f"{text}  WORSE than committed"
    return f"{RED}{said}{PLAIN_TEXT}" if colours else said

"""What was measured: a figure for each thing, with a value for each round of each way. Pure.

A *way* is one manner to get from the laptop to the cluster: bridge, a peer's, or none (the floor). All ways do the same
work in turn, round by round, so that what the machine does beside hits all of them: two ways are compared round by
round, and the spread of these ratios says how far to trust them.

    figure   part / link / name      outbound / 20 ms / requests/s, 50 connections
    values   way -> one value each round, None where it failed
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FLOOR, OURS, THEIRS = "direct", "bridge", "ssh"
PLAIN = "0 ms"
"""The link without delay or loss."""


@dataclass(frozen=True, order=True)
class Key:
    """Which figure it is."""

    part: str
    link: str
    name: str


@dataclass(frozen=True)
class Spread:
    """A median, and the smallest and the largest value."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """The spread of the rounds that did not fail; None if all did."""
        known = [value for value in values if value is not None]
        return cls(statistics.median(known), min(known), max(known)) if known else None

    @property
    def half(self) -> float:
        """Half of what lies between the least and the most."""
        return (self.most - self.least) / 2


@dataclass
class Figure:
    """All values of one figure. ``date`` and ``version`` say when, and of what."""

    unit: str
    values: dict[str, list[float | None]] = field(default_factory=dict)
    date: str = ""
    version: str = ""

    def spread(self, way: str) -> Spread | None:
        """What this way reached, if it was measured."""
        return Spread.of(self.values.get(way, ()))

    def ratio(self, way: str, to: str) -> Spread | None:
        """This way's values as multiples of the other's, each of the same round."""
        pairs = zip(self.values.get(way, ()), self.values.get(to, ()), strict=False)
        return Spread.of(ours / theirs if ours is not None and theirs else None for ours, theirs in pairs)


@dataclass(frozen=True)
class Failure:
    """Why a way has no value of a figure in some round."""

    key: Key
    way: str
    reason: str

    def __str__(self) -> str:
        return f"{self.key.part}, {self.key.link}, {self.key.name}, {self.way}: {self.reason}"


class Book:
    """All figures, in the order in which they were first measured."""

    def __init__(self, *, date: str = "", version: str = "") -> None:
        self.figures: dict[Key, Figure] = {}
        self.failures: list[Failure] = []
        self._date, self._version = date, version

    def add(self, key: Key, unit: str, way: str, value: float | None) -> None:
        """One value of one round."""
        figure = self.figures.setdefault(key, Figure(unit, date=self._date, version=self._version))
        figure.values.setdefault(way, []).append(value)

    def failed(self, key: Key, unit: str, way: str, reason: str) -> None:
        """What could not be measured, and why."""
        self.add(key, unit, way, None)
        self.failures.append(Failure(key, way, reason))

    def after(self, earlier: Book) -> Book:
        """The earlier figures with these in their place: so a run may be made in parts."""
        book = Book()
        book.figures = earlier.figures | self.figures
        book.failures = [one for one in earlier.failures if one.key not in self.figures] + self.failures
        return book

    # -- on disk -------------------------------------------------------------------------------------------------------
    def save(self, path: Path) -> None:
        """Write all as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_json(), indent=1))

    def as_json(self) -> dict[str, Any]:
        """The inverse of `from_json`."""
        figures = [vars(key) | vars(figure) for key, figure in self.figures.items()]
        failures = [vars(one.key) | {"way": one.way, "reason": one.reason} for one in self.failures]
        return {"figures": figures, "failures": failures}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Book:
        """The inverse of `as_json`."""
        book = cls()
        for fields in content["figures"]:
            key = _taken(fields)
            book.figures[key] = Figure(**fields)
        book.failures = [Failure(_taken(fields), **fields) for fields in content["failures"]]
        return book

    @classmethod
    def load(cls, path: Path) -> Book:
        """What an earlier run has saved, if there was one."""
        return cls.from_json(json.loads(path.read_text())) if path.exists() else cls()


def _taken(fields: dict[str, Any]) -> Key:
    """The key, taken out of the fields."""
    return Key(fields.pop("part"), fields.pop("link"), fields.pop("name"))


def shown(value: float) -> str:
    """A number with three digits that count: 0.042, 1.23, 45.6, 12 300."""
    if value == 0:
        return "0"
    size = abs(value)
    if size < 100:
        digits = 1 if size >= 10 else 2 if size >= 1 else 3
        return f"{value:.{digits}f}"
    return f"{round(value, -1 if size >= 1000 else 0):,.0f}".replace(",", " ")

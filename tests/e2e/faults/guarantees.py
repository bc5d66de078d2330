"""What the faults have shown, gathered while the tests run, and the page of the docs that it becomes.

A row of the page is one fault; each try of it adds how long it took until the service was healthy again, how many
requests failed, and how many there were. ``FAULTS=full`` does each row as often as the page shall say, and writes it.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

FULL = os.environ.get("FAULTS") == "full"
NO_BOUND = "-"
"""For a row whose tries either hold or not: there is no time to tell."""
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "guarantees.md"


def tries(few: int, many: int) -> int:
    """How often a row is tried: ``few`` in CI, ``many`` for the page."""
    return many if FULL else few


@dataclass
class Row:
    """One fault. ``back``: seconds until healthy again, one for each try; ``bound``: what they may be."""

    what: str
    who: str
    bound: str
    back: list[float] = field(default_factory=list)
    failed: int = 0
    sent: int = 0

    def cells(self) -> list[str]:
        """The row of the page."""
        timed = self.back and self.bound.endswith(" s")
        times = [f"{statistics.median(self.back):.1f} s", f"{max(self.back):.1f} s"] if timed else ["-", "-"]
        requests = f"{self.failed} of {self.sent}" if self.sent else "-"
        return [self.what, self.who, str(len(self.back)), *times, self.bound, requests]


class Guarantees:
    """All rows, in the order in which they were first seen."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.earlier: dict[str, Row] = {}

    @classmethod
    def kept(cls, path: Path) -> Guarantees:
        """What earlier runs have measured: a row stays until it is measured anew, so a run may be made in parts."""
        book = cls()
        if path.exists():
            book.earlier = {fields["what"]: Row(**fields) for fields in json.loads(path.read_text())}
        return book

    def row(self, what: str, *, who: str, bound: str) -> Row:
        """The row of a fault; made when it is first asked for."""
        return self.rows.setdefault(what, Row(what, who, bound))

    def save(self, path: Path) -> None:
        """Keep the figures of a run, for who wants to look."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([asdict(row) for row in self.all()], indent=1))

    def all(self) -> list[Row]:
        """The rows of this run and, where it had none of that name, of earlier ones."""
        return list((self.earlier | self.rows).values())

    def render(self, *, machine: str, version: str, date: str) -> str:
        """The page."""
        heads = ["what happens", "who mends it", "tries", "healthy again: median", "most", "bound", "requests failed"]
        lines = [heads, ["---"] * len(heads), *(row.cells() for row in self.all())]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return _PAGE.format(machine=machine, version=version, date=date, table=table)


def this_machine() -> str:
    """The machine, as far as it matters for times."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"


_PAGE = """\
# Guarantees

What dies, how long until it is healthy again, and how many requests fail. This page is written by a test run
(`FAULTS=full make test-faults`), which fails when a bound is not kept; CI does the same with fewer tries.

bridge {version}, {date}, on {machine}, which the cluster (two nodes where a row needs them), the laptop and the
load share. The target is one replica of an HTTP server that dies at once on SIGTERM, so nothing is hidden by a graceful
shutdown; "healthy again" is the first good answer of who should answer after the fault. The load is 50 requests a
second, each on a new connection, from a pod, with a time limit of 15 s. Requests that were held and then answered count
as answered.

{table}

What the columns don't say:

- Times include the start of the original, where it has to start (about a second here), and the grace time, where nobody
  on the laptop is left: it is in the row's name.
- While nobody answers (the laptop's network is out, or the proxy pod is made anew) requests wait in the proxy pod if
  there is one, and fail if there is none; both are counted here.
- A session's protection, and what else there is when it is not "keeper", is explained in
  [never left swapped](../explanation/never-left-swapped.md).
"""

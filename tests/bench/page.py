"""The page of the docs that the figures become: tables, plots, and the ratios that later runs are compared with."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bridge import __version__
from tests.cluster.settings import CLONE, KUBERNETES_VERSION

from .chart import Group, bars
from .figures import FLOOR, OURS, THEIRS, Spread, shown
from .parts import LINKS
from .phases import breakdown, is_step
from .targets import HEADS, ratios, rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .figures import Book, Figure, Key

REFERENCE = CLONE / "docs" / "reference"
PLOTS = REFERENCE / "performance"
RATIOS = Path(__file__).parent / "ratios.json"
SECTIONS = ("start", "outbound", "inbound", "dns", "cost", "idle", "soak")
ORDER = (FLOOR, "port-forward", THEIRS, OURS)
NAMES = {FLOOR: "pod to pod", "port-forward": "kubectl port-forward", THEIRS: "port-forward + ssh"}
"""How ways are called for the reader; others by their own name."""


# -- what is committed -------------------------------------------------------------------------------------------------
def committed(path: Path = RATIOS) -> dict[str, Spread]:
    """The ratios of the latest page; none before the first."""
    if not path.exists():
        return {}
    return {title: Spread(**fields) for title, fields in json.loads(path.read_text()).items()}


def write(book: Book) -> list[Path]:
    """Write the page, its plots and the ratios; return the files."""
    texts = {REFERENCE / "performance.md": render(book, about=about(book))}
    texts |= {PLOTS / f"{slug(part)}.svg": text for part, text in plots(book).items()}
    rounded = {title: asdict(spread) for title, spread in ratios(book).items()}
    texts[RATIOS] = json.dumps(rounded, indent=1, sort_keys=True) + "\n"
    for path, text in texts.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return list(texts)


def about(book: Book) -> str:
    """Where, when and of what: one line."""
    dates = sorted({figure.date for figure in book.figures.values()})
    versions = sorted({figure.version for figure in book.figures.values()})
    ssh = subprocess.run(["ssh", "-V"], check=False, capture_output=True, text=True).stderr.split(",")[0].strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}"
    where = f"{os.cpu_count()} cores, {memory:.0f} GiB, {kernel}"
    what = f"bridge {__version__} ({', '.join(versions)}), Python {platform.python_version()}"
    return f"{what}, Kubernetes {KUBERNETES_VERSION}, {ssh}; {where}; {', '.join(dates)}"


# -- the page, purely --------------------------------------------------------------------------------------------------
def render(book: Book, *, about: str) -> str:
    """The page as a text."""
    goals = table(HEADS[:4] + HEADS[5:], [row.cells()[:4] + row.cells()[5:] for row in rows(book, {})])
    sections = [_section(part, figures) for part, figures in by_part(book).items()]
    failures = ["## Not measured", "", *(f"- {line}" for line in book.failures), ""] if book.failures else []
    return "\n".join([_HEAD.format(about=about, goals=goals), *sections, *failures])


def by_part(book: Book) -> dict[str, dict[Key, Figure]]:
    """The figures of each part and link."""
    parts: dict[str, dict[Key, Figure]] = {}
    for key, figure in sorted(book.figures.items(), key=lambda item: _place(item[0])):
        title = f"{key.part}, {key.link}" if key.part in ("outbound", "inbound") else key.part
        parts.setdefault(title, {})[key] = figure
    return parts


def _place(key: Key) -> tuple[int, int]:
    """Where a figure stands, whichever was measured first."""
    return SECTIONS.index(key.part.partition(",")[0]), list(LINKS.values()).index(key.link)


def ways_of(figures: Mapping[Key, Figure]) -> list[str]:
    """Who was measured: ours last, those that are not ours before it."""
    found = {way for figure in figures.values() for way in figure.values}
    others = sorted(found - set(ORDER))
    return [way for way in (*ORDER[:-1], *others, OURS) if way in found]


def _section(part: str, figures: Mapping[Key, Figure]) -> str:
    ways = ways_of(figures)
    steps, figures = breakdown(figures), _whole(figures)
    lines = [[_name(key, figure), *(_cell(figure, way) for way in ways)] for key, figure in figures.items()]
    heads = ["", *(NAMES.get(way, way) for way in ways)]
    plot = f"![{part}](performance/{slug(part)}.svg)"
    phases = [_PHASES, "", table(*steps), ""] if steps[1] else []
    return "\n".join([f"## {part[0].upper()}{part[1:]}", "", table(heads, lines), "", plot, "", *phases])


def _whole(figures: Mapping[Key, Figure]) -> dict[Key, Figure]:
    """What is no step of a start: those have a table of their own."""
    return {key: figure for key, figure in figures.items() if not is_step(key)}


def _name(key: Key, figure: Figure) -> str:
    return f"{key.name}, {figure.unit}" if figure.unit not in ("", "/s", "MB/s") else key.name


def _cell(figure: Figure, way: str) -> str:
    spread = figure.spread(way)
    if spread is None:
        return "failed" if way in figure.values else "-"
    single = spread.least == spread.most
    return shown(spread.median) if single else f"{shown(spread.median)} ({shown(spread.least)} .. {shown(spread.most)})"


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    every = [heads, ["---", *["---:"] * (len(heads) - 1)], *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in every)


def plots(book: Book) -> dict[str, str]:
    """A plot for each section."""
    everyone = ways_of(book.figures)
    return {part: bars(part, _groups(_whole(figures)), everyone) for part, figures in by_part(book).items()}


def _groups(figures: Mapping[Key, Figure]) -> list[Group]:
    groups = []
    for key, figure in figures.items():
        known = tuple((way, spread) for way in ways_of({key: figure}) if (spread := figure.spread(way)))
        unit = "" if figure.unit in ("/s", "MB/s") else figure.unit
        groups.append(Group(key.name, unit, known, _scale(dict(known))))
    return groups


def _scale(known: dict[str, Spread]) -> float:
    """The most of all but the floor, which may be far away."""
    near = {way: spread for way, spread in known.items() if way != FLOOR} or known
    return max((spread.most for spread in near.values()), default=0) or 1


def slug(part: str) -> str:
    """A section's name as a file's."""
    return re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-")


_PHASES = """\
Where bridge's time goes: seconds since the command, and in brackets since what came before. Much is done beside what is
waited for: a short phase may have begun long before."""
_HEAD = """\
# Performance

How fast bridge is beside what would be picked instead of it, and beside nothing between at all; and what it costs. This
page is written by a run: [how](../how-to/measure-performance.md). Everything, the cluster and the load too, shares one
machine, so only figures of the same run say something about each other.

{about}

Medians of the rounds, and in brackets or under *range* the least and the most. All ways take turns within a round. A
ratio is the median of the ratios of each round.

{goals}
"""

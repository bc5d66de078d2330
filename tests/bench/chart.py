"""Bars as SVG: one group for each figure, one bar for each way, a line from the least to the most. Pure.

Each group has a scale of its own, so one plot shows figures of any unit; the number is written at its bar. A bar that
is longer than the scale is cut: beside a floor that is thirty times as fast, nobody could tell the others apart.
Colours are readable on a light and a dark page.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from .figures import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .figures import Spread

WIDTH, LEFT, RIGHT = 860, 130, 110
BAR, GAP, HEAD, TOP = 16, 4, 22, 34
COLOURS = ("#3b82f6", "#f59e0b", "#10b981", "#8b5cf6", "#ef4444", "#64748b")
TEXT = "#64748b"


@dataclass(frozen=True)
class Group:
    """A figure: its title, unit, and each way's value; and what the plot's full width stands for."""

    title: str
    unit: str
    bars: tuple[tuple[str, Spread], ...]
    scale: float


def bars(title: str, groups: Sequence[Group], ways: Sequence[str]) -> str:
    """The plot as a text. ``ways`` gives each its colour, the same in all plots."""
    parts, y = [], TOP
    for group in groups:
        parts.append(_text(0, y + 15, f"{group.title}, {group.unit}" if group.unit else group.title, weight="bold"))
        y += HEAD
        for way, spread in group.bars:
            parts += _bar(y, way, spread, group.scale, COLOURS[list(ways).index(way) % len(COLOURS)])
            y += BAR + GAP
        y += GAP * 2
    head = _text(0, 18, title, weight="bold", size=15)
    size = f'width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}"'
    start = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    return "\n".join([start, f"<title>{escape(title)}</title>", head, *parts, "</svg>", ""])


def _bar(y: int, way: str, spread: Spread, scale: float, colour: str) -> list[str]:
    def at(value: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * min(max(value / scale, 0), 1), 1)

    middle = y + BAR / 2
    range_ = f"M{at(spread.least)} {middle}H{at(spread.most)}"
    return [
        _text(LEFT - 8, y + 12, way, anchor="end"),
        f'<rect x="{LEFT}" y="{y}" width="{round(at(spread.median) - LEFT, 1)}" height="{BAR}" fill="{colour}"/>',
        f'<path d="{range_}" stroke="{TEXT}" stroke-width="2"/>',
        _text(at(spread.most) + 6, y + 12, f"{'» ' if spread.median > scale else ''}{shown(spread.median)}"),
    ]


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", size: int = 12) -> str:
    style = f'font-family="sans-serif" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" fill="{TEXT}"'
    return f'<text x="{x}" y="{y}" {style}>{escape(text)}</text>'

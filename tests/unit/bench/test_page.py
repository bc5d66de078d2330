"""What the figures become: tables and plots."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from tests.bench.chart import Group, bars
from tests.bench.figures import Book, Key, Spread
from tests.bench.page import plots, render
from tests.bench.parts import turns
from tests.bench.work import CONNECT

SVG = "{http://www.w3.org/2000/svg}"


def measured() -> Book:
    book = Book()
    for way, values in {"bridge": [1.0, 1.2], "ssh": [2.0, 2.2], "their tool": [3.0, None], "gone": [None]}.items():
        for value in values:
            book.add(Key("outbound", "0 ms", CONNECT), "ms", way, value)
    book.add(Key("outbound", "20 ms", CONNECT), "ms", "bridge", 40.0)
    book.failed(Key("outbound", "0 ms", CONNECT), "gone", "refused")
    return book


def test_the_page_has_a_table_and_a_plot_for_each_part_and_link_and_what_failed() -> None:
    page = render(measured(), about="bridge 1, 2 cores")
    assert "bridge 1, 2 cores" in page
    assert "## Outbound, 0 ms" in page
    assert "![outbound, 20 ms](performance/outbound-20-ms.svg)" in page
    assert "|  | port-forward + ssh | gone | their tool | bridge |" in page
    assert f"| {CONNECT}, ms | 2.10 (2.00 .. 2.20) | failed | 3.00 | 1.10 (1.00 .. 1.20) |" in page
    assert "- outbound, 0 ms, " + CONNECT + ", gone: refused" in page


def test_the_page_begins_with_the_goals() -> None:
    page = render(measured(), about="")
    assert f"| outbound, 0 ms: {CONNECT} | 0.523 | 0.500 .. 0.545 | <= 0.800 | yes |" in page


def test_a_plot_is_drawn_for_each_section_and_leaves_out_what_failed() -> None:
    drawn = plots(measured())
    assert list(drawn) == ["outbound, 0 ms", "outbound, 20 ms"]
    words = [text.text for text in ET.fromstring(drawn["outbound, 0 ms"]).iter(f"{SVG}text")]
    assert {"bridge", "ssh", "their tool"} <= set(words)
    assert "gone" not in words


def test_bars_share_the_scale_of_their_group_and_escape_their_words() -> None:
    groups = [Group("a < b", "ms", (("x", Spread(5, 4, 10)), ("y", Spread(2.5, 2.5, 2.5))))]
    drawn = ET.fromstring(bars("title", groups, ["x", "y"]))
    widths = [float(rect.attrib["width"]) for rect in drawn.iter(f"{SVG}rect")]
    assert widths == [310.0, 155.0]


def test_nothing_but_zeros_can_be_drawn() -> None:
    ET.fromstring(bars("title", [Group("lost", "", (("x", Spread(0, 0, 0)),))], ["x"]))


def test_each_way_has_one_turn_a_round_and_each_round_begins_with_another() -> None:
    assert "".join(way for way, _ in turns(dict.fromkeys("abc"), 3)) == "abcbcacab"

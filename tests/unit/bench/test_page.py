"""What the figures become: tables and plots."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from tests.bench.chart import Group, bars
from tests.bench.figures import Book, Key, Spread
from tests.bench.page import by_part, plots, render
from tests.bench.parts import turns
from tests.bench.work import CONNECT

SVG = "{http://www.w3.org/2000/svg}"


def measured() -> Book:
    book = Book()
    for way, values in {"bridge": [1.0, 1.2], "ssh": [2.0, 2.2], "their tool": [3.0, None], "direct": [0.1]}.items():
        for value in values:
            book.add(Key("outbound", "0 ms", CONNECT), "ms", way, value)
    book.add(Key("outbound", "20 ms", CONNECT), "ms", "bridge", 40.0)
    book.failed(Key("outbound", "0 ms", CONNECT), "ms", "gone", "refused")
    return book


def test_the_page_has_a_table_and_a_plot_for_each_part_and_link_and_what_failed() -> None:
    page = render(measured(), about="bridge 1, 2 cores")
    assert "bridge 1, 2 cores" in page
    assert "## Outbound, 0 ms" in page
    assert "![outbound, 20 ms](performance/outbound-20-ms.svg)" in page
    assert "|  | pod to pod | port-forward + ssh | gone | their tool | bridge |" in page
    assert f"| {CONNECT}, ms | 0.100 | 2.10 (2.00 .. 2.20) | failed | 3.00 | 1.10 (1.00 .. 1.20) |" in page
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


def widths(svg: str) -> list[float]:
    return [float(rect.attrib["width"]) for rect in ET.fromstring(svg).iter(f"{SVG}rect")]


def test_bars_share_the_scale_of_their_group_and_a_longer_one_is_cut() -> None:
    spreads = {"x": Spread(5, 4, 10), "y": Spread(2.5, 2.5, 2.5), "z": Spread(300, 300, 300)}
    drawn = bars("a < b", [Group("figure", "ms", tuple(spreads.items()), 10)], list(spreads))
    assert widths(drawn) == [310.0, 155.0, 620.0]
    assert "» 300" in drawn


def test_the_floor_does_not_press_the_others_together() -> None:
    book = Book()
    for way, value in {"direct": 3000.0, "ssh": 100.0, "bridge": 50.0}.items():
        book.add(Key("outbound", "0 ms", "MB/s down, 1 stream"), "MB/s", way, value)
    assert widths(plots(book)["outbound, 0 ms"]) == [620.0, 620.0, 310.0]


def test_nothing_but_zeros_can_be_drawn() -> None:
    book = Book()
    book.add(Key("soak", "0 ms", "connections lost"), "", "bridge", 0)
    assert widths(plots(book)["soak"]) == [0.0]


def test_sections_stand_in_one_order_whichever_was_measured_first() -> None:
    book = Book()
    for part, link in (("soak", "0 ms"), ("outbound", "80 ms"), ("outbound", "0 ms"), ("start", "0 ms")):
        book.add(Key(part, link, "something"), "s", "bridge", 1.0)
    assert list(by_part(book)) == ["start", "outbound, 0 ms", "outbound, 80 ms", "soak"]


def test_each_way_has_one_turn_a_round_and_each_round_begins_with_another() -> None:
    assert "".join(way for way, _ in turns(dict.fromkeys("abc"), 3)) == "abcbcacab"

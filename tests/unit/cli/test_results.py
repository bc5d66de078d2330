"""Results are for other programs, too: keys and version are pinned here. They only grow."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from bridge.cli import results
from bridge.session.local import Status
from bridge.session.sessions import Found, Life

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FOUND = Found(
    session="abcd2345", namespace="shop", target="deployment/web", holder="ann@laptop", since="2026-01-01T11:57:00Z",
    life=Life.ALIVE, protection="keeper", heartbeat=1.2345, services=("web", "api"), record=None, claim=None,
)  # fmt: skip
BARE = replace(FOUND, session="zzzz2345", target="", protection="", heartbeat=None, services=(), life=Life.UNKNOWN)
STATUS = Status(
    session="abcd2345", target="deployment/web", namespace="shop", context="kind", state="connected", pod="p-1",
    command=("python", "app.py"), pid=100, process=101, age=200.0, protection="keeper", guard="armed",
    round_trip=0.0123, connections_in=1, connections_out=2, held=3, bytes_in=2048, bytes_out=5_000_000, reconnects=4,
)  # fmt: skip


def test_the_json_of_list() -> None:
    assert json.loads(results.sessions_json([FOUND, BARE])) == {
        "version": 1,
        "sessions": [
            {
                "session": "abcd2345",
                "namespace": "shop",
                "target": "deployment/web",
                "holder": "ann@laptop",
                "since": "2026-01-01T11:57:00Z",
                "life": "alive",
                "protection": "keeper",
                "heartbeat_age": 1.2,
                "services": ["web", "api"],
                "lingers": None,
            },
            {
                "session": "zzzz2345",
                "namespace": "shop",
                "target": "",
                "holder": "ann@laptop",
                "since": "2026-01-01T11:57:00Z",
                "life": "unknown",
                "protection": "",
                "heartbeat_age": None,
                "services": [],
                "lingers": None,
            },
        ],
    }


def test_the_json_of_no_sessions_is_an_empty_list() -> None:
    assert json.loads(results.sessions_json([])) == {"version": 1, "sessions": []}


def test_the_json_of_status() -> None:
    assert json.loads(results.as_json(sessions=[STATUS.render()])) == {
        "version": 1,
        "sessions": [
            {
                "session": "abcd2345",
                "target": "deployment/web",
                "namespace": "shop",
                "context": "kind",
                "state": "connected",
                "pod": "p-1",
                "command": ["python", "app.py"],
                "pid": 100,
                "process": 101,
                "age": 200.0,
                "protection": "keeper",
                "guard": "armed",
                "round_trip": 0.0123,
                "connections_in": 1,
                "connections_out": 2,
                "held": 3,
                "bytes_in": 2048,
                "bytes_out": 5000000,
                "reconnects": 4,
                "lingers": None,
            }
        ],
    }


def test_the_json_of_what_was_done() -> None:
    assert json.loads(results.as_json(done=["restored deployment/web"])) == {
        "version": 1,
        "done": ["restored deployment/web"],
    }


@pytest.mark.parametrize("life", list(Life))
def test_the_words_for_a_life_are_part_of_the_format(life: Life) -> None:
    assert life.value in ("alive", "dead", "unknown")


def test_the_table_of_list() -> None:
    assert results.sessions_text([FOUND, BARE], now=NOW).splitlines() == [
        "NAMESPACE  TARGET          HOLDER      SINCE      LIFE     HEARTBEAT  PROTECTION  SESSION",
        "shop       deployment/web  ann@laptop  3 min ago  alive    1 s        keeper      abcd2345",
        "shop       -               ann@laptop  3 min ago  unknown  -          -           zzzz2345",
    ]
    assert results.sessions_text([], now=NOW) == "no sessions"


def test_the_row_of_a_session_whose_record_cannot_be_read() -> None:
    nameless = replace(BARE, session="", since="", holder="somebody", target="deployment/web")
    assert results.sessions_text([nameless], now=NOW).splitlines()[1].split() == [
        *("shop", "deployment/web", "somebody", "-", "unknown", "-", "-", "-")
    ]


def test_the_paragraph_of_status() -> None:
    assert results.status_text([STATUS.render()]).splitlines() == [
        "deployment/web in shop (kind): connected",
        "  session      abcd2345 for 3 min, bridge 100",
        "  process      python app.py (101)",
        "  pod          p-1, round trip 12.3 ms",
        "  connections  1 in (3 held), 2 out",
        "  bytes        2.0 KiB in, 4.8 MiB out",
        "  reconnects   4",
        "  protection   keeper (armed)",
    ]


def test_a_session_that_has_just_begun_has_no_gaps_in_its_paragraph() -> None:
    begun = replace(STATUS, target="", pod="", process=0, guard="", state="starting")
    lines = results.status_text([begun.render()]).splitlines()
    assert lines[0] == "joined in shop (kind): starting"
    assert lines[2] == "  process      python app.py (not started)"
    assert lines[3].startswith("  pod          -, ")
    assert lines[-1] == "  protection   keeper (not heard of yet)"


@pytest.mark.parametrize(("state", "hint"), [("dead", "bridge restore"), ("unknown", "does not answer")])
def test_a_session_that_can_not_be_asked_says_so(state: str, hint: str) -> None:
    known: dict[str, Any] = {
        "session": "s", "target": "deployment/web", "namespace": "shop", "context": "kind", "pid": 9, "state": state,
    }  # fmt: skip
    text = results.status_text([known])
    assert text.startswith(f"deployment/web in shop (kind): {state}\n")
    assert hint in text


def test_paragraphs_are_apart_and_none_is_said() -> None:
    assert results.status_text([STATUS.render()] * 2).count("\n\n") == 1
    assert results.status_text([]) == "no sessions on this laptop"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172800, "2 days")]
)
def test_spans_are_said_in_their_unit(seconds: float, said: str) -> None:
    text = results.status_text([replace(STATUS, age=seconds).render()])
    assert f"for {said}," in text


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (2**30, "1.0 GiB"), (2**40, "1024.0 GiB")]
)
def test_sizes_are_said_in_their_unit(count: int, said: str) -> None:
    assert f"{said} in," in results.status_text([replace(STATUS, bytes_in=count).render()])


def test_a_table_has_no_trailing_blanks() -> None:
    assert results.table(("A", "LONG"), [("wide cell", "x")]) == "A          LONG\nwide cell  x"


def test_a_session_that_is_kept_without_a_command_is_told_with_its_time() -> None:
    kept = replace(FOUND, lingers=540.4)
    assert json.loads(results.sessions_json([kept]))["sessions"][0]["lingers"] == 540.4
    assert "kept, 9 min still" in results.sessions_text([kept], now=NOW)
    told = results.status_text([replace(STATUS, process=0, lingers=50.0).render()])
    assert "connected, kept for 50 s still" in told
    assert "python app.py (ended; the original answers)" in told

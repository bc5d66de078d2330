"""The line for each request: what it says, and that nobody waits for it to be written."""

from __future__ import annotations

import asyncio
import threading

from bridge.logs import register_secret
from bridge.session.requests import MOST, Requests
from bridge.tunnel.http import Answered, Heard, Unread
from tests.unit.session.telling import Told

CLIENT = ("10.42.0.9", 51000)


def told(*heard: Heard, always: bool = True, after_restart: int = 0) -> Told:
    narrator = Told()

    async def main() -> None:
        requests = Requests(narrator, always=always)
        requests.tell_next(after_restart)
        for each in heard:
            requests.heard(CLIENT, each)
        while requests.writing:
            await requests.writing

    asyncio.run(main())
    return narrator


def answered(status: int | None = 200, *, path: str = "/tasks", cut: str = "") -> Answered:
    return Answered(method="GET", path=path, status=status, took=0.0124, cut=cut)


def test_a_request_is_one_line_and_one_event() -> None:
    narrator = told(answered())
    assert narrator.all == [("note", "GET /tasks 200 in 12 ms, for 10.42.0.9")]
    facts = {"method": "GET", "path": "/tasks", "status": 200, "took": 0.0124, "client": "10.42.0.9", "cut": ""}
    assert narrator.events == [("request", facts)]


def test_what_went_wrong_is_a_warning() -> None:
    narrator = told(answered(503), answered(None, cut="reset"), answered(200, cut="closed"))
    assert narrator.all == [
        ("warn", "GET /tasks 503 in 12 ms, for 10.42.0.9"),
        ("warn", "GET /tasks: reset after 12 ms, without an answer, for 10.42.0.9"),
        ("warn", "GET /tasks: closed after 12 ms, in the middle of the answer (200), for 10.42.0.9"),
    ]


def test_what_is_not_read_is_said() -> None:
    narrator = told(Unread("HTTP/2"))
    assert narrator.all == [("note", "a connection of 10.42.0.9 is not read: HTTP/2")]
    assert narrator.events == [("unread", {"client": "10.42.0.9", "why": "HTTP/2"})]


def test_a_secret_in_a_path_is_masked() -> None:
    register_secret("hunter2-and-more")
    assert "hunter2" not in str(told(answered(path="/reset/hunter2-and-more")).__dict__)


def test_unless_all_are_wanted_only_the_next_few_are_told() -> None:
    assert told(answered(), always=False).all == []
    assert len(told(*[answered()] * 5, always=False, after_restart=3).all) == 3


def test_who_reads_the_lines_slowly_delays_nobody_and_is_told_what_was_left_out() -> None:
    narrator, reads = Told(), threading.Event()

    class Slow(Told):
        def note(self, text: str, event: str = "", **facts: object) -> None:
            reads.wait(10)
            narrator.note(text)

        def warn(self, text: str, event: str = "", **facts: object) -> None:
            narrator.warn(text)

    async def main() -> None:
        requests = Requests(Slow(), always=True)
        requests.heard(CLIENT, answered())
        await asyncio.sleep(0.05)  # it is being written now, and that does not end
        for _ in range(MOST + 7):
            requests.heard(CLIENT, answered())
        reads.set()
        while requests.writing:
            await requests.writing

    asyncio.run(main())
    assert len(narrator.said("note")) == MOST + 1
    assert narrator.said("warn") == ["7 requests are not shown: there were too many at once"]

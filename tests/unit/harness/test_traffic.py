"""What the traffic meter's lines come to, and that its program sends on schedule whatever became of the others."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.e2e.faults.traffic import PROGRAM, Meter, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OFFSET = 100.0


def line(t: float, **fields: object) -> str:
    given = {"took": 0.5, "kind": "new", "ok": True, "who": "version=1", "error": "", "connection": 1}
    return json.dumps({"t": t, **given, **fields}) + "\n"


def meter_of(*lines: str) -> Meter:
    text = json.dumps({"began": 5.0}) + "\n" + "".join(lines)
    return Meter(lambda: text, OFFSET).look()


def test_times_are_those_of_the_test_s_clock() -> None:
    assert meter_of(line(1.0)).requests == [Request(began=106.0, took=0.5, ok=True, kind="new", who="version=1")]


def test_a_line_that_is_half_written_is_left_for_the_next_look() -> None:
    assert len(meter_of(line(0), line(1)[:20]).requests) == 1


def test_a_second_look_counts_nothing_twice() -> None:
    assert len(meter_of(line(0), line(1)).look().requests) == 2


def test_the_meter_has_ended_when_its_summary_is_there() -> None:
    assert meter_of(line(0)).late is None
    assert meter_of(line(0), '{"requests": 1, "failed": 0, "late": 0.25}\n').late == 0.25


def test_requests_are_judged_by_kind() -> None:
    meter = meter_of(line(0), line(1, ok=False, error="refused"), line(2, ok=False, error="timeout", kind="kept"))
    assert [one.error for one in meter.failed()] == ["refused", "timeout"]
    assert [one.error for one in meter.failed("kept")] == ["timeout"]
    assert len(meter.answered_by("version=")) == 1


def test_the_gap_is_between_answers_and_reaches_from_the_start_to_the_last_request() -> None:
    assert meter_of(line(0), line(3), line(3.2)).gap() == pytest.approx(3)
    assert meter_of(line(2), line(3)).gap() == pytest.approx(2.5)
    assert meter_of(line(0), line(9, ok=False)).gap() == pytest.approx(8.5)
    assert meter_of(line(0, took=7.0), line(0.5)).gap() == pytest.approx(6)
    assert meter_of(line(1), line(0.4, took=0, kind="kept")).gap("kept") == pytest.approx(0.6)


def test_the_first_success_after_a_moment_was_sent_after_it() -> None:
    meter = meter_of(line(0, took=9.0), line(1, ok=False), line(2, who="laptop"), line(3))
    assert meter.first_success_after(OFFSET + 5.5).who == "laptop"
    with pytest.raises(AssertionError, match="no success"):
        meter.first_success_after(OFFSET + 50)


# -- the program ---------------------------------------------------------------------------------------------------
class Handler(BaseHTTPRequestHandler):
    """Answers, but holds the first request until the server's ``enough`` is set; /bad is an error; /closing closes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.count += 1
        if server.count == 1:
            server.enough.wait(10)
        body = b"version=7\nmore\n"
        self.send_response(503 if self.path == "/bad" else 200)
        self.send_header("Content-Length", str(len(body)))
        if self.path == "/closing":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    count = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.enough = threading.Event()


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})  # noqa: TID251
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def measured(server: Server, path: str, *options: str, lines: int, then: Callable[[], object] = int) -> Meter:
    """What the program tells when it is ended, as the tests do it, after so many lines and ``then``."""
    command = [sys.executable, str(PROGRAM), f"http://127.0.0.1:{server.server_port}{path}", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        told = "".join(process.stdout.readline() for _ in range(lines))
        then()
        process.terminate()
        rest, _ = process.communicate(timeout=10)
    return Meter(lambda: told + rest, 0).look()


def test_a_request_that_is_held_stops_no_other_and_counts_with_its_time() -> None:
    with serving() as server:
        meter = measured(server, "/", "--new=100", "--kept=0.1", lines=20, then=server.enough.set)
    assert meter.late is not None
    assert meter.failed() == []
    assert max(one.took for one in meter.requests) > 0.1
    assert {one.who for one in meter.requests} == {"version=7"}


def test_a_kept_connection_is_kept_until_it_is_closed() -> None:
    for path, kept in (("/", True), ("/closing", False)):
        with serving() as server:
            server.enough.set()
            meter = measured(server, path, "--new=50", "--kept=50", lines=20)
        assert ({one.connection for one in meter.of("kept")} == {1}) is kept
        assert meter.failed() == []


def test_failures_have_names() -> None:
    with serving() as server:
        server.enough.set()
        errors = [measured(server, "/bad", lines=5).failed()[0].error]
    errors.append(measured(server, "/", lines=5).failed()[0].error)
    with serving() as server:
        errors.append(measured(server, "/", "--timeout=0.1", lines=20, then=server.enough.set).failed()[0].error)
    assert errors == ["status 503", "refused", "timeout"]

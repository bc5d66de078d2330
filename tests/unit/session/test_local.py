"""A session's socket: two real ends, one on the event loop, as in bridge, the other one a terminal's."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import pytest

from bridge.errors import BridgeError, ClusterError
from bridge.paths import session_socket
from bridge.session import local
from bridge.session import visiting as visiting_module
from bridge.session.local import Status, serving
from bridge.session.look import leave, local_status
from bridge.session.store import process_start, this_laptops_store
from bridge.session.visiting import Gone, Visitor
from bridge.tunnel.loop import EventLoop
from tests.unit.session.test_store import a_session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

STATUS = Status(
    session="abcd2345", target="deployment/tasks", namespace="shop", context="kind", state="connected", pod="p",
    command=("python", "app.py"), pid=os.getpid(), process=7, age=1.5, protection="keeper", guard="armed",
    round_trip=0.01, connections_in=1, connections_out=2, held=0, bytes_in=3, bytes_out=4, reconnects=0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


async def no_way_in() -> list[int]:
    raise BridgeError("the session is just starting", hint="Try again.")


@contextmanager
def served(
    status: Callable[[], Status] = lambda: STATUS,
    leave: Callable[[], object] = lambda: None,
    way_in: Callable[[], Awaitable[list[int]]] | None = None,
) -> Iterator[EventLoop]:
    """This process as a bridge, on its loop."""

    async def serve(ready: asyncio.Future[None]) -> None:
        async with serving(status, leave, {"enter": way_in or no_way_in}):
            ready.set_result(None)
            await asyncio.get_running_loop().create_future()

    async def begin() -> asyncio.Task[None]:
        ready = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(serve(ready))
        await ready
        return task

    async def end(task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with EventLoop() as loop:
        task = loop.run(begin())
        try:
            yield loop
        finally:
            loop.run(end(task))


@contextmanager
def visiting() -> Iterator[Visitor]:
    visitor = Visitor(os.getpid())
    try:
        yield visitor
    finally:
        visitor.close()


def test_a_status_is_told_with_its_version() -> None:
    with served(), visiting() as visitor:
        answer = visitor.ask("status")
        assert answer == {"version": 1, **STATUS.render(), "command": ["python", "app.py"]}
        assert set(answer) == {"version", *(field.name for field in fields(Status))}


def test_each_question_is_answered_as_it_is_then() -> None:
    now = [STATUS]
    with served(lambda: now[0]), visiting() as visitor:
        assert visitor.ask("status")["state"] == "connected"
        now[0] = replace(STATUS, state="reconnecting")
        assert visitor.ask("status")["state"] == "reconnecting"


def test_leaving_is_passed_on() -> None:
    left: list[int] = []
    with served(leave=lambda: left.append(1)), visiting() as visitor:
        assert visitor.ask("leave") == {"leaving": True}
        assert left == [1]


def test_a_wish_that_is_not_known_is_answered_and_the_next_one_heard() -> None:
    with served(), visiting() as visitor:
        assert visitor.ask("dance") == {"error": "nothing is known of 'dance'"}
        assert visitor.ask("status")["state"] == "connected"


def test_who_enters_gets_descriptors_which_the_session_does_not_keep() -> None:
    read, write = os.pipe()

    async def way_in() -> list[int]:
        return [read, write]

    with served(way_in=way_in), visiting() as visitor:
        assert visitor.ask("status")["state"] == "connected"
        its_read, its_write = visitor.ask_descriptors("enter")
        os.write(its_write, b"through")
        os.close(its_write)
        assert os.read(its_read, 100) == b"through"
        assert os.read(its_read, 100) == b""  # no other descriptor of the writing end is open
        assert not os.get_inheritable(its_read)
        os.close(its_read)
        assert visitor.ask("status")["state"] == "connected"


def test_why_nobody_can_enter_is_told() -> None:
    with served(), visiting() as visitor:
        with pytest.raises(BridgeError, match="just starting") as caught:
            visitor.ask_descriptors("enter")
        assert caught.value.hint == "Try again."
        assert visitor.ask("status")["state"] == "connected"


@pytest.mark.parametrize("garbage", [b"\n", b"\xff\xfe\n", b"[]\n", b"7\n", b'"do"\n', b"{\n", b'{"do": {}}\n'])
def test_garbage_is_answered_with_an_error(garbage: bytes) -> None:
    with served(), socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(session_socket(os.getpid(), os.environ)))
        sock.sendall(garbage)
        assert "error" in json.loads(sock.recv(4096))


def test_a_line_without_end_is_no_visit() -> None:
    with served():
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(str(session_socket(os.getpid(), os.environ)))
            try:
                sock.sendall(b"x" * (local.LONGEST_LINE * 4))
                assert sock.recv(1) == b""
            except ConnectionError:  # it did not even read all of it
                pass
        with visiting() as visitor:
            assert visitor.ask("status")["state"] == "connected"


def test_a_status_that_fails_ends_the_visit_at_once() -> None:
    def fail() -> Status:
        raise ZeroDivisionError

    failures: list[object] = []
    with served(fail) as loop:
        loop.loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
        with visiting() as visitor, pytest.raises(Gone):
            visitor.ask("status")
    assert isinstance(failures[0], ZeroDivisionError)


def test_two_visitors_do_not_hinder_each_other() -> None:
    with served(), visiting() as one, visiting() as two:
        assert one.ask("status") == two.ask("status") == one.ask("status")


def test_only_the_user_may_open_it_and_it_goes_with_the_session() -> None:
    with served():
        path = session_socket(os.getpid(), os.environ)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()
    with pytest.raises(Gone):
        Visitor(os.getpid())


def test_a_socket_that_a_dead_bridge_of_the_same_pid_has_left_is_replaced() -> None:
    path = session_socket(os.getpid(), os.environ)
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    with pytest.raises(Gone):
        Visitor(os.getpid())
    with served(), visiting() as visitor:
        assert visitor.ask("status")["state"] == "connected"


def test_a_bridge_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visiting_module, "ANSWERS_WITHIN", 0.1)
    path = session_socket(os.getpid(), os.environ)
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(str(path))
        stopped.listen()
        with visiting() as visitor, pytest.raises(Gone, match="does not answer"):
            visitor.ask("status")


def test_the_end_of_the_bridge_is_waited_for() -> None:
    with served():
        visitor = Visitor(os.getpid())
        assert not visitor.wait_until_gone(0.05)
        visitor.close()
        visitor = Visitor(os.getpid())
    assert visitor.wait_until_gone(5)
    visitor.close()


# ---- with another process as the bridge -----------------------------------------------------------------------------
BRIDGE = """
import asyncio, sys
from bridge.session.local import serving
from bridge.session.store import this_laptops_store
from tests.unit.session.test_local import STATUS, no_way_in

async def main():
    left = asyncio.Event()
    async with serving(lambda: STATUS, left.set, {"enter": no_way_in}):
        print("ready", flush=True)
        await left.wait()
        if sys.argv[1:]:
            this_laptops_store().remove(STATUS.session)

asyncio.run(main())
"""


@contextmanager
def a_bridge(*, restores: bool = True) -> Iterator[subprocess.Popen[str]]:
    """A process that ends when it is told to, and its record on the disk; ``restores``: which goes before it does."""
    command = [sys.executable, "-c", BRIDGE, *(["restores"] if restores else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        assert process.stdout.readline() == "ready\n"
        this_laptops_store().write(a_session(pid=process.pid, started=process_start(process.pid)))
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_status_asks_the_bridge_itself() -> None:
    with a_bridge() as process:
        (status,) = local_status()
        assert status == {**STATUS.render(), "command": ["python", "app.py"]} | {"pid": status["pid"]}
        process.kill()
        process.wait()
        (status,) = local_status()
        assert status["state"] == "dead"


def test_leaving_waits_for_the_end_and_says_what_was_left() -> None:
    with a_bridge() as process:
        assert leave("tasks", timeout=10) == "left deployment/tasks (session abcd2345): everything is as it was"
        assert process.wait(10) == 0


def test_leaving_sees_what_was_not_put_back() -> None:
    with a_bridge(restores=False) as process:
        with pytest.raises(ClusterError, match="not everything could be put back") as caught:
            leave("tasks", timeout=10)
        assert "bridge restore deployment/tasks --namespace shop" in caught.value.hint
        assert process.wait(10) == 0


def test_leaving_says_when_it_takes_too_long() -> None:
    this_laptops_store().write(a_session())
    with served(), pytest.raises(ClusterError, match=r"has not ended within 0\.05 s"):
        leave("tasks", timeout=0.05)

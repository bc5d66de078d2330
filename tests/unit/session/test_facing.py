"""The line between the bridge at the terminal and the one that holds the session, with both of its ends."""

from __future__ import annotations

import os
import queue
import signal
import socket
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bridge.laptop import messages
from bridge.session.aftermath import Log
from bridge.session.entered import Entered
from bridge.session.facing import Facing
from bridge.session.inbox import Exited, Inbox, SignalCame
from bridge.session.signals import SignalReceived, Signals
from bridge.tunnel.loop import EventLoop
from tests.unit.session.telling import Speechless, Told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.session.narrator import Narrator


@dataclass
class Box:
    """A sandbox that notes its end."""

    ended: list[str]

    def end(self, *, grace: float) -> None:
        self.ended.append(f"all, within {grace} s")


class Line:
    """Both ends; ``facing`` hears on its loop."""

    def __init__(self, loop: EventLoop, facing: Facing, there: socket.socket, log: Narrator) -> None:
        self.loop, self.facing, self.there, self.log = loop, facing, there, log
        self.inbox = Inbox()
        self.ended: list[str] = []

    def entered(self) -> Entered:
        """The process of a run, which is told of."""

        async def way_in() -> list[int]:
            return [os.open(os.devnull, os.O_RDONLY)]

        entered = Entered("python", self.facing, way_in, box=Box(self.ended), loop=self.loop, inbox=self.inbox)  # type: ignore[arg-type]
        self.facing.hear(entered.heard)
        return entered

    def hears(self) -> dict[str, Any]:
        message, descriptors = messages.receive(self.there)
        for each in descriptors:
            os.close(each)
        return message | ({"descriptors": len(descriptors)} if descriptors else {})

    def says(self, **message: object) -> None:
        messages.send(self.there, message)


@pytest.fixture
def line() -> Iterator[Line]:
    with _line(Told()) as made:
        yield made


@contextmanager
def _line(log: Narrator) -> Iterator[Line]:
    ours, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    there.settimeout(5)
    with EventLoop() as loop, there:
        facing = Facing(ours, key="k", at_terminal=True, log=log)
        loop.call(facing.listen)
        try:
            yield Line(loop, facing, there, log)
        finally:
            loop.run(_called(facing.leave))


def test_a_process_is_started_there_told_of_signals_and_told_to_have_ended(line: Line) -> None:
    entered = line.entered()
    started: queue.SimpleQueue[int] = queue.SimpleQueue()
    entered.started = lambda: started.put(entered.pid)
    entered.begin({})
    assert line.hears() == {"enter": True, "descriptors": 1}
    line.says(started=4711)
    assert started.get(timeout=5) == 4711
    assert line.hears() == {"tell": ["done", "started python (pid 4711)", "started", {"pid": 4711}]}
    line.says(signal=2)
    assert line.inbox.get() == SignalCame(signal.SIGINT)
    entered.signal(signal.SIGTERM)
    assert line.hears() == {"signal": 15}
    line.says(exited=7)
    assert line.inbox.get() == Exited(7)
    assert entered.pid == 0


def test_a_process_that_was_killed_has_ended_whoever_tells(line: Line) -> None:
    """The bridge at the terminal may be stopped (Ctrl-Z)."""
    line.entered().end()
    assert line.ended == ["all, within 0 s"]
    assert line.inbox.get() == Exited(137)
    line.says(exited=143)
    line.says(signal=1)
    assert line.inbox.get() == SignalCame(signal.SIGHUP)  # the end was told once


def test_a_terminal_s_bridge_that_was_killed_ends_the_run_once(line: Line) -> None:
    line.entered()
    line.there.close()
    assert line.inbox.get() == Exited(137)
    assert line.inbox.get(0) is None


def test_a_log_that_can_not_be_written_keeps_no_run_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk: the session went on for ever."""
    full = Path("/dev/full").open("w")  # noqa: SIM115  # its close fails, too
    with _line(Log()) as line:
        monkeypatch.setattr("sys.stderr", full)
        line.entered()
        line.there.close()
        assert line.inbox.get(time.monotonic() + 5) == Exited(137)
        line.facing.warn("it goes on")
    with suppress(OSError):
        full.close()


def test_a_run_has_ended_whatever_becomes_of_telling_it() -> None:
    with _line(Speechless()) as line:
        line.entered()
        line.there.close()
        assert line.inbox.get(time.monotonic() + 5) == Exited(137)


def test_a_terminal_s_bridge_that_was_killed_before_its_run_could_hear_it_ends_the_run(line: Line) -> None:
    """Its end was heard when there was no run yet: nobody tells it again."""
    nobody: queue.SimpleQueue[object] = queue.SimpleQueue()
    line.facing.hear(nobody.put)
    line.there.close()
    assert nobody.get(timeout=5) is None
    line.entered().begin({})
    assert line.inbox.get(0) == Exited(137)


def test_a_terminal_s_bridge_that_can_not_be_told_to_start_the_process_is_not_waited_for(line: Line) -> None:
    while line.facing.say({"x": "x" * 1000}):
        pass
    line.entered().begin({})
    assert line.inbox.get(0) == Exited(137)


def test_without_one_the_account_goes_to_the_log(line: Line) -> None:
    line.facing.note("for the terminal")
    assert line.hears()["tell"][1] == "for the terminal"
    line.loop.run(_called(line.facing.leave))
    line.facing.doing("nothing that lasts")
    line.facing.warn("for the log")
    assert isinstance(line.log, Told)
    assert line.log.all == [("warn", "for the log")]


def test_another_one_may_come(line: Line) -> None:
    line.loop.run(_called(line.facing.leave))
    assert not line.facing.is_there
    heard: queue.SimpleQueue[object] = queue.SimpleQueue()
    with line.loop.run(_called(line.facing.accept, heard.put)) as there:
        messages.send(there, {"begin": {}})
        assert heard.get(timeout=5) == {"begin": {}}
        line.facing.done("hello")
        assert messages.receive(there)[0]["tell"][1] == "hello"


def test_one_that_is_stopped_holds_up_nobody(line: Line) -> None:
    for _ in range(10_000):
        line.facing.note("x" * 100)
    assert isinstance(line.log, Told)
    assert line.log.said("note")  # what it could not take


def test_while_the_session_is_made_a_signal_there_is_one_here() -> None:
    with Signals() as signals, _line(Told()) as line, pytest.raises(SignalReceived), signals.interruptible():
        line.says(signal=int(signal.SIGTERM))
        queue.SimpleQueue[None]().get(timeout=5)


async def _called(function: Any, *args: object) -> Any:
    return function(*args)

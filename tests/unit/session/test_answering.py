"""A session without a process of its own ends when it is told to, and says what it waits for."""

from __future__ import annotations

import signal
import time

import pytest

from bridge.laptop.process import Exit
from bridge.plan.ports import PortMap
from bridge.session.answering import NoProcess, OwnProcess
from bridge.session.inbox import Exited, Inbox, SessionOver
from bridge.session.supervise import Supervision
from bridge.session.wanted import Wanted
from bridge.tunnel.loop import EventLoop
from tests.unit.session.telling import Speechless, Told


def test_any_signal_ends_it() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        inbox = Inbox()
        NoProcess(Wanted([]), inbox, Told()).signal(number)
        assert inbox.get() == Exited(0)


def test_it_ends_when_the_session_is_over_and_can_not_be_begun_anew() -> None:
    inbox, told = Inbox(), Told()
    inbox.put(SessionOver("taken"))
    process = Supervision(NoProcess(Wanted([]), inbox, told), inbox, told, at_terminal=False, renew=lambda _: False)
    code = process.wait_until_ended()
    assert code == 0


def test_it_says_which_ports_it_waits_for() -> None:
    told = Told()
    ports = [PortMap(8080, 18080, "http", "container"), PortMap(9090, 9090, "", "container")]
    NoProcess(Wanted(ports), Inbox(), told).begin({})
    NoProcess(Wanted([]), Inbox(), told).begin({})
    waiting, joined = told.said("done")
    assert "listens on 18080 or 9090" in waiting
    assert "bridge exec" in joined


class Ended:
    """A process that has ended."""

    pid = 4711

    async def exited(self) -> Exit:
        return Exit(code=7)


class Box:
    """A sandbox in which it is started."""

    def start(self, *_: object) -> Ended:
        return Ended()


def test_a_process_has_ended_whatever_becomes_of_telling_it() -> None:
    inbox, told = Inbox(), Speechless()
    with EventLoop() as loop:
        process = OwnProcess(("true",), Box(), loop, inbox, told)  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="started true"):
            process.begin({})
        assert inbox.get(time.monotonic() + 5) == Exited(7)
    assert "the process has ended (exit code 7)" in told.said("done")

"""What the bridge at the terminal of `bridge run --linger` does with signals; real ones, and a real line."""

from __future__ import annotations

import os
import select
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from bridge.laptop import messages
from bridge.session import front as front_module
from bridge.session.front import Front
from bridge.session.request import RunRequest
from tests.unit.session.telling import Told

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = 4711  # a pid


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def front(line: socket.socket) -> Front:
    return Front(line, RunRequest(command=("app",), image="i", timeout=5, linger=60), Told())


@pytest.mark.parametrize("number", front_module.PASSED_ON)
def test_signals_are_noticed_instead_of_died_of(number: signal.Signals) -> None:
    with front_module._woken() as woken:
        os.kill(os.getpid(), number)
        assert list(os.read(woken, 10)) == [number]


def test_a_ctrl_c_is_heard_before_the_end_of_the_command_that_it_ended() -> None:
    """It was taken for one that came later, for a second one: the session was not kept, and bridge did not wait."""
    both = {signal.SIGINT, signal.SIGCHLD}
    with front_module._woken() as woken:
        signal.pthread_sigmask(signal.SIG_BLOCK, both)
        for number in (signal.SIGINT, signal.SIGCHLD):
            os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
        assert front_module._came(woken) == [signal.SIGINT, signal.SIGCHLD]


def test_sigquit_is_told_to_the_session_for_the_command_only(line: tuple[socket.socket, socket.socket]) -> None:
    here, there = line
    run = front(here)
    run._signalled(signal.SIGQUIT)
    assert not run.used
    assert select.select([there], [], [], 0)[0] == []
    run._pid = COMMAND
    run._signalled(signal.SIGQUIT)
    assert messages.receive(there) == ({"signal": signal.SIGQUIT}, [])
    run._pid, run._code = 0, 0
    run._signalled(signal.SIGQUIT)
    assert select.select([there], [], [], 0)[0] == []
    assert not run._over


def test_another_signal_ends_the_waiting_for_the_original(line: tuple[socket.socket, socket.socket]) -> None:
    run = front(line[0])
    run._code = 0
    run._signalled(signal.SIGINT)
    assert run._over


def test_a_command_that_is_not_wanted_any_more_is_not_started(line: tuple[socket.socket, socket.socket]) -> None:
    """A Ctrl-C at the terminal reaches the processes that are there: this one would go on."""
    here, there = line
    run = front(here)
    run._signalled(signal.SIGINT)
    assert messages.receive(there) == ({"signal": signal.SIGINT}, [])
    way_in = os.open(os.devnull, os.O_RDONLY)
    messages.send(there, {"enter": True}, [way_in, way_in])
    os.close(way_in)
    messages.send(there, {"kept": 60, "name": "tasks"})
    assert run.run() == 128 + signal.SIGINT
    assert messages.receive(there) == ({"exited": 128 + signal.SIGINT}, [])


def test_a_session_that_ends_instead_of_starting_what_is_not_wanted_does_not_give_it_its_exit_code(
    line: tuple[socket.socket, socket.socket],
) -> None:
    """It is the one of the run before."""
    here, there = line
    run = front(here)
    run._signalled(signal.SIGTERM)
    messages.send(there, {"over": 0})
    assert run.run() == 128 + signal.SIGTERM


def test_a_command_that_the_session_could_not_have_started_has_not_succeeded(
    line: tuple[socket.socket, socket.socket],
) -> None:
    here, there = line
    messages.send(there, {"kept": 60, "name": "tasks"})
    assert front(here).run() == 137

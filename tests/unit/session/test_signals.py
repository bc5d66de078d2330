"""Signals raise where a wait allows it, and nowhere else. Real signals, sent to this very process."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import RawIOBase
from typing import TYPE_CHECKING, Any

import pytest

from bridge.session import signals as signals_module
from bridge.session.signals import SignalReceived, Signals

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_a_signal_during_a_wait_ends_it() -> None:
    with Signals() as signals, pytest.raises(SignalReceived) as caught, signals.interruptible():
        send(signal.SIGTERM)
    assert caught.value.number is signal.SIGTERM


def test_a_signal_during_a_change_is_raised_at_the_next_wait() -> None:
    with Signals() as signals:
        send(signal.SIGINT)  # a change is going on: nothing is raised here
        with pytest.raises(SignalReceived), signals.interruptible():
            pytest.fail("the wait must not begin")


def test_a_signal_while_another_is_handled_does_not_raise_again() -> None:
    with Signals() as signals:
        with pytest.raises(SignalReceived), signals.interruptible():
            try:
                send(signal.SIGINT)
            finally:
                send(signal.SIGINT)  # the user is impatient: this must not break the way out
        signals.forget()
        with signals.interruptible():
            pass


class Response(RawIOBase):
    """Closed in Python when it is dropped, as urllib3's are; and just then a signal comes."""

    def close(self) -> None:
        send(signal.SIGINT)
        super().close()


def test_a_signal_that_was_swallowed_on_its_way_ends_the_wait_at_the_next_look() -> None:
    with Signals() as signals:
        with pytest.raises(SignalReceived) as caught, signals.interruptible():
            signals.look()
            Response()
            signals.look()
            pytest.fail("the wait must not go on")
        assert caught.value.number is signal.SIGINT
        signals.look()  # it was noticed
        with signals.interruptible():
            pass


def test_a_signal_that_was_swallowed_at_the_end_of_a_wait_ends_the_next() -> None:
    with Signals() as signals:
        with signals.interruptible():
            Response()
        signals.look()  # a change is going on
        with pytest.raises(SignalReceived), signals.interruptible():
            pytest.fail("the wait must not begin")


def test_a_wait_is_ended_at_whichever_step_of_its_beginning_a_signal_comes() -> None:
    for step in itertools.count():
        with (
            Signals() as signals,
            interrupted_at(step) as steps,
            pytest.raises(SignalReceived),
            signals.interruptible(),
        ):
            if len(steps) <= step:  # the wait has begun without it
                raise SignalReceived(signal.SIGTERM)
            pytest.fail(f"the signal in line {steps[step]} was overlooked")
        if len(steps) <= step:
            break
    assert step > 3


@contextmanager
def interrupted_at(step: int) -> Iterator[list[int]]:
    """Send a signal just before this line (by number, of those that are run) of the module; give the lines run."""
    lines: list[int] = []

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != signals_module.__file__:
            return None
        if event == "line":
            lines.append(frame.f_lineno)
            if len(lines) == step + 1:
                sys.settrace(None)
                send(signal.SIGINT)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


def test_signals_are_delivered_while_the_process_runs() -> None:
    received: list[signal.Signals] = []
    woken, wake = os.pipe2(os.O_NONBLOCK)
    with Signals() as signals:
        send(signal.SIGHUP)
        with signals.delivered_to(received.append, wake=wake):
            send(signal.SIGINT)
            assert list(os.read(woken, 10)) == [signal.SIGINT]
    assert received == [signal.SIGHUP, signal.SIGINT]
    assert signal.set_wakeup_fd(-1) == -1
    os.close(wake)
    os.close(woken)


class Over(BaseException):
    """What there is to look for has come."""


def test_while_signals_are_delivered_a_wait_is_ended_by_what_is_looked_for() -> None:
    received: list[signal.Signals] = []
    woken, wake = os.pipe2(os.O_NONBLOCK)

    def look() -> None:
        if received:
            raise Over

    with Signals() as signals, signals.delivered_to(received.append, wake=wake, look=look):
        with pytest.raises(Over), signals.interruptible():
            signals.look()
            send(signal.SIGTERM)
            with ThreadPoolExecutor(1) as other:
                other.submit(signals.look).result()  # it is not that thread's business
            signals.look()
        signals.look()  # a change is going on
    with signals.interruptible():
        signals.look()
    os.close(wake)
    os.close(woken)


def test_sigquit_is_for_the_process_and_ends_no_wait() -> None:
    received: list[signal.Signals] = []
    woken, wake = os.pipe2(os.O_NONBLOCK)
    with Signals() as signals:
        with signals.interruptible():
            send(signal.SIGQUIT)
        send(signal.SIGQUIT)
        with signals.interruptible():
            pass
        with signals.delivered_to(received.append, wake=wake):
            assert received == []
            send(signal.SIGQUIT)
    assert received == [signal.SIGQUIT]
    os.close(wake)
    os.close(woken)


def test_what_is_started_meanwhile_does_not_ignore_any_of_them() -> None:
    """A JVM that inherits an ignored SIGQUIT tells of no threads."""
    with Signals():
        status = subprocess.check_output(["cat", "/proc/self/status"], text=True)
    (ignored,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn:"))
    assert [number for number in signals_module.HANDLED if ignored >> (number - 1) & 1] == []


def test_handlers_are_put_back_and_ignored_signals_stay_ignored() -> None:
    before = signal.getsignal(signal.SIGINT)
    hup = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with Signals() as signals:
            send(signal.SIGHUP)
            with signals.interruptible():
                pass
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, hup)
    assert signal.getsignal(signal.SIGINT) is before

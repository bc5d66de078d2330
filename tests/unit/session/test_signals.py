"""Signals raise where a wait allows it, and nowhere else. Real signals, sent to this very process."""

from __future__ import annotations

import os
import signal

import pytest

from bridge.session.signals import SignalReceived, Signals


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


def test_signals_are_delivered_while_the_process_runs() -> None:
    received: list[signal.Signals] = []
    with Signals() as signals:
        send(signal.SIGHUP)
        with signals.delivered_to(received.append):
            send(signal.SIGINT)
    assert received == [signal.SIGHUP, signal.SIGINT]


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

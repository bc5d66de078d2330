"""The inbox hands over what happened, from any thread and from signal handlers."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from bridge.session.inbox import Exited, Inbox, Ready, SignalCame

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def handled(number: signal.Signals, inbox: Inbox) -> Iterator[None]:
    before = signal.signal(number, lambda *_: inbox.put(SignalCame(number)))
    former = signal.set_wakeup_fd(inbox.wake)
    try:
        yield
    finally:
        signal.set_wakeup_fd(former)
        signal.signal(number, before)


def test_what_was_put_comes_out_in_order() -> None:
    inbox = Inbox()
    for each in (Ready(), Exited(1), Ready()):
        inbox.put(each)
    assert [inbox.get() for _ in range(3)] == [Ready(), Exited(1), Ready()]


def test_what_matters_now_is_taken_out_of_the_order() -> None:
    inbox = Inbox()
    for each in (Ready(), SignalCame(signal.SIGINT), Exited(1), Ready()):
        inbox.put(each)
    assert inbox.take(Exited, SignalCame) == SignalCame(signal.SIGINT)
    assert inbox.take(Exited, SignalCame) == Exited(1)
    assert inbox.take(Exited, SignalCame) is None
    assert [inbox.get() for _ in range(2)] == [Ready(), Ready()]


def test_a_deadline_that_has_passed_still_hands_over_what_is_there() -> None:
    inbox = Inbox()
    inbox.put(Ready())
    assert inbox.get(deadline=time.monotonic() - 1) == Ready()
    assert inbox.get(deadline=time.monotonic() - 1) is None


def test_who_waits_is_woken_from_another_thread() -> None:
    inbox = Inbox()
    other = threading.Timer(0.02, lambda: inbox.put(Exited(3)))
    other.start()
    assert inbox.get() == Exited(3)
    other.join()


def test_a_signal_handler_may_put_while_the_main_thread_waits() -> None:
    inbox = Inbox()
    with handled(signal.SIGUSR1, inbox):
        other = threading.Timer(0.02, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        other.start()
        assert inbox.get(deadline=time.monotonic() + 10) == SignalCame(signal.SIGUSR1)
        other.join()


@pytest.fixture
def _switching() -> Iterator[None]:
    """Threads that ask for the GIL at once: whoever gives it up has to wait for another, as it begins a wait."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_switching")
def test_a_signal_that_comes_as_a_wait_begins_ends_it() -> None:
    """Its handler can't run before the wait, and has not interrupted it."""
    rounds = 500
    inbox, now = Inbox(), threading.Semaphore(0)

    def send() -> None:
        for _ in range(rounds):
            if not now.acquire(timeout=15):
                return  # the test has failed
            os.kill(os.getpid(), signal.SIGUSR1)

    with ThreadPoolExecutor(1) as other, handled(signal.SIGUSR1, inbox):
        other.submit(send)
        for _ in range(rounds):
            now.release()
            assert inbox.get(deadline=time.monotonic() + 10) == SignalCame(signal.SIGUSR1)

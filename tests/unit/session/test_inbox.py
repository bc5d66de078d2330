"""The inbox hands over what happened, from any thread and from signal handlers."""

from __future__ import annotations

import os
import signal
import threading
import time

from bridge.session.inbox import Exited, Inbox, Ready, SignalCame


def test_what_was_put_comes_out_in_order() -> None:
    inbox = Inbox()
    for each in (Ready(), Exited(1), Ready()):
        inbox.put(each)
    assert [inbox.get() for _ in range(3)] == [Ready(), Exited(1), Ready()]


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
    before = signal.signal(signal.SIGUSR1, lambda *_: inbox.put(SignalCame(signal.SIGUSR1)))
    try:
        other = threading.Timer(0.02, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        other.start()
        assert inbox.get(deadline=time.monotonic() + 10) == SignalCame(signal.SIGUSR1)
        other.join()
    finally:
        signal.signal(signal.SIGUSR1, before)

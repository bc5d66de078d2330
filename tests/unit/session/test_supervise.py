"""The table of what is done when something happens while the process runs."""

from __future__ import annotations

import signal
import threading

import pytest

from bridge.session.inbox import Exited, Happened, Inbox, Ready, SessionOver, SignalCame
from bridge.session.supervise import GRACE, Kill, LeaveToIt, PassOn, ProcessEnding, Supervision, Watch, act

INT, TERM, HUP = SignalCame(signal.SIGINT), SignalCame(signal.SIGTERM), SignalCame(signal.SIGHUP)
QUIT = SignalCame(signal.SIGQUIT)


def actions(watch: Watch, *timed: tuple[float, Happened | None]) -> list[object]:
    done: list[object] = []
    for now, happened in timed:
        watch, action = watch.after(happened, now)
        done.append(action)
    return done


def test_ctrl_c_at_a_terminal_is_left_to_the_process() -> None:
    assert actions(Watch(at_terminal=True), (0, INT), (10, INT), (20, INT)) == [LeaveToIt()] * 3


def test_ctrl_c_without_a_terminal_is_passed_on() -> None:
    assert actions(Watch(at_terminal=False), (0, INT)) == [PassOn(signal.SIGINT)]


def test_mashing_ctrl_c_ends_the_process_and_more_of_it_kills() -> None:
    mashed = [(n / 3, INT) for n in range(6)]
    assert actions(Watch(at_terminal=True), *mashed) == [
        *(LeaveToIt(), LeaveToIt(), PassOn(signal.SIGTERM)),
        *(LeaveToIt(), LeaveToIt(), Kill()),
    ]


def test_sigquit_is_the_processs_business_however_often_it_comes() -> None:
    often = [(n / 3, QUIT) for n in range(5)]
    assert actions(Watch(at_terminal=True), *often) == [None] * 5
    assert actions(Watch(at_terminal=False), *often) == [PassOn(signal.SIGQUIT)] * 5
    assert Watch(at_terminal=False).after(QUIT, 0)[0].kill_at is None


def test_a_signal_sent_to_bridge_and_to_its_group_is_one_wish() -> None:
    assert actions(Watch(at_terminal=False), (0, TERM), (0.01, TERM), (5, TERM)) == [
        PassOn(signal.SIGTERM),
        None,
        Kill(),
    ]


@pytest.mark.parametrize(("happened", "passed"), [(TERM, signal.SIGTERM), (HUP, signal.SIGHUP)])
def test_term_and_hup_are_passed_on_and_then_kill(happened: Happened, passed: signal.Signals) -> None:
    watch, action = Watch(at_terminal=True).after(happened, 100.0)
    assert action == PassOn(passed)
    assert watch.kill_at == 100.0 + GRACE
    assert watch.after(None, watch.kill_at)[1] == Kill()


def test_a_session_that_is_over_and_can_not_be_renewed_ends_the_process() -> None:
    assert actions(Watch(at_terminal=True), (0, SessionOver("taken"))) == [PassOn(signal.SIGTERM)]


class Recorder:
    """A process that only notes what is done to it, and a narrator that notes what is said."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def signal(self, number: signal.Signals) -> None:
        self.heard.append(number)

    def interrupted(self) -> None:
        self.heard.append("interrupted")

    def end(self) -> None:
        self.heard.append("end")

    def doing(self, text: str) -> None:
        self.heard.append(text)

    done = note = warn = doing


def supervised(*happened: Happened, renews: bool = True) -> tuple[int, list[object]]:
    """The exit code, and what was done to the process; what was renewed is in there as ``renew REASON``."""
    inbox, recorder = Inbox(), Recorder()
    for each in happened:
        inbox.put(each)

    def renew(over: SessionOver) -> bool:
        recorder.heard.append(f"renew {over.reason}")
        return renews

    process = Supervision(recorder, inbox, recorder, at_terminal=False, renew=renew)
    return process.wait_until_ended(), recorder.heard


def test_supervise_returns_the_exit_code_of_the_process() -> None:
    assert supervised(TERM, Exited(143)) == (143, [signal.SIGTERM])


def test_a_session_that_is_over_is_renewed_and_the_process_goes_on() -> None:
    assert supervised(SessionOver("restored"), Exited(0)) == (0, ["renew restored"])


def test_a_session_that_can_not_be_renewed_ends_the_process() -> None:
    assert supervised(SessionOver("taken"), Exited(143), renews=False) == (143, ["renew taken", signal.SIGTERM])


def test_that_the_session_is_over_can_be_told_twice_without_a_kill() -> None:
    """The guard says that it restores, and then that it has: the process keeps its time to end."""
    over = SessionOver("restoring")
    watch = Watch(at_terminal=True)
    assert actions(watch, (0, over), (0.1, over), (5, over), (9, over)) == [PassOn(signal.SIGTERM), None, None, None]


def test_a_process_that_ends_already_is_not_swapped_again() -> None:
    assert supervised(TERM, SessionOver("restored"), Exited(143)) == (143, [signal.SIGTERM])


def test_nothing_is_begun_for_a_process_that_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was swapped again where the target was made anew after the kill."""
    over = SessionOver("made anew")
    killed = actions(Watch(at_terminal=False), (0, TERM), (GRACE, None), (11, over), (12, TERM))
    assert killed == [PassOn(signal.SIGTERM), Kill(), None, Kill()]
    monkeypatch.setattr("bridge.session.supervise.AGAIN_AFTER", 0)
    code, heard = supervised(TERM, TERM, over, Exited(137))
    assert (code, heard[-1]) == (137, "end")


def test_ctrl_c_after_the_session_is_over_still_kills_in_the_end() -> None:
    assert actions(Watch(at_terminal=False), (0, SessionOver("taken")), (2, TERM)) == [PassOn(signal.SIGTERM), Kill()]


def waited(*happened: Happened, renews: bool = True, patience: float = 60) -> tuple[int | None, list[object]]:
    """As `supervised`, until the process accepts."""
    inbox, recorder = Inbox(), Recorder()
    for each in happened:
        inbox.put(each)

    def renew(over: SessionOver) -> bool:
        recorder.heard.append(f"renew {over.reason}")
        return renews

    process = Supervision(recorder, inbox, recorder, at_terminal=False, renew=renew)
    return process.wait_until_ready(patience=patience, remark=lambda: "slow"), recorder.heard


def test_waiting_ends_when_the_process_accepts_or_has_ended() -> None:
    assert waited(Ready()) == (None, [])
    assert waited(Exited(7), Ready()) == (7, [])
    assert waited(INT, Ready()) == (None, [signal.SIGINT])


def test_a_process_that_was_told_to_end_just_before_it_accepts_is_not_swapped_in() -> None:
    """It would be the end of waiting, and of the time after which it is killed."""
    assert waited(TERM, Ready(), Exited(143)) == (143, [signal.SIGTERM])


def test_a_session_that_is_over_before_the_process_accepts_is_renewed() -> None:
    assert waited(SessionOver("restored"), Ready()) == (None, ["renew restored"])
    assert waited(SessionOver("taken"), Exited(143), renews=False) == (143, ["renew taken", signal.SIGTERM])


def test_a_process_that_takes_long_to_accept_is_remarked_on_once() -> None:
    inbox, recorder = Inbox(), Recorder()
    other = threading.Timer(0.05, lambda: inbox.put(Ready()))
    other.start()
    process = Supervision(recorder, inbox, recorder, at_terminal=True, renew=lambda _: True)
    assert process.wait_until_ready(patience=0, remark=lambda: "slow") is None
    other.join()
    assert recorder.heard == ["slow"]


def test_a_process_that_does_not_end_in_time_is_killed() -> None:
    recorder = Recorder()
    act(Kill(), recorder, recorder)
    act(None, recorder, recorder)
    assert recorder.heard == ["the process did not end in time: it is killed", "end"]


# ---- while the cluster is waited for -----------------------------------------------------------------------------
def watched(*happened: Happened, at_terminal: bool = False) -> tuple[Supervision, Inbox, Recorder]:
    """A process to which this has happened meanwhile."""
    inbox, recorder = Inbox(), Recorder()
    for each in happened:
        inbox.put(each)
    return Supervision(recorder, inbox, recorder, at_terminal=at_terminal, renew=lambda _: True), inbox, recorder


def test_a_signal_is_heard_meanwhile_and_what_else_happened_is_left_for_later() -> None:
    process, inbox, recorder = watched(SessionOver("restored"), INT, Ready())
    process.look()
    assert recorder.heard == [signal.SIGINT]
    assert [inbox.get(), inbox.get()] == [SessionOver("restored"), Ready()]


def test_a_ctrl_c_that_the_process_outlives_does_not_end_the_wait() -> None:
    process, _, recorder = watched(INT, INT, at_terminal=True)
    process.look()
    assert recorder.heard == ["interrupted"] * 2


def test_the_process_s_end_ends_the_wait_and_its_exit_code_is_what_counts() -> None:
    process, _, recorder = watched(SessionOver("restored"), Exited(7))
    for _ in range(2):  # who overlooks it is told again
        with pytest.raises(ProcessEnding):
            process.look()
    assert process.wait_until_ended() == 7
    assert process.wait_until_ready(patience=None, remark=lambda: "slow") == 7
    assert recorder.heard == []


def test_a_process_that_was_told_to_end_is_not_waited_for_in_the_cluster() -> None:
    process, inbox, recorder = watched(TERM)
    with pytest.raises(ProcessEnding):
        process.look()
    inbox.put(Ready())  # it accepts all the same
    inbox.put(Exited(143))
    assert process.wait_until_ready(patience=None, remark=lambda: "slow") == 143
    assert recorder.heard == [signal.SIGTERM]


def test_a_process_that_ends_while_it_is_swapped_again_is_not_told_to_end() -> None:
    inbox, recorder = Inbox(), Recorder()

    def renew(_: SessionOver) -> bool:
        inbox.put(Exited(3))
        process.look()
        return pytest.fail("it goes on")

    process = Supervision(recorder, inbox, recorder, at_terminal=False, renew=renew)
    inbox.put(SessionOver("restored"))
    assert process.wait_until_ended() == 3
    assert recorder.heard == []

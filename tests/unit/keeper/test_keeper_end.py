"""Who ends when: the pod after SIGTERM, a process that is started anew, an SSH connection that has a successor."""

import sys
import time

import pytest
from keeper import control, takeover
from keeper.ending import Ending
from keeper.loop import Loop
from keeper.supervisor import Kept

from bridge.wire.messages import Guard, GuardState


def ends_after(events, *, linger, drain) -> float:
    """Seconds until the loop stops. ``events``: what happens when, called with the `Ending`."""
    loop, laptop = Loop(), [True]
    ending = Ending(loop, linger=linger, drain=drain, is_awaited=lambda: laptop[0])

    def leave() -> None:
        laptop[0] = False
        ending.left()

    calls = {"told": lambda: ending.begin(lambda: None), "left": leave}
    for after, event in events:
        loop.after(after, calls[event])
    began = time.monotonic()
    loop.run()
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("events", "linger", "drain", "expected"),
    [
        ([(0, "left"), (0, "told")], 0, 9, 0),
        ([(0, "left"), (0, "told")], 0.2, 9, 0.2),
        ([(0, "told"), (0.1, "left")], 0.2, 9, 0.2),
        ([(0, "told"), (0.2, "left")], 0.1, 9, 0.2),
        ([(0, "told")], 0, 0.2, 0.2),
        ([(0, "told")], 0.2, 0.1, 0.2),
        ([(0, "told"), (0.1, "told")], 9, 9, 0.1),
    ],
)
def test_it_goes_on_for_its_laptop_but_not_for_ever(events, linger, drain, expected):
    assert expected <= ends_after(events, linger=linger, drain=drain) < expected + 2


@pytest.mark.parametrize("state", GuardState)
def test_a_refusal_says_in_its_first_word_that_the_session_is_over(state):
    over = control.why_over(Guard(state, "why"))
    assert over == ("" if state in (GuardState.ARMED, GuardState.UNARMED) else f"{state.value}: why")
    assert control.why_over(None) == ""


def test_what_fails_for_ever_is_given_up_only_where_we_cannot_do_without(capsys):
    for hopeless, expected in ((True, 9), (False, 30)):
        loop, given_up, told = Loop(), [], []
        kept = Kept(loop, "it", lambda: 42, ended=told.append, hopeless=given_up.append if hopeless else None)
        while len(told) < 30 and not given_up:
            kept.ended("ended with status 1")
        assert len(told) == expected
        assert given_up == (
            ["it ended with status 1, 9 times in a row; its own words are in this log"] if hopeless else []
        )
    assert capsys.readouterr().out.splitlines()[-1].endswith("starting it again in 5 s")


def test_a_process_that_cannot_be_started_is_tried_again():
    loop, tries = Loop(), []

    def start() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        loop.stop()
        return 42

    kept = Kept(loop, "it", start)
    kept.start()
    loop.run()
    assert (len(tries), kept.pid) == (3, 42)


def test_the_other_end_of_a_connection_is_found_in_the_kernels_table():
    one, two = ("0100007F:C350", "0100007F:CB37") if sys.byteorder == "little" else ("7F000001:C350", "7F000001:CB37")
    rest = "00000000:00000000 00:00000000 00000000  4242        0"
    table = [
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n",
        f"   0: {two} 00000000:0000 0A {rest} 10 1\n",
        f"   1: {two} {one} 01 {rest} 11 1\n",
        f"   2: {one} {two} 06 {rest} 0 1\n",
        f"   3: {one} {two} 01 {rest} 12 1\n",
    ]
    laptop, keeper = ("127.0.0.1", 50000), ("127.0.0.1", 52023)
    assert takeover.inode_of(table, local=laptop, remote=keeper) == 12
    assert takeover.inode_of(table, local=keeper, remote=laptop) == 11
    assert takeover.inode_of(table, local=laptop, remote=("127.0.0.1", 1)) is None

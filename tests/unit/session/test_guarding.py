"""What the guard says is told once, and ends the session where it says so."""

from __future__ import annotations

import time

import pytest

from bridge.session.guarding import Guarding
from bridge.session.inbox import Inbox, SessionOver
from bridge.wire.messages import Guard, GuardState
from tests.unit.session.telling import Told


class World:
    def __init__(self) -> None:
        self.inbox, self.told = Inbox(), Told()
        self.taken: list[SessionOver] = []
        self.guarding = Guarding(self.inbox, self.told, 30, taken=self.taken.append)
        self.guarding.begin("s1")

    def happened(self) -> object:
        return self.inbox.get(deadline=time.monotonic())


def test_a_guard_that_is_armed_is_told_once() -> None:
    world = World()
    assert not world.guarding.armed
    for _ in range(2):
        world.guarding.said("s1", Guard(GuardState.ARMED))
    assert world.guarding.armed
    assert world.told.all == [
        ("done", "protection: keeper (puts the original back 30 s after this laptop is gone)"),
    ]
    assert world.happened() is None


def test_a_guard_that_is_not_says_why_and_what_then() -> None:
    world = World()
    world.guarding.said("s1", Guard(GuardState.UNARMED, "it may not patch deployments/web"))
    assert not world.guarding.armed
    (warning,) = world.told.said("warn")
    assert "it may not patch deployments/web" in warning
    assert "bridge restore" in warning


def test_a_guard_that_gets_its_rights_later_is_told_again() -> None:
    world = World()
    for state in (GuardState.UNARMED, GuardState.ARMED, GuardState.UNARMED):
        world.guarding.said("s1", Guard(state))
    assert [how for how, _ in world.told.all] == ["warn", "done", "warn"]


@pytest.mark.parametrize("state", [GuardState.RESTORING, GuardState.RESTORED])
@pytest.mark.parametrize("reason", ["", "by eve@desk"])
def test_a_guard_that_ends_the_session_is_told_to_the_main_thread(state: GuardState, reason: str) -> None:
    world = World()
    world.guarding.said("s1", Guard(GuardState.ARMED))
    world.guarding.said("s1", Guard(state, reason))
    assert world.happened() == SessionOver(reason or state.value, session="s1")
    assert not world.guarding.armed


def test_a_target_that_another_session_has_is_looked_at_and_never_swapped_again() -> None:
    world = World()
    world.guarding.said("s1", Guard(GuardState.TAKEN, "by eve@desk"))
    assert world.happened() is None
    assert world.taken == [SessionOver("by eve@desk", session="s1", again=False)]


def test_a_new_swap_has_to_hear_of_its_own_guard() -> None:
    world = World()
    world.guarding.said("s1", Guard(GuardState.ARMED))
    world.guarding.begin("s2")
    assert not world.guarding.armed
    world.guarding.said("s1", Guard(GuardState.ARMED))  # a late word
    assert not world.guarding.armed
    world.guarding.said("s2", Guard(GuardState.ARMED))
    assert world.guarding.armed


def test_what_joins_without_a_target_has_no_original_to_be_put_back() -> None:
    told = Told()
    guarding = Guarding(Inbox(), told, 30, taken=print, has_target=False)
    guarding.begin("s1")
    guarding.said("s1", Guard(GuardState.ARMED))
    assert told.said("done") == ["protection: keeper (removes the proxy pod 30 s after this laptop is gone)"]

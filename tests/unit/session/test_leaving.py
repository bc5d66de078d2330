"""How long a session waits for what is still under way in its proxy pod."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bridge.session import leaving
from bridge.session.leaving import Leaving

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Pod:
    """Stands in for event loop, tie and what else a `Leaving` is told: ``held`` connections until it is looked
    ``looks`` times."""

    relayed = ()
    unread = 0

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.held_at_the_end = -1

    @property
    def held(self) -> int:
        self.looks -= 1
        return max(0, self.looks)

    def rests(self, _now: float) -> bool:
        return not self.held

    def leave(self) -> None:
        pass

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        function(*arguments)

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run(coroutine)

    def leaving(self) -> Leaving:
        open_ = SimpleNamespace(closed=SimpleNamespace(done=lambda: False))
        lifeline: Any = SimpleNamespace(tie=SimpleNamespace(connection=open_, inbound=[self]), release=self._release)
        joined: Any = SimpleNamespace(hand_over=lambda _: None)
        stub: Any = self
        return Leaving(stub, stub, lifeline, joined, stub)

    async def _release(self) -> None:
        self.held_at_the_end = max(0, self.looks)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "LINGER", 0.0)


def test_the_pod_is_not_let_go_of_while_what_was_handed_over_is_still_held() -> None:
    pod = Pod(looks=5)
    leaving_ = pod.leaving()
    leaving_.hand_over(["10.0.0.9"])
    leaving_.finish()
    assert pod.held_at_the_end == 0


@pytest.mark.parametrize("originals", [None, []])
def test_nothing_is_waited_for_when_there_is_nobody_to_answer_it(originals: list[str] | None) -> None:
    pod = Pod(looks=5)
    leaving_ = pod.leaving()
    if originals is not None:
        leaving_.hand_over(originals)
    leaving_.finish()
    assert pod.held_at_the_end == 5

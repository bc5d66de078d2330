"""The lifeline mends the tie whatever fails on the way, and ends only with the session.

Its ties are stand-ins here, so that each order of events can be had; `tests/component/session` has real ones.
"""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import ClusterError, TunnelError
from bridge.session.lifeline import Lifeline, Over
from bridge.session.tie import Trouble
from bridge.tunnel.keeper import Refused
from bridge.tunnel.lanes import Lanes
from bridge.tunnel.line import Line
from bridge.tunnel.ssh import Statistics
from tests.unit.session.telling import Told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

CUT = Trouble("the stream was cut")
SILENT = Trouble("silence", silent=True)
ENDING = Trouble("told to end", goes_on=True)


class FakeConnection:
    """As much of a connection as the line looks at without using it."""

    statistics = Statistics(
        bytes_in=0,
        bytes_out=0,
        channels=0,
        channels_opened=0,
        key_exchanges=0,
        round_trip=0.0,
        shortest_round_trip=0.0,
    )

    def __init__(self) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class FakeTie:
    """A tie whose troubles and echo come when the test says so."""

    def __init__(self, pod: str = "p1") -> None:
        self.pod = pod
        self.connection = FakeConnection()
        self.lanes = Lanes(self.connection)
        self.keeper = self
        self.open = True
        self.troubles: asyncio.Queue[Trouble | Exception | None] = asyncio.Queue()
        self.echo = asyncio.Event()
        self.rest = asyncio.Event()
        self.within = 0.0

    async def trouble(self) -> Trouble | None:
        trouble = await self.troubles.get()
        if isinstance(trouble, Exception):
            raise trouble
        return trouble

    async def ping(self) -> float:
        await self.echo.wait()
        if not self.open:
            raise TunnelError("gone")
        return 0.1

    async def rested(self, within: float) -> None:
        self.within = within
        await self.rest.wait()

    def abort(self) -> None:
        self.open = False

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.open = False


class World:
    """A lifeline that holds a first tie; ``answers`` are what `another` does in turn, the last one for ever."""

    def __init__(self, *answers: FakeTie | Exception | Callable[[], Awaitable[FakeTie]]) -> None:
        self.answers = list(answers)
        self.told = Told()
        self.overs: list[str] = []
        self.asked: list[str] = []
        self.line = Line()
        self.first = FakeTie("p0")
        self.lifeline = Lifeline(self.line, self.another, self.overs.append, self.told)

    async def another(self, not_to: str) -> Any:
        self.asked.append(not_to)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return await answer() if callable(answer) else answer

    async def hold(self) -> None:
        await self.lifeline.hold(self.first)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run it; no task may be left over, and no exception of one may have gone unnoticed."""
    unnoticed: list[Any] = []

    async def checked() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unnoticed.append(context))
        async with asyncio.timeout(10):
            await main
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left
        gc.collect()

    asyncio.run(checked())
    assert not unnoticed, unnoticed


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110  # bounded by `run`
        await asyncio.sleep(0.001)


def test_it_keeps_the_line_up_with_the_tie_that_it_holds() -> None:
    async def main() -> None:
        world = World(FakeTie())
        assert world.lifeline.state == "starting"
        await world.hold()
        assert world.line.connection is world.first.connection
        assert (world.lifeline.state, world.lifeline.tie) == ("connected", world.first)
        await world.lifeline.release()
        assert not world.first.open
        assert world.line.connection is None

    run(main())


def test_a_tie_that_is_lost_is_followed_by_another() -> None:
    async def main() -> None:
        second = FakeTie("p0")
        world = World(second)
        await world.hold()
        world.first.troubles.put_nowait(CUT)
        await until(lambda: world.lifeline.tie is second)
        assert world.line.connection is second.connection
        assert not world.first.open
        assert world.line.totals.reconnects == 1
        assert world.told.said("warn") == ["the stream was cut; the process goes on, reconnecting"]
        assert world.told.said("done")[0].startswith("connected again to p0 after ")
        await world.lifeline.release()
        assert not second.open

    run(main())


def test_it_mends_again_and_again() -> None:
    async def main() -> None:
        ties = [FakeTie(str(number)) for number in range(5)]
        world = World(*ties)
        await world.hold()
        for lost, found in zip([world.first, *ties], ties, strict=False):
            lost.troubles.put_nowait(CUT)
            await until(lambda found=found: world.lifeline.tie is found)
        assert world.line.totals.reconnects == 5
        await world.lifeline.release()

    run(main())


@pytest.mark.parametrize(
    "failure",
    [ClusterError("no answer"), TunnelError("reset"), OSError(101, "unreachable"), TimeoutError(), ConnectionError()],
)
def test_a_try_that_fails_is_followed_by_another(failure: Exception) -> None:
    async def main() -> None:
        second = FakeTie()
        world = World(failure, failure, second)
        await world.hold()
        world.first.troubles.put_nowait(CUT)
        await until(lambda: world.lifeline.tie is second)
        assert len(world.asked) == 3
        assert world.overs == []
        await world.lifeline.release()

    run(main())


def test_a_bug_in_a_try_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        second = FakeTie()
        world = World(KeyError("nodeName"), ZeroDivisionError(), second)
        await world.hold()
        world.first.troubles.put_nowait(CUT)
        await until(lambda: world.lifeline.tie is second)
        await world.lifeline.release()

    run(main())
    assert "KeyError" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_bug_in_watching_a_tie_is_logged_and_ends_the_session_aloud(caplog: pytest.LogCaptureFixture) -> None:
    """Main begins it anew then: anything but a process that waits for ever for a tunnel nobody looks after."""

    async def main() -> None:
        world = World(FakeTie())
        await world.hold()
        world.first.troubles.put_nowait(KeyError("x"))
        await until(lambda: world.overs)
        assert "KeyError" in world.overs[0]
        assert world.lifeline.state == "over"
        await world.lifeline.release()

    run(main())
    assert "KeyError" in caplog.text


def test_a_session_that_is_over_is_told_once_and_no_more_tried() -> None:
    async def main() -> None:
        world = World(ClusterError("not yet"), Over("its objects are gone"), FakeTie())
        await world.hold()
        world.first.troubles.put_nowait(CUT)
        await until(lambda: world.overs)
        assert world.overs == ["its objects are gone"]
        assert world.lifeline.state == "over"
        assert world.line.connection is None
        world.first.troubles.put_nowait(CUT)
        await asyncio.sleep(0)
        assert (len(world.asked), len(world.overs)) == (2, 1)
        await world.lifeline.release()

    run(main())


@pytest.mark.parametrize("reason", ["restoring: silent for 30 s", "restored: silent for 30 s", "taken: by eve@desk"])
def test_a_keeper_that_ends_the_session_is_believed_at_once(reason: str) -> None:
    async def main() -> None:
        world = World(FakeTie())
        await world.hold()
        world.first.troubles.put_nowait(Trouble("the keeper ends the connection", refused=reason))
        await until(lambda: world.overs)
        assert (world.overs, world.asked) == ([reason], [])
        await world.lifeline.release()

    run(main())


def test_a_keeper_that_tells_it_when_bridge_comes_back_is_believed_too() -> None:
    """The laptop slept, the stream broke, and meanwhile the keeper has restored."""

    async def main() -> None:
        reason = "restored: silent for 30 s"
        world = World(Refused(f"the keeper ends the connection: {reason}", reason=reason))
        await world.hold()
        world.first.troubles.put_nowait(CUT)
        await until(lambda: world.overs)
        assert world.overs == [reason]
        await world.lifeline.release()

    run(main())


def test_any_other_refusal_is_tried_again() -> None:
    async def main() -> None:
        second = FakeTie()
        world = World(Refused("it ends", reason="a newer connection took over"), second)
        await world.hold()
        world.first.troubles.put_nowait(Trouble("it ends", refused="a newer connection took over"))
        await until(lambda: world.lifeline.tie is second)
        await world.lifeline.release()

    run(main())


def test_a_silent_tie_that_answers_is_taken_back() -> None:
    async def main() -> None:
        world = World(ClusterError("the network is away"))
        await world.hold()
        world.first.troubles.put_nowait(SILENT)
        await until(lambda: world.asked)
        assert world.lifeline.state == "reconnecting"
        assert world.line.connection is None
        world.first.echo.set()
        await until(lambda: world.lifeline.state == "connected")
        assert world.line.connection is world.first.connection
        assert world.first.open
        assert world.told.said("done")[0].startswith("answers again after ")
        world.first.troubles.put_nowait(SILENT)  # and it is watched again
        await until(lambda: world.lifeline.state == "reconnecting" or len(world.told.said("warn")) == 2)
        await world.lifeline.release()

    run(main())


def test_a_silent_tie_that_dies_meanwhile_is_not_taken_back() -> None:
    async def main() -> None:
        second = FakeTie()
        world = World(ClusterError("away"), ClusterError("away"), second)
        await world.hold()
        world.first.troubles.put_nowait(SILENT)
        await until(lambda: world.asked)
        world.first.open = False
        world.first.echo.set()  # the ping ends, with an error
        await until(lambda: world.lifeline.tie is second)
        await world.lifeline.release()

    run(main())


def test_a_tie_that_was_cut_is_not_asked_for_an_echo() -> None:
    async def main() -> None:
        second = FakeTie()
        world = World(ClusterError("away"), second)
        await world.hold()
        world.first.echo.set()
        world.first.troubles.put_nowait(CUT)
        await until(lambda: world.lifeline.tie is second)
        await world.lifeline.release()

    run(main())


def test_a_pod_that_ends_serves_until_its_successor_does() -> None:
    async def main() -> None:
        come, second = asyncio.Event(), FakeTie("p1")

        async def later() -> FakeTie:
            await come.wait()
            return second

        world = World(ClusterError("the proxy pod is being made anew"), later)
        await world.hold()
        world.first.troubles.put_nowait(ENDING)
        await until(lambda: len(world.asked) == 2)
        assert world.asked == ["p0", "p0"]  # not to the one that ends
        assert world.line.connection is world.first.connection
        assert world.first.open
        come.set()
        await until(lambda: world.lifeline.tie is second)
        assert world.line.connection is second.connection
        await world.lifeline.release()

    run(main())


def test_a_pod_whose_end_is_over_may_be_there_again() -> None:
    """A node that boots again has the same pods: what was told to end is a pod of that name all the same."""

    async def main() -> None:
        second = FakeTie("p0")

        async def booted() -> FakeTie:
            assert world.asked[-1] == ""
            return second

        world = World(ClusterError("there is no proxy pod"), booted)
        await world.hold()
        world.first.connection.closed.set_result(None)
        world.first.troubles.put_nowait(ENDING)
        await until(lambda: world.lifeline.tie is second)
        await world.lifeline.release()

    run(main())


async def seeing_off(world: World, second: FakeTie) -> None:
    """Have the first tie's pod end; return when the second has taken its place."""
    await world.hold()
    world.first.troubles.put_nowait(ENDING)
    await until(lambda: world.lifeline.tie is second and world.first.within)
    assert world.first.open
    assert world.line.connection is second.connection


def test_what_is_open_on_a_pod_that_ends_comes_to_its_end_before_the_pods_keeper_does() -> None:
    async def main() -> None:
        second = FakeTie("p1")
        world = World(second)
        await seeing_off(world, second)
        assert 0 < world.first.within <= 10
        assert world.lifeline.state == "connected"
        world.first.rest.set()
        await until(lambda: not world.first.open)
        assert (world.lifeline.tie, second.open) == (second, True)
        await world.lifeline.release()

    run(main())


def test_pods_that_end_one_after_another_are_each_seen_off() -> None:
    async def main() -> None:
        second, third = FakeTie("p1"), FakeTie("p2")
        world = World(second, third)
        await seeing_off(world, second)
        second.troubles.put_nowait(ENDING)
        await until(lambda: world.lifeline.tie is third and second.within)
        assert (world.first.open, second.open) == (True, True)
        second.rest.set()
        await until(lambda: not second.open)
        assert world.first.open
        await world.lifeline.release()
        assert not world.first.open

    run(main())


@pytest.mark.parametrize("how", ["release", "drop", "hold"])
def test_what_is_being_seen_off_ends_with_the_tie_that_followed_it(how: str) -> None:
    async def main() -> None:
        second, third = FakeTie("p1"), FakeTie("p2")
        world = World(second)
        await seeing_off(world, second)
        await (world.lifeline.hold(third) if how == "hold" else getattr(world.lifeline, how)())
        assert not world.first.open
        await world.lifeline.release()

    run(main())


def test_what_is_being_seen_off_ends_with_the_session() -> None:
    async def main() -> None:
        second = FakeTie("p1")
        world = World(second)
        await seeing_off(world, second)
        second.troubles.put_nowait(Trouble("it ends", refused="taken: by eve@desk"))
        await until(lambda: world.overs)
        await until(lambda: not world.first.open)
        await world.lifeline.release()

    run(main())


def test_a_session_that_ends_lets_what_is_being_seen_off_come_to_its_end() -> None:
    async def main() -> None:
        second = FakeTie("p1")
        world = World(second)
        await seeing_off(world, second)
        await world.lifeline.let_be()
        assert world.first.open
        await world.lifeline.release()
        assert not world.first.open

    run(main())


def test_holding_another_tie_ends_the_care_for_the_first() -> None:
    async def main() -> None:
        world = World(ClusterError("away"))
        await world.hold()
        world.first.troubles.put_nowait(CUT)
        await until(lambda: world.asked)
        second = FakeTie()
        await world.lifeline.drop()
        await world.lifeline.hold(second)
        tries = len(world.asked)
        await asyncio.sleep(0)
        assert (len(world.asked), world.lifeline.tie) == (tries, second)
        assert not world.first.open
        await world.lifeline.release()

    run(main())


def test_a_session_that_ends_is_mended_no_more() -> None:
    async def main() -> None:
        world = World(FakeTie())
        await world.hold()
        await world.lifeline.let_be()
        world.first.troubles.put_nowait(CUT)
        await asyncio.sleep(0)
        assert world.asked == []
        await world.lifeline.release()
        await world.lifeline.release()  # more often does no harm

    run(main())


@settings(deadline=None, max_examples=150)
@given(
    trouble=st.sampled_from([CUT, SILENT, ENDING]),
    failures=st.integers(0, 2),
    awaits=st.integers(0, 4),
    echo=st.booleans(),
    turns=st.integers(0, 30),
)
def test_letting_go_at_any_moment_leaves_no_tie_open(
    trouble: Trouble, failures: int, awaits: int, echo: bool, turns: int
) -> None:
    """Also where the new tie is made in the very turn of the loop in which it is let go."""
    made: list[FakeTie] = []

    async def making() -> FakeTie:
        for _ in range(awaits):
            await asyncio.sleep(0)
        made.append(FakeTie("new"))
        return made[-1]

    async def main() -> None:
        world = World(*[ClusterError("away")] * failures, making)
        await world.hold()
        if echo:
            world.first.echo.set()
        world.first.troubles.put_nowait(trouble)
        for _ in range(turns):
            await asyncio.sleep(0)
        await world.lifeline.release()
        assert not world.first.open
        assert not any(tie.open for tie in made)

    run(main())

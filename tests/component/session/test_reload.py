"""The life of a command that is started again when its files change: real processes, files and loop; no sandbox."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from bridge.errors import CommandError
from bridge.laptop.process import Exit
from bridge.plan.sources import Sources
from bridge.session import reload as module
from bridge.session.inbox import Exited, Inbox
from bridge.session.reload import Reloaded, Surroundings
from bridge.session.requests import Requests
from bridge.tunnel.loop import EventLoop
from bridge.tunnel.reading import Pause
from tests.unit.session.telling import Speechless, Told

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

LIVES = "sleep 1000"


class Started:
    """A started command, as `laptop.process.Process`."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.popen = popen
        self.pid = popen.pid

    async def exited(self) -> Exit:
        code = await asyncio.to_thread(self.popen.wait)
        return Exit(signal=-code) if code < 0 else Exit(code=code)

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def close(self) -> None:
        pass


class Box:
    """Starts what the file says, and ends it."""

    def __init__(self, app: Path) -> None:
        self._app = app
        self.started: list[Started] = []

    def start(self, command: tuple[str, ...], env: object, cwd: str) -> Started:
        text = self._app.read_text()
        if text == "not executable":
            raise CommandError("app.sh is not executable")
        self.started.append(Started(subprocess.Popen(["sh", "-c", f"exec {text}"])))
        return self.started[-1]

    def end_started(self, *, grace: float) -> list[int]:
        self.end()
        return []

    def end(self, **_: object) -> None:
        for each in self.started:
            each.popen.terminate()
            each.popen.wait(10)


class Life:
    """A command that runs, and who edits it."""

    def __init__(self, folder: Path, loop: EventLoop, told: Told) -> None:
        self.app = folder / "app.sh"
        self.app.write_text(LIVES)
        self.box, self.inbox, self.told, self.pause = Box(self.app), Inbox(), told, Pause()
        self.accepting = 0

        async def accepting() -> None:
            self.accepting += 1

        around = Surroundings(
            inbound=lambda: (), pause=self.pause, accepting=accepting, requests=Requests(self.told, always=False)
        )
        sources = Sources.parse((), str(folder))
        self.reloaded = Reloaded(
            ("app.sh",),
            sources,
            around,
            box=self.box,  # type: ignore[arg-type]
            loop=loop,
            inbox=self.inbox,
            narrator=self.told,
        )
        self.reloaded.begin({})

    def edit(self, text: str) -> None:
        new = self.app.with_suffix(".new")
        new.write_text(text)
        new.replace(self.app)

    def until(self, so: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not so():
            assert time.monotonic() < deadline, self.told.all
            self.inbox.get(deadline=time.monotonic() + 0.01)

    def told_of(self, event: str) -> list[dict[str, object]]:
        return [facts for name, facts in self.told.events if name == event]

    def end(self) -> Exited:
        happened = self.inbox.get(deadline=time.monotonic() + 20)
        assert isinstance(happened, Exited), self.told.all
        return happened


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    with living(tmp_path) as life:
        yield life


@contextmanager
def living(folder: Path, told: Told | None = None) -> Iterator[Life]:
    with EventLoop() as loop:
        life = Life(folder, loop, told or Told())
        try:
            yield life
        finally:
            life.box.end()


def test_an_edit_replaces_the_process_and_the_session_goes_on(life: Life) -> None:
    first = life.reloaded.pid
    for count in (2, 3):
        life.edit(f"{LIVES}{count}")
        life.until(lambda: len(life.told_of("accepting")) == count - 1)  # noqa: B023
    assert len(life.box.started) == 3
    assert life.reloaded.pid == life.box.started[-1].pid != first
    assert not life.pause.on
    assert life.pause.number == 2
    life.reloaded.signal(signal.SIGTERM)
    assert life.end() == Exited(143)


def test_a_process_that_crashes_is_started_again_by_the_next_edit(life: Life) -> None:
    life.edit("false")
    life.until(lambda: life.told_of("exited"))
    assert life.told_of("exited") == [{"code": 1}]
    assert life.reloaded.pid == 0
    life.edit(LIVES)
    life.until(lambda: len(life.box.started) == 3)
    life.until(lambda: life.reloaded.pid)


def test_a_process_that_can_not_be_started_is_tried_again(life: Life) -> None:
    life.edit("not executable")
    life.until(lambda: "not started" in [event for event, _ in life.told.events])
    assert not life.pause.on
    life.edit(LIVES)
    life.until(lambda: life.reloaded.pid)


def test_ctrl_c_at_the_terminal_ends_the_session_with_the_process(life: Life) -> None:
    life.reloaded.interrupted()
    life.box.started[0].signal(signal.SIGINT)  # as the terminal does
    assert life.end() == Exited(130)


def test_a_signal_ends_a_session_whose_process_has_crashed(life: Life) -> None:
    life.edit("false")
    life.until(lambda: life.told_of("exited"))
    life.reloaded.interrupted()
    assert life.end() == Exited(130)


def test_a_process_that_sigquit_has_ended_is_started_again_by_the_next_edit(life: Life) -> None:
    life.reloaded.signal(signal.SIGQUIT)
    life.until(lambda: life.told_of("exited"))
    assert life.told_of("exited") == [{"code": 128 + signal.SIGQUIT}]
    life.edit(f"{LIVES}2")
    life.until(lambda: len(life.box.started) == 2)


def test_a_folder_that_is_removed_with_bridge_in_it_leaves_a_session_that_can_be_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their names were told as seen from a folder that was gone, and nobody looked after the process any more."""
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    with living(project) as life:
        shutil.rmtree(project)
        life.until(lambda: life.told_of("changed"))
        assert life.told_of("changed") == [{"files": [str(life.app)]}]
        assert "app.sh changed, restarting" in life.told.said("note")
        life.until(lambda: "not started" in [event for event, _ in life.told.events])
        life.reloaded.signal(signal.SIGTERM)
        assert life.end() == Exited(143)
        monkeypatch.undo()


def test_what_nobody_expected_ends_the_session(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> object:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(life.reloaded, "_replace", broken)
    life.edit(f"{LIVES}2")
    assert life.end() == Exited(1)
    assert life.told.said("warn") == ["bridge did not expect ZeroDivisionError: a bug"]


def test_a_process_has_ended_whatever_becomes_of_telling_it(tmp_path: Path) -> None:
    told = Told()
    with living(tmp_path, told) as life:
        told.__class__ = Speechless
        life.reloaded.signal(signal.SIGTERM)
        assert life.end() == Exited(143)


def test_it_is_said_when_changes_are_not_noticed_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> AsyncIterator[list[str]]:
        yield []
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(module, "edits", broken)
    with living(tmp_path) as life:
        life.until(lambda: life.told.said("warn"))
        assert life.told.said("warn") == ["changes of files are not noticed any more: a bug"]


def test_a_signal_in_the_middle_of_a_restart_starts_nothing_more(life: Life) -> None:
    ends = life.box.end_started

    def interrupted_meanwhile(*, grace: float) -> list[int]:
        life.reloaded.signal(signal.SIGTERM)
        return ends(grace=grace)

    life.box.end_started = interrupted_meanwhile  # type: ignore[method-assign]
    life.edit(f"{LIVES}2")
    assert life.end() == Exited(143)
    assert len(life.box.started) == 1


def test_a_signal_while_the_next_process_starts_ends_that_one(life: Life) -> None:
    """It was sent to nobody, and the process ran on until it was killed."""
    start = life.box.start

    def told_meanwhile(command: tuple[str, ...], env: object, cwd: str) -> Started:
        life.reloaded.signal(signal.SIGTERM)
        return start(command, env, cwd)

    life.box.start = told_meanwhile  # type: ignore[method-assign]
    life.edit(f"{LIVES}2")
    assert life.end() == Exited(143)
    assert len(life.box.started) == 2

"""Edits of files, as the kernel tells them."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvloop

from bridge.laptop import edits as module
from bridge.laptop.edits import edits
from bridge.plan.sources import Sources
from tests.component.proxy import CLONE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


class Watch:
    """What was noticed, and warned of."""

    def __init__(self) -> None:
        self.noticed: asyncio.Queue[list[str]] = asyncio.Queue()
        self.warned: list[str] = []

    async def next(self) -> list[str]:
        async with asyncio.timeout(10):
            return [path.rpartition("/")[2] for path in await self.noticed.get()]

    async def until(self, name: str) -> None:
        """Wait for a change of that file; before it there may be others."""
        while name not in await self.next():
            pass

    async def warning(self) -> str:
        """Wait for the first one."""
        async with asyncio.timeout(10):
            while not self.warned:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return self.warned[0]


@asynccontextmanager
async def watching(folder: Path, *globs: str) -> AsyncIterator[Watch]:
    watch = Watch()
    began = asyncio.Event()

    async def notice() -> None:
        async for files in edits(Sources.parse(globs, str(folder)), watch.warned.append):
            if files:
                watch.noticed.put_nowait(files)
            began.set()

    task = asyncio.create_task(notice())
    try:
        await began.wait()
        yield watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for each in ("a", "node_modules"):
        (folder / each).mkdir(parents=True)
    (folder / "app.py").write_text("1")
    return folder


def run(main: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_an_edit_in_place_and_one_by_another_file_are_noticed(project: Path) -> None:
    async def main() -> None:
        async with watching(project) as watch:
            (project / "app.py").write_text("two")
            assert await watch.next() == ["app.py"]
            (project / ".app.py.swp").write_text("three!")
            (project / ".app.py.swp").replace(project / "app.py")
            assert await watch.next() == ["app.py"]
            (project / "app.py").unlink()
            assert await watch.next() == ["app.py"]

    run(main)


def test_what_does_not_count_is_not_noticed(project: Path) -> None:
    async def main() -> None:
        async with watching(project) as watch:
            (project / "app.log").write_text("written by the program")
            (project / "node_modules" / "x.js").write_text("installed")
            (project / "app.py").chmod(0o600)
            (project / "last.py").write_text("")
            assert await watch.next() == ["last.py"]

    run(main)


def test_many_changes_at_once_are_one(project: Path) -> None:
    async def main() -> None:
        async with watching(project) as watch:
            for number in range(500):
                (project / "a" / f"{number}.py").write_text("new")
            assert len(await watch.next()) == 500

    run(main)


def test_new_folders_are_watched_and_what_is_in_them_already_counts(project: Path) -> None:
    async def main() -> None:
        async with watching(project) as watch:
            (project / "b" / "c").mkdir(parents=True)
            (project / "b" / "c" / "new.py").write_text("1")
            await watch.until("new.py")
            (project / "b" / "c" / "new.py").write_text("1+1")
            await watch.until("new.py")
            shutil.rmtree(project / "b")
            await watch.until("new.py")

    run(main)


def test_a_linked_project_and_links_in_it_are_followed(project: Path) -> None:
    async def main() -> None:
        elsewhere = project.parent / "elsewhere"
        elsewhere.mkdir()
        (project / "linked").symlink_to(elsewhere)
        (project / "loop").symlink_to(project)
        link = project.parent / "link"
        link.symlink_to(project)
        async with watching(link) as watch:
            (elsewhere / "module.py").write_text("1")
            assert await watch.next() == ["module.py"]
            (project / "app.py").write_text("two")
            assert await watch.next() == ["app.py"]

    run(main)


def test_a_folder_that_is_deleted_is_watched_again_when_it_is_back(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_AT_FOLDER_EVERY", 200)

    async def main() -> None:
        async with watching(project) as watch:
            shutil.rmtree(project)
            await watch.until("app.py")
            assert "gone" in await watch.warning()
            project.mkdir()  # noqa: ASYNC240
            (project / "app.py").write_text("again")
            await watch.until("app.py")
            (project / "app.py").write_text("and again")
            await watch.until("app.py")

    run(main)


def test_where_the_kernel_watches_no_more_the_files_are_looked_at(project: Path) -> None:
    """Not in this process, where the kernel may still be closing what tests before this one have watched with."""
    program = f"from {__name__} import notice_without_inotify; notice_without_inotify({str(project)!r})"
    subprocess.run([sys.executable, "-c", program], cwd=CLONE, check=True)


def notice_without_inotify(project: str) -> None:
    """Notice an edit when there is one descriptor left: enough to look at a folder, while inotify wants more."""

    async def main() -> None:
        free = os.open(os.devnull, os.O_RDONLY)  # the lowest that is
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        async with watching(Path(project)) as watch:
            assert "can't tell which files change" in await watch.warning()
            (Path(project) / "app.py").unlink()  # which takes no descriptor
            await watch.until("app.py")

    import watchfiles  # noqa: F401  # as long as there are descriptors for it

    run(main)


NOT_UTF8 = os.fsdecode(b"caf\xe9")


def test_a_file_whose_name_is_not_utf8_leaves_the_others_noticed(project: Path) -> None:
    """watchfiles raised what was no OSError, and nothing was noticed any more."""

    async def main() -> None:
        async with watching(project) as watch:
            (project / f"{NOT_UTF8}.csv").write_text("of any kind")
            assert "Unable to decode path" in await watch.warning()
            (project / "app.py").write_text("two")
            await watch.until("app.py")
            (project / f"{NOT_UTF8}.py").write_text("of the right kind")
            await watch.until(f"{NOT_UTF8}.py")

    run(main)


def test_a_folder_whose_name_is_not_utf8_is_looked_at_too(project: Path) -> None:
    async def main() -> None:
        (project / NOT_UTF8).mkdir()
        async with watching(project) as watch:
            (project / NOT_UTF8 / "module.py").write_text("1")
            await watch.until("module.py")
            (project / "app.py").write_text("two")
            await watch.until("app.py")

    run(main)


def test_a_folder_that_is_looked_at_may_go_and_come_back(project: Path) -> None:
    async def main() -> None:
        (project / NOT_UTF8).mkdir()
        async with watching(project) as watch:
            shutil.rmtree(project)
            await watch.until("app.py")
            project.mkdir()  # noqa: ASYNC240
            (project / "app.py").write_text("again")
            await watch.until("app.py")

    run(main)

"""Tells which of a project's files have changed, as the kernel notices it (inotify, through watchfiles).

Each folder that may have such files is watched by itself: watchfiles' own recursion would take in `node_modules` and
the like, and with them the kernel's limit of watches. What a folder had is remembered, so that a change is one of the
file (its time, size or inode): neither is one missed while the folders are looked through again, because one was made
or deleted, nor does a changed mode count.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from watchfiles import Change

    from bridge.plan.sources import Sources

log = logging.getLogger(__name__)

_Identity: TypeAlias = "tuple[int, int] | None"
"""Of a folder: device and inode."""

QUIET = 50
"""Milliseconds without a further change after which the changes are told: an editor's, a `git checkout`'s, as one."""
LONGEST = 1500
"""Milliseconds after the first change when they are told even so."""
POLL_EVERY = 0.3
"""Seconds between two looks at all of the files, where the kernel can't tell; of a big project, ten times as long as a
look takes."""
LOOK_FOR_FOLDER_EVERY = 0.5
"""Seconds between two looks for a folder that is gone."""
LOOK_AT_FOLDER_EVERY = 2000
"""Milliseconds without a change after which is looked whether the folder is still the one that is watched: the kernel
watches that one, not its name."""


async def edits(sources: Sources, warn: Callable[[str], object]) -> AsyncIterator[list[str]]:
    """Tell the files (absolute, in order) of one change after another, from the first look on: which is told as [].

    ``warn`` gets what the user should know about it.
    """
    await asyncio.to_thread(importlib.import_module, "watchfiles")  # not while the loop waits
    project = _Project(sources)
    await asyncio.to_thread(project.look)
    yield []
    told = _watched
    while True:
        try:
            async for changed in told(project):
                yield changed
        except FileNotFoundError:
            pass  # a folder that went meanwhile: looked for below
        except Exception as error:
            if told is _polled:
                raise
            told = _polled
            warn(f"the kernel can't tell which files change ({_reason(error)}); they are looked at instead")
        if changed := await asyncio.to_thread(project.look):
            yield changed
        if not project.folders:
            warn("the folder whose files are watched is gone; the process is started again when it is back")
            while not project.folders:
                await asyncio.sleep(LOOK_FOR_FOLDER_EVERY)
                changed = await asyncio.to_thread(project.look)
            yield changed


async def _watched(project: _Project) -> AsyncIterator[list[str]]:
    """Tell changes, until there are other folders.

    Raises OSError when the kernel's limit of watches is reached, WatchfilesRustInternalError when that of inotify's
    instances or of descriptors is. Names that are not UTF-8 watchfiles can't take: UnicodeEncodeError for a folder's,
    an ExceptionGroup as soon as something happens to a file of such a name.
    """
    from watchfiles import awatch

    watched = project.folders
    sure = False  # that nothing changed between the look and the beginning of this
    async for found in awatch(
        *sorted(watched),
        watch_filter=None,
        step=QUIET,
        debounce=LONGEST,
        rust_timeout=LOOK_AT_FOLDER_EVERY,
        yield_on_timeout=True,
        force_polling=False,  # whatever the environment says: `_polled` takes any name
        recursive=False,
        ignore_permission_denied=True,
    ):
        changed = project.changed(path for _, path in found) if sure else await asyncio.to_thread(project.look)
        sure = True
        if changed:
            yield changed
        if project.has_other_folders(watched, found):
            return


async def _polled(project: _Project) -> AsyncIterator[list[str]]:
    """Tell changes, until there is no folder."""
    took = 0.0
    while project.folders:
        await asyncio.sleep(max(POLL_EVERY, 10 * took))
        began = time.monotonic()
        changed = await asyncio.to_thread(project.look)
        took = time.monotonic() - began
        if changed:
            yield changed


def _reason(error: BaseException) -> BaseException:
    return _reason(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


class _Project:
    """The files that count, as they were when they were looked at last."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._files: dict[str, tuple[int, int, int]] = {}
        self.folders: dict[str, _Identity] = {}

    def look(self) -> list[str]:
        """Look at all of them; return what has changed since, or was made, or is gone."""
        files: dict[str, tuple[int, int, int] | None] = {}
        self.folders = {}
        for root in self._sources.roots:
            for folder, there, names in self._walk(root):
                self.folders[folder] = there
                paths = (f"{folder.rstrip('/')}/{name}" for name in names)
                files |= {path: _state(path) for path in paths if self._sources.count(path)}
        before, self._files = self._files, {path: state for path, state in files.items() if state}
        return sorted(path for path in before.keys() | self._files.keys() if before.get(path) != self._files.get(path))

    def changed(self, paths: Iterable[str]) -> list[str]:
        """Look at these; return those that count and have changed."""
        return sorted(path for path in set(paths) if self._sources.count(path) and self._has_changed(path))

    def has_other_folders(self, watched: Mapping[str, _Identity], found: Iterable[tuple[Change, str]]) -> bool:
        """Whether, by what happened, there may be others than the ones that are watched."""
        if self.folders != watched or any(_identity(root) != watched.get(root) for root in self._sources.roots):
            return True
        return any(path in watched or (Path(path).is_dir() and self._sources.watches(path)) for _, path in found)

    def _has_changed(self, path: str) -> bool:
        before, now = self._files.pop(path, None), _state(path)
        if now:
            self._files[path] = now
        return before != now

    def _walk(self, root: str) -> Iterable[tuple[str, _Identity, list[str]]]:
        """Folders with their files, through symbolic links, each folder once."""
        seen = set()
        for folder, folders, names in os.walk(root, followlinks=True, onerror=_passed_over):
            there = _identity(folder)
            if there in seen or not self._sources.watches(folder):
                folders.clear()
                continue
            seen.add(there)
            yield folder, there, names


def _state(path: str) -> tuple[int, int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _identity(path: str) -> _Identity:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _passed_over(error: OSError) -> None:
    log.debug("not watched: %s", error)

"""The watchdog, from bridge's side: a process beside it that outlives a ``kill -9`` of bridge, and restores.

It waits for the end of a pipe whose other end only bridge has, so nothing has to be polled and no pid can be mistaken.
It is started in any case: where the keeper protects the target, too, the original is back without the grace time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from bridge.paths import state_directory
from bridge.session.store import process_start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge.session.narrator import Narrator

ENDS_WITHIN = 5.0
"""Seconds that it may take to see that there is nothing to do."""


@contextmanager
def watched(narrator: Narrator) -> Iterator[None]:
    """Have a watchdog while this lasts. A laptop that can't start one is told so; the session goes on without."""
    try:
        watchdog = _start()
    except OSError as error:
        narrator.warn(f"there is no watchdog: {error.strerror or error}")
        yield
        return
    try:
        yield
    finally:
        assert watchdog.stdin is not None
        watchdog.stdin.close()
        # One that has something to restore goes on without us: our own restore has failed, or still was under way.
        with suppress(subprocess.TimeoutExpired):
            watchdog.wait(ENDS_WITHIN)
        watchdog.returncode = watchdog.returncode or 0  # nobody waits for it any more: no warning


def _start() -> subprocess.Popen[bytes]:
    log = _log(state_directory(os.environ))
    try:
        return subprocess.Popen(
            # -P: not from the current folder, which is the user's project
            [sys.executable, "-P", "-m", "bridge.session.watchdog", str(os.getpid()), process_start(os.getpid()) or ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)


def _log(folder: Path) -> int:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(folder / "watchdog.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

"""One at a time: what builds, starts or stops the cluster of a clone holds its lock."""

from __future__ import annotations

import contextlib
import fcntl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .settings import Settings


@contextlib.contextmanager
def exclusive(settings: Settings, say: Callable[[str], None]) -> Iterator[None]:
    """Wait until no other process of this clone is at it. The lock goes with the process, however it ends."""
    settings.build.mkdir(parents=True, exist_ok=True)
    with (settings.build / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another command on this cluster")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield

"""What processes use, as the kernel says (proc(5)): processor seconds, memory, descriptors, threads.

Memory is PSS: what several processes share is counted once. Pods run on this machine, too, so that their processes are
found by their pod's id in their cgroup's path. What ended meanwhile counts nothing.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")
OFTEN = 0.5
"""Seconds between two looks at the memory: a look costs a millisecond or so for each process."""


@dataclass(frozen=True)
class Used:
    """``cpu`` in seconds, ``memory`` in KiB."""

    cpu: float
    memory: int
    descriptors: int
    threads: int


def of(pids: Iterable[int]) -> Used:
    """What these processes have used, or hold now, in sum."""
    found = [used for pid in pids if (used := _one(PROC / str(pid)))]
    return Used(
        sum(used.cpu for used in found),
        sum(used.memory for used in found),
        sum(used.descriptors for used in found),
        sum(used.threads for used in found),
    )


def cpu(pids: Iterable[int]) -> float:
    """The seconds of these processes, at a fraction of the cost of `of`."""
    return sum(_cpu(PROC / str(pid)) for pid in pids)


def pids_of_pods(uids: Iterable[str]) -> list[int]:
    """The processes of pods; a cgroup driver may write the id with other separators."""
    wanted = [uid.replace("-", "_") for uid in uids]
    if not wanted:
        return []
    found = []
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError):
            groups = (folder / "cgroup").read_text().replace("-", "_")
            if any(uid in groups for uid in wanted):
                found.append(int(folder.name))
    return found


class Peak:
    """The most that was seen; KiB."""

    def __init__(self) -> None:
        self.memory = 0


@contextmanager
def peak(pids: Callable[[], list[int]]) -> Iterator[Peak]:
    """Look at the memory again and again during the block, and once more at its end."""
    most, over = Peak(), threading.Event()

    def look() -> None:
        most.memory = max(most.memory, memory(pids()))

    def watch() -> None:
        look()
        while not over.wait(OFTEN):
            look()
        look()

    thread = threading.Thread(target=watch)  # noqa: TID251  # beside what is measured
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def memory(pids: Iterable[int]) -> int:
    """The memory of these processes, KiB."""
    return sum(_pss(PROC / str(pid)) for pid in pids)


def _one(folder: Path) -> Used | None:
    try:
        threads = sum(1 for _ in (folder / "task").iterdir())
        descriptors = sum(1 for _ in (folder / "fd").iterdir())
    except OSError:
        return None
    return Used(_cpu(folder), _pss(folder), descriptors, threads)


def _cpu(folder: Path) -> float:
    with suppress(OSError):
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK
    return 0.0


def _pss(folder: Path) -> int:
    with suppress(OSError):
        for line in (folder / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0

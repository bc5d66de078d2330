"""The cgroups of the cluster, in every hierarchy (version 1) or in the one there is (version 2).

A process can't leave its cgroup unnoticed and its children are in it too, so a cgroup is the surest list of what we
started: `end_all` ends exactly these.
"""

from __future__ import annotations

import contextlib
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .system import Process, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path("/sys/fs/cgroup")
_PARTS = "sys"  # the node's own processes; pods are beside it (version 2 wants processes in leaves only)


def unified() -> bool:
    """Whether this machine has cgroup version 2 only."""
    return (ROOT / "cgroup.controllers").exists()


def hierarchies() -> list[Path]:
    """Where cgroups with controllers can be made."""
    if unified():
        return [ROOT]
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    found = {Path(fields[1]).resolve() for fields in mounts if fields[2] == "cgroup"}
    return sorted(path for path in found if path.parent == ROOT)


def create(name: str) -> None:
    """Make a node's cgroup with its leaf for the node's own processes."""
    for top in hierarchies():
        leaf = top / name / _PARTS
        leaf.mkdir(parents=True, exist_ok=True)
        if top.name == "cpuset":
            _inherit_cpuset(top, [leaf.parent, leaf])
        elif unified():
            _enable_controllers([top, leaf.parent])


def join(name: str) -> None:
    """Move this process into the node's leaf."""
    for top in hierarchies():
        (top / name / _PARTS / "cgroup.procs").write_text(str(os.getpid()))


def create_list(name: str) -> Path:
    """Make a cgroup that only lists its processes; write a process's id in the file given back to put it there."""
    folder = _list_root() / name
    folder.mkdir(exist_ok=True)
    return folder / "cgroup.procs"


def entering(name: str, argv: Sequence[str | Path]) -> list[str | Path]:
    """The command line that joins a node's cgroup, where the list of processes is, and becomes ``argv``."""
    return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', _list_root() / name / _PARTS / "cgroup.procs", *argv]


def list_file(name: str) -> Path:
    """The file of `create_list`."""
    return _list_root() / name / "cgroup.procs"


def processes(name: str) -> list[int]:
    """The ids of the processes in a cgroup of `create_list`, those in cgroups below it too."""
    pids: list[int] = []
    for file in list_file(name).parent.rglob("cgroup.procs"):
        with contextlib.suppress(FileNotFoundError):
            pids += [int(line) for line in file.read_text().split()]
    return sorted(pids)


def end_all(name: str) -> None:
    """End every process in a cgroup of `create_list`, also those that they start meanwhile."""
    while found := [process for process in map(Process.of, processes(name)) if process]:
        for process in found:
            process.end()


def remove(name: str) -> None:
    """Remove the cgroup in every hierarchy, runc's traces in the hybrid version 2 tree too, once it is empty."""
    for folder in left(name):
        wait_until(f"no cgroup {folder}", partial(_removed, folder), timeout=10)


def left(name: str) -> list[Path]:
    """What there still is of a cgroup."""
    return [top / name for top in {*hierarchies(), _list_root(), ROOT / "unified"} if (top / name).exists()]


def _removed(folder: Path) -> bool:
    """Remove the folder and those below, deepest first; whether it is gone. What just ended may still hold one."""
    if folder.exists():
        below = sorted((path for path in folder.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts))
        for path in [*below, folder]:
            with contextlib.suppress(OSError):
                path.rmdir()
    return not folder.exists()


def _list_root() -> Path:
    if unified():
        return ROOT
    known = hierarchies()
    return ROOT / "pids" if ROOT / "pids" in known else known[0]


def _inherit_cpuset(top: Path, folders: list[Path]) -> None:
    """A new cpuset is empty, and no process can join an empty one (cgroup-v1/cpusets.rst)."""
    for folder in folders:
        for name in ("cpuset.cpus", "cpuset.mems"):
            (folder / name).write_text((top / name).read_text())


def _enable_controllers(folders: list[Path]) -> None:
    for folder in folders:
        for controller in (folder / "cgroup.controllers").read_text().split():
            with contextlib.suppress(OSError):  # some can't be delegated here; kubelet says which it misses
                (folder / "cgroup.subtree_control").write_text(f"+{controller}")

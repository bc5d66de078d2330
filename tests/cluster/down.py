"""Takes the cluster down. Processes are ended by their record or their cgroup, never by their name; nothing is left."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import cgroups, link, network, node, system
from .laptop import Laptop
from .system import HarnessError

if TYPE_CHECKING:
    from .settings import Settings

# Where the node's mounts needed a folder of the host; removed if nobody else put anything there.
HOST_FOLDERS = ("/var/log/pods", "/var/log/containers", "/var/lib/cni", "/var/lib/kubelet")


def down(settings: Settings, *, keep_state: bool = False) -> None:
    """End everything; and forget the cluster, unless its state is to be kept for a warm start."""
    stop(settings)
    if not keep_state:
        remove_state(settings)


def stop(settings: Settings) -> None:
    """End the processes, namespaces, cgroups. The state stays."""
    if any(node.running(other) for other in others(settings)):
        return  # the names are that one's, so there is none of ours
    Laptop(settings).stop()
    link.end(settings)
    for name in ("hop", *(one.label for one in settings.nodes)):
        if process := system.load(settings.run / name):
            process.end()
    network.remove(settings)
    for one in settings.nodes:
        cgroups.end_all(one.cgroup)  # what was started, but not recorded any more
        cgroups.remove(one.cgroup)
    for path in (settings.run, settings.control, *further_places(settings)):
        shutil.rmtree(path, ignore_errors=True)
    for folder in (*HOST_FOLDERS, settings.all_runs):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


def further_places(settings: Settings) -> list[Path]:
    """What nodes on demand keep: it is not kept for a warm start."""
    return [settings.of(one.index).place for one in settings.nodes[1:]]


def others(settings: Settings) -> list[Settings]:
    """The clusters of the same name that other clones have, or had before they were removed."""
    clones = [Path(path.read_text()) for path in settings.all_runs.glob("*/clone")]
    return [replace(settings, clone=clone) for clone in clones if clone != settings.clone]


def give_way(settings: Settings) -> None:
    """Make sure that the names are free: clear up after clones that are no more, and respect those that are."""
    for other in others(settings):
        if node.running(other) and other.clone.exists():
            raise HarnessError(
                f"the cluster of {other.clone} is up, and there is one at a time: make cluster-down there"
            )
        stop(other)


def remove_state(settings: Settings) -> None:
    """Remove the state folder; never through a mount."""
    if not settings.state.exists():
        return
    if left := [line.split()[1] for line in _mounts() if line.split()[1].startswith(f"{settings.state}/")]:
        raise HarnessError(f"these mounts are left, so {settings.state} is not removed: {', '.join(left)}")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(settings.state)


def left_over(settings: Settings) -> list[str]:
    """What there still is of the cluster, in words: nothing, after `down`."""
    names = [settings.laptop_namespace, *(one.namespace for one in settings.nodes)]
    found = [f"cgroup {path}" for name in names for path in cgroups.left(name)]
    found += [f"namespace {name}" for name in names if network.namespace(name).exists()]
    known = ("hop", "cable", "laptop", *(one.label for one in settings.nodes))
    found += [f"process {name}" for name in known if system.load(settings.run / name)]
    found += [f"mount {line.split()[1]}" for line in _mounts() if f"{settings.state}/" in line]
    return found


def _mounts() -> list[str]:
    return Path("/proc/self/mounts").read_text().splitlines()

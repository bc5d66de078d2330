"""Which of the pod's volumes appear on the laptop, at the paths that they have in the pod.

All do, but for those that would take from the laptop's own programs what they live on:

    path                                     what happens
    ---------------------------------------  -----------------------------------------------------------------------
    /etc, /usr, /var, /home, /run, ...       left out, with a note (what is *in* them is shown: /etc/config)
    /tmp, /var/tmp, scratch (emptyDir)       left out: the laptop's own does as well
    the developer's home or working folder,  left out, with a note: the program itself would be gone
    or a folder that holds it
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from bridge.wire.messages import Mount

KUBELETS_KINDS = frozenset({"configmap", "secret", "projected", "downward-api"})
"""Volumes whose files the kubelet writes: small, and read-only."""
SCRATCH = "empty-dir"

_LAPTOPS = frozenset(
    {
        "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/opt", "/proc", "/root", "/run", "/sbin",
        "/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/local/bin", "/usr/local/lib", "/usr/sbin",
        "/usr/share", "/var", "/var/lib", "/var/run", "/var/tmp",
    }
)  # fmt: skip
_NEVER_BELOW = ("/proc", "/sys", "/dev")
_SCRATCHES = frozenset({"/tmp", "/var/tmp"})


@dataclass(frozen=True)
class Shown:
    """The volumes that appear, parents first, and what is to be said of the others."""

    mounts: tuple[Mount, ...]
    notes: tuple[str, ...]


def shown_mounts(mounts: Iterable[Mount], keep: Sequence[str]) -> Shown:
    """Tell what appears of the pod's ``mounts``. ``keep``: folders that the developer's work is in."""
    shown, notes = [], []
    for mount in sorted(mounts, key=lambda each: (len(PurePosixPath(each.path).parts), each.path)):
        if not _is_the_laptops(mount.path, keep):
            shown.append(mount)
        elif not (mount.path in _SCRATCHES and mount.kind in (SCRATCH, "tmpfs")):
            notes.append(
                f"the volume at {mount.path} is left out on this laptop, whose programs need their own files there: "
                "--mount-at shows it elsewhere"
            )
    return Shown(tuple(shown), tuple(notes))


def _is_the_laptops(path: str, keep: Sequence[str]) -> bool:
    there = PurePosixPath(path)
    holds_work = any(there == PurePosixPath(each) or there in PurePosixPath(each).parents for each in keep)
    below = any(PurePosixPath(each) in (there, *there.parents) for each in _NEVER_BELOW)
    return str(there) in _LAPTOPS or holds_work or below

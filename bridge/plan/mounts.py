"""Which of the pod's volumes appear on the laptop, at the paths that they have in the pod.

All do, but for those that would take from the laptop's own programs what they live on:

    path                                     what happens
    ---------------------------------------  -----------------------------------------------------------------------
    /etc, /usr, /var, /home, /run, ...       left out, with a note (what is *in* them is shown: /etc/config)
    /tmp, /var/tmp, scratch (emptyDir)       left out: the laptop's own does as well
    the developer's home or working folder,  left out, with a note: the program itself would be gone
    or a folder that holds it
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from bridge.plan.objects import Object
from bridge.plan.volumes import GUARD_PATH, RUN_PATH, SETTINGS_PATH

_KUBELETS = frozenset({"configMap", "secret", "projected", "downwardAPI"})
_SCRATCH = "emptyDir"
_OURS = frozenset({SETTINGS_PATH, GUARD_PATH, RUN_PATH})


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A volume in the pod's container. ``kind``: of its source, as the pod's spec calls it."""

    path: str
    volume: str
    kind: str
    read_only: bool

    def __str__(self) -> str:
        return f"the volume {self.volume} at {self.path}"

    @property
    def is_kubelets(self) -> bool:
        """Whether the kubelet alone writes its files: they are small, and read-only."""
        return self.kind in _KUBELETS


def mounts_of(pod: Object, container: str) -> list[Mount]:
    """Return what ``container`` of ``pod`` mounts, parents first, but for what bridge has mounted for itself.

    Of the pod itself, not its template: what admission has put in, such as the service account's token, is part of it.
    """
    kinds = {volume["name"]: _kind(volume) for volume in pod["spec"].get("volumes") or []}
    there = next(each for each in pod["spec"]["containers"] if each["name"] == container)
    mounts = [_mount(each, kinds.get(each["name"], _SCRATCH)) for each in there.get("volumeMounts") or []]
    return sorted((each for each in mounts if each.path not in _OURS), key=_parents_first)


def _mount(mount: Object, kind: str) -> Mount:
    return Mount(
        path=str(PurePosixPath("/" + mount["mountPath"].lstrip("/"))),
        volume=mount["name"],
        kind=kind,
        read_only=bool(mount.get("readOnly")) or kind in _KUBELETS,
    )


def _kind(volume: Object) -> str:
    return next((key for key, value in volume.items() if key != "name" and value is not None), _SCRATCH)


def _parents_first(mount: Mount) -> tuple[int, str]:
    return len(PurePosixPath(mount.path).parts), mount.path


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


def shown_mounts(mounts: Iterable[Mount], keep: Sequence[str], *, real: Callable[[str], str] = str) -> Shown:
    """Tell what appears of the pod's ``mounts``. ``keep``: folders that the developer's work is in.

    ``real``: makes of a path the one that it is on this laptop, where a part of it may be a symbolic link.
    """
    shown, notes = [], []
    for mount in sorted(mounts, key=_parents_first):
        if not (_is_the_laptops(mount.path, keep) or _is_the_laptops(real(mount.path), keep)):
            shown.append(mount)
        elif not (mount.path in _SCRATCHES and mount.kind == _SCRATCH):
            notes.append(
                f"{mount} is left out on this laptop, whose programs need their own files there: "
                "--mount-at shows it elsewhere"
            )
    return Shown(tuple(shown), tuple(notes))


def _is_the_laptops(path: str, keep: Sequence[str]) -> bool:
    there = PurePosixPath(path)
    holds_work = any(there == PurePosixPath(each) or there in PurePosixPath(each).parents for each in keep)
    below = any(PurePosixPath(each) in (there, *there.parents) for each in _NEVER_BELOW)
    return str(there) in _LAPTOPS or holds_work or below

"""``--mount-at DIR``: the pod's files for programs outside of the sandbox, such as an IDE, at DIR/<path in the pod>.

    DIR/etc/config -> <private folder>/0        links only: what is in them may be secret, and DIR be on a disk

    <private folder>    $XDG_RUNTIME_DIR/bridge/files/<pid>-<start>, else /dev/shm/bridge-<uid>/<pid>-<start>: in memory
                        (tmpfs), and the user's alone (0700)
      at.json           which DIR it is: written first, so that what a killed bridge leaves is found and removed
      0, 1, ...         the copies

They are copies, of what is mounted live in the sandbox, too: that is said. All of it is removed at the end; after a
crash by the watchdog, or by the next bridge.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import UsageError
from bridge.paths import private_directory, runtime_directory
from bridge.session.copies import remove
from bridge.session.store import process_start

if TYPE_CHECKING:
    from collections.abc import Iterator

_RECORD = "at.json"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # below it is a folder that is checked to be ours


class Outside:
    """The files of one session in a folder of the user's."""

    def __init__(self, directory: Path, private: Path) -> None:
        self.directory = directory
        self._private = private
        self._next = 0

    def place(self) -> Path:
        """Give a path in the private folder for one volume's copy; nothing is there."""
        self._next += 1
        return self._private / str(self._next)

    def link(self, path: str, copy: Path) -> None:
        """Have ``copy`` appear for the pod's ``path``; parents come before what is mounted in them. Raises OSError."""
        there = self.directory / path.lstrip("/")
        there.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if there.exists():  # of the volume that this one is mounted in: the folder was empty at first
            remove(there)
        there.symlink_to(copy)


@contextmanager
def outside(directory: Path | None) -> Iterator[Outside | None]:
    """Have a place for the files in ``directory`` while this lasts; None asks for none.

    Raises UsageError where the folder can't be used: only one that is empty, or that is not there yet.
    """
    if directory is None:
        yield None
        return
    directory = Path.cwd() / directory
    _check_free(directory)
    private = private_directory(_folder_in_memory() / f"{os.getpid()}-{process_start(os.getpid())}")
    try:
        made = not directory.exists()
        (private / _RECORD).write_text(json.dumps({"directory": str(directory), "made": made}))
        _make(directory)
        yield Outside(directory, private)
    finally:
        _remove(private)


def clear_up() -> None:
    """Remove what bridges that were killed have left. What can't be removed now is the next time."""
    for _, folder in _folders():
        with suppress(OSError):
            for private in list(folder.iterdir()):
                pid, _, started = private.name.partition("-")
                if pid.isdecimal() and process_start(int(pid)) != started:
                    _remove(private)


def _remove(private: Path) -> None:
    with suppress(OSError, ValueError, KeyError, TypeError):  # no record: there is nothing in the folder yet
        record = json.loads((private / _RECORD).read_text())
        directory = Path(record["directory"])
        _unlink(directory, private)
        if record["made"]:
            directory.rmdir()  # unless somebody has put something there
    remove(private)
    with suppress(OSError):
        private.parent.rmdir()  # unless another session has files there


def _unlink(directory: Path, private: Path) -> None:
    """Remove the links to the private folder, and folders that are empty without them."""
    for each in list(directory.iterdir()):
        if each.is_symlink():
            if private in each.readlink().parents:
                each.unlink()
        elif each.is_dir():
            _unlink(each, private)
            with suppress(OSError):
                each.rmdir()


def _check_free(directory: Path) -> None:
    try:
        if any(directory.iterdir()):
            raise UsageError(f"--mount-at: {directory} is not empty", hint="Name a folder that is, or a new one.")
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unusable(directory, error) from error


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unusable(directory, error) from error


def _unusable(directory: Path, error: OSError) -> UsageError:
    return UsageError(
        f"--mount-at: {directory} can't be used: {error.strerror or error}", hint="Name an empty folder, or a new one."
    )


def _folder_in_memory() -> Path:
    for base, folder in _folders():
        if _is_in_memory(base):
            return private_directory(folder)
    raise UsageError(
        "--mount-at: there is no place in memory for the files, some of which are secret",
        hint="Neither $XDG_RUNTIME_DIR nor /dev/shm is a tmpfs here.",
    )


def _folders() -> list[tuple[Path, Path]]:
    """Where private folders are, in this order: what must be in memory, and the folder of ours in it."""
    runtime = runtime_directory(os.environ)
    return [(runtime.parent, runtime / "files"), (_SHARED_MEMORY, _SHARED_MEMORY / f"bridge-{os.getuid()}")]


def _is_in_memory(path: Path) -> bool:
    """Whether what is in this folder is on no disk (proc_pid_mountinfo(5): the file system's type after the hyphen)."""
    try:
        device = path.stat().st_dev
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
        fields = line.split()
        if fields[2] == number:
            return fields[fields.index("-") + 1] == "tmpfs"
    return False

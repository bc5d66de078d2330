"""``bridge ide``: what an IDE needs, in the project's folder. All is read and decided before anything is written.

Beside the IDE's own file lies a program (``debuggee``) that the entry starts. A file of somebody else's making in its
place, or one of the IDE's that can't be read, is an error and stays as it is.
"""

from __future__ import annotations

import difflib
import os
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import UsageError
from bridge.plan import pycharm, vscode
from bridge.plan.ide import RUNNER, NotMergeable

if TYPE_CHECKING:
    from bridge.plan.ide import Start

_OURS = b'"""Written by `bridge ide`'


class _ByHand(UsageError):
    """A file of the IDE's that can't be added to: its owner can do it."""


class Ide(StrEnum):
    """The IDEs that are known."""

    VSCODE = "vscode"
    PYCHARM = "pycharm"


@dataclass(frozen=True)
class Change:
    """A file as it is (None: it isn't there) and as it shall be. ``name`` is as the user knows it."""

    path: Path
    name: str
    before: bytes | None
    after: bytes

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.name}: made"
        return f"{self.name}: {'as it was' if self.before == self.after else 'changed'}"

    def diff(self) -> str:
        """What would change, as `diff -u` writes it; empty for nothing."""
        before, after = ((text or b"").decode(errors="replace").splitlines() for text in (self.before, self.after))
        return "\n".join(difflib.unified_diff(before, after, self.name, self.name, lineterm=""))


def prepare(ide: Ide, start: Start, project: Path, *, dry_run: bool = False) -> list[str]:
    """Write the files, and return a line about each; with ``dry_run`` write nothing, and return what would change."""
    _check_program(project, start)
    folder = vscode.FOLDER if ide is Ide.VSCODE else pycharm.FOLDER
    changes = [_runner(project, f"{folder}/{RUNNER}")]
    try:
        changes.append(_launch_json(project, start) if ide is Ide.VSCODE else _run_configuration(project, start))
    except _ByHand:
        if not dry_run:
            _write(changes)  # what is put in by hand needs it
        raise
    if dry_run:
        return [each.diff() for each in changes if each.diff()]
    _write(changes)
    return [str(each) for each in changes]


def _check_program(project: Path, start: Start) -> None:
    is_variable = start.program.startswith("$")  # the IDE's, such as ${file}
    if start.program and not is_variable and not (project / start.program).is_file():
        raise UsageError(
            f"there is no file {start.program} in {project}", hint="Name the program, seen from the project's folder."
        )


def _runner(project: Path, name: str) -> Change:
    path = project / name
    before = _read(path, name)
    if before is not None and not before.startswith(_OURS):
        raise UsageError(f"{name} is there already, and was not written by bridge", hint="Move it away, and try again.")
    return Change(path, name, before, Path(__file__).with_name("debuggee.py").read_bytes())


def _launch_json(project: Path, start: Start) -> Change:
    name = f"{vscode.FOLDER}/{vscode.FILE}"
    before = _read(project / name, name)
    by_hand = f'put this into "configurations" by hand:\n{vscode.render_entry(vscode.entry_of(start))}'
    try:
        after = vscode.merged_launch((before or b"").decode(), start).encode()
    except UnicodeDecodeError as error:
        raise _unmergeable(name, NotMergeable("it is not in UTF-8"), by_hand) from error
    except NotMergeable as error:
        raise _unmergeable(name, error, by_hand) from error
    return Change(project / name, name, before, after)


def _run_configuration(project: Path, start: Start) -> Change:
    name, before = _found_configuration(project, start.name)
    if before is None and not start.is_named:
        raise UsageError(
            "PyCharm must be told what to start", hint="Name the program: bridge ide pycharm --swap tasks app.py"
        )
    new = pycharm.new_configuration(start, _module(project))
    try:
        after = new.encode() if before is None else pycharm.merged_configuration(before, start)
    except NotMergeable as error:
        raise _unmergeable(name, error, f"put this into a file beside it by hand:\n{new}") from error
    return Change(project / name, name, before, after)


def _found_configuration(project: Path, wanted: str) -> tuple[str, bytes | None]:
    """The file that has the configuration, wherever PyCharm has put it; else the one that is to be made."""
    for pattern in (f"{pycharm.FOLDER}/*.run.xml", f"{pycharm.IDEA_FOLDER}/*.xml"):
        for path in sorted(project.glob(pattern)):
            name = str(path.relative_to(project))
            text = _read(path, name) or b""
            if wanted in pycharm.configurations_in(text):
                return name, text
    name = f"{pycharm.FOLDER}/{pycharm.file_name(wanted)}"
    return name, _read(project / name, name)


def _module(project: Path) -> str:
    """The name of the project's module in PyCharm, if there is one and only one."""
    found = [path.stem for path in project.glob(".idea/*.iml")]
    return found[0] if len(found) == 1 else ""


def _unmergeable(name: str, error: NotMergeable, by_hand: str) -> _ByHand:
    place = "".join(f":{number}" for number in (error.line, error.column) if number)
    return _ByHand(f"{name}{place}: {error.what}", hint=f"It was left as it is. Mend it, or {by_hand}")


# ---- files -----------------------------------------------------------------------------------------------------------
def _read(path: Path, name: str) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{name} can't be read: {error.strerror}", hint="Mend that, and try again.") from error


def _write(changes: list[Change]) -> None:
    for change in changes:
        if change.before != change.after:
            try:
                _replace(change.path.resolve(), change.after)
            except OSError as error:
                raise UsageError(
                    f"{change.name} can't be written: {error.strerror}", hint="Mend that, and try again."
                ) from error


def _replace(path: Path, content: bytes) -> None:
    """Write atomically, and keep the mode: at no moment is there half a file, or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with new.open("xb") as file:
            if path.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            file.write(content)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)

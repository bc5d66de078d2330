"""Undo records on this laptop's disk: one private file a session, written before the change that it undoes.

The same record is on the target in the cluster; this copy also names what has no target (a bare proxy pod), and tells
``bridge restore`` which process held the session, so that a dead one is known at once. A disk that can't be written
stops a session before anything has changed.

A home directory may be shared, by machines or containers: each sees its own records only, for a process number means
nothing elsewhere. Of the others' sessions the cluster tells.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import BridgeError
from bridge.paths import state_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

TO_WRITE = "Nothing was changed. Make room or set XDG_STATE_HOME to a directory that can be written."
"""The next step where it can't be written there."""

log = logging.getLogger(__name__)


def this_machine() -> str:
    """Name what process numbers are unique in: the machine, and the pid namespace."""
    machine = ""
    with suppress(OSError):
        machine = Path("/etc/machine-id").read_text().strip()
    return f"{machine or os.uname().nodename} {Path('/proc/self/ns/pid').readlink()}"


@dataclass(frozen=True, kw_only=True)
class LocalSession:
    """What this laptop knows of a session: where it is, and who runs it (a reused pid is told by its start time)."""

    session: str
    context: str
    server: str
    namespace: str
    target: str | None
    pid: int
    started: str
    undo: str | None
    kubeconfig: str | None = None
    """The file that was named; None: as kubectl finds it."""
    kept: str = ""
    """For which command it is kept after that has ended (``kept.key_of``); empty: for none."""
    machine: str = field(default_factory=this_machine)

    @classmethod
    def of(cls, content: dict[str, Any]) -> LocalSession:
        """Read a record; what a newer bridge has added is left out. Raise TypeError for what is none."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in dict(content).items() if name in known})

    @property
    def where(self) -> str:
        """Write the options that lead bridge to its cluster and namespace."""
        named = f" --kubeconfig {shlex.quote(self.kubeconfig)}" if self.kubeconfig else ""
        return f"--namespace {self.namespace} --context {shlex.quote(self.context)}{named}"

    def is_alive(self) -> bool:
        """Whether the bridge that held this session still runs on this laptop."""
        return process_start(self.pid) == self.started


def process_start(pid: int) -> str | None:
    """Tell a process's start time in clock ticks since boot (proc(5), stat field 22), or None when there is none.

    One that has ended, and whose parent has not asked how, is none.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")  # the command name may be cut within a character
    except OSError:
        return None
    state, *rest = stat.rpartition(")")[2].split()  # the command name before ")" may hold anything
    return None if state in "ZX" else rest[18]


class Store:
    """The directory of records."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def recorded(self, session: LocalSession) -> Iterator[None]:
        """Keep the record from before the change until after the restore; a failed restore leaves it."""
        self.write(session)
        yield
        self.remove(session.session)

    def write(self, session: LocalSession) -> None:
        """Write atomically and durably: a crash leaves the record whole or not there."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self._directory, prefix=".new-", delete=False) as file:
                try:
                    json.dump(asdict(session), file, indent=1)
                    file.flush()
                    os.fsync(file.fileno())
                    Path(file.name).replace(self._path(session.session))
                except BaseException:
                    with suppress(OSError):
                        Path(file.name).unlink()
                    raise
        except OSError as error:
            raise BridgeError(
                f"the undo record can't be written to {self._directory}: {error.strerror or error}",
                hint=TO_WRITE,
            ) from error

    def remove(self, session: str) -> None:
        """Forget a session that was restored. That this can't be does not undo it: ``housekeeping`` tries again."""
        try:
            self._path(session).unlink(missing_ok=True)
        except OSError as error:
            log.warning("the record of session %s can't be removed: %s", session, error)

    def sessions(self) -> list[LocalSession]:
        """List what is recorded of this machine; a file that can't be read is no session of ours."""
        found, here = [], this_machine()
        for path in sorted(self._directory.glob("*.json")):
            with suppress(OSError, ValueError, TypeError):
                found.append(LocalSession.of(json.loads(path.read_text())))
        return [each for each in found if each.machine == here]

    def _path(self, session: str) -> Path:
        return self._directory / f"{session}.json"


def this_laptops_store() -> Store:
    """Return the store of this user on this laptop."""
    return Store(state_directory(os.environ) / "sessions")

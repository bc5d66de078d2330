"""The pod's volumes, in the sandbox at the paths that they have in the pod.

    volume                                    how                                                    with --mount copy
    ----------------------------------------  -----------------------------------------------------  -----------------
    ConfigMap, Secret, token, downward API    copied, and renewed when the kubelet changes it         the same
    a single file (subPath)                   copied once: the pod sees no change of it either       the same
    claims, emptyDir, hostPath, CSI ...       mounted over SFTP, to read and to write; where this     copied once
                                              laptop can't do that: copied once, and said

What is mounted outlives a tunnel: when another one stands it is mounted anew, and what is asked for meanwhile waits;
files that were open give an error, once. Copies are renewed over the tunnel that stands.

What is in the pod is ``podfiles``; how it appears on the laptop is ``appearing``.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from bridge.errors import TunnelError, UsageError
from bridge.session.appearing import Appearing
from bridge.session.podfiles import PodFiles
from bridge.session.request import MountMode

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence
    from concurrent.futures import Future
    from typing import Any

    from bridge.laptop.sandbox import Sandbox
    from bridge.plan.mounts import Mount
    from bridge.session.narrator import Narrator
    from bridge.session.outside import Outside
    from bridge.session.podfiles import Found
    from bridge.tunnel.line import Line
    from bridge.tunnel.loop import EventLoop
    from bridge.tunnel.ssh import Connection


class Volumes:
    """The volumes of one session. ``ask`` puts a question to the user; no, where there is no terminal for it.

    ``moved`` and ``close`` are on the event loop, all else is for the main thread.
    """

    def __init__(
        self,
        box: Sandbox,
        loop: EventLoop,
        line: Line,
        narrator: Narrator,
        *,
        mode: MountMode,
        limit: int,
        ask: Callable[[str], Coroutine[Any, Any, bool]],
        outside: Outside | None = None,
    ) -> None:
        self._loop, self._narrator = loop, narrator
        self._mode, self._limit, self._ask = mode, limit, ask
        self._outside = outside
        self._appearing = Appearing(box, loop, narrator, mode=mode, outside=outside)
        self._files = PodFiles(line, narrator, self._appearing)
        self._looking: Future[list[Found]] | None = None
        self.paths: tuple[str, ...] = ()
        """The mount paths that are there."""
        self.root = str(outside.directory) if outside else "/"
        """The folder in which these paths are."""

    def fetch(self, mounts: Sequence[Mount], connection: Connection) -> None:
        """Begin to read them, while other things are done; `show` needs what comes of it."""
        wanted = () if self._mode is MountMode.OFF else self._appearing.plan(mounts)
        if wanted:
            self._looking = self._loop.submit(self._files.look(wanted, connection))

    def show(self, connection: Connection) -> None:
        """Have the volumes appear in the sandbox; say what can't. BridgeError where the user is to decide."""
        for note in self._appearing.notes:
            self._narrator.note(note)
        if self._looking is None:
            return
        self._narrator.doing("fetching the pod's files")
        found = self._fetched(self._looking)
        there = self._appearing.show(found, connection, self._copied)
        if self._outside:
            there = self._appearing.show_outside(self._outside, found)
        self._tell([each.mount.path for each in there])
        followed = [each for each in found if any(copy.follows for copy in each.copies)]
        if followed:
            self._loop.submit(self._files.follow(followed))

    def _fetched(self, looking: Future[list[Found]]) -> list[Found]:
        """Return what is here, or is to be mounted."""
        with _naming_a_lost_tunnel():
            return self._here(looking.result())

    def _copied(self, found: Found) -> Found | None:
        """Return what was to be mounted, copied; None, and said, where that can't be either."""
        with _naming_a_lost_tunnel():
            try:
                measured = self._loop.run(self._files.measured(found))
            except ConnectionError:
                raise
            except OSError as error:
                self._narrator.warn(f"{found.mount} can't be copied: {error.strerror or error}")
                return None
            return next(iter(self._here([measured])), None)

    def _here(self, found: list[Found]) -> list[Found]:
        for each in found:
            self._check_size(each)
        return self._loop.run(self._files.copy(found))

    def _check_size(self, found: Found) -> None:
        if found.size <= self._limit:
            return
        what = f"{found.mount} holds {in_words(found.size)}"
        if not self._loop.run(self._ask(f"{what}: copy it into this laptop's memory?")):
            raise UsageError(
                f"{what}, more than is copied without being asked ({in_words(self._limit)})",
                hint="Mount it live (--mount live, with sshfs installed), give it --copy-limit, or --mount off.",
            )

    def _tell(self, paths: Sequence[str]) -> None:
        self.paths = tuple(paths)
        if paths:
            at = f", and below {self.root}" if self._outside else ""
            self._narrator.done(f"the pod's files are at {', '.join(paths)}{at}")

    def shown_anew(self, connection: Connection) -> None:
        """Go on over another connection; see `moved`."""
        self._loop.run(self.moved(connection))

    async def moved(self, connection: Connection) -> None:
        """Mount anew what is mounted, over another connection."""
        await self._appearing.moved(connection)

    async def close(self) -> None:
        """Serve no more."""
        if self._looking is not None:
            self._looking.cancel()
        self._files.close()
        self._appearing.close()


@contextmanager
def _naming_a_lost_tunnel() -> Iterator[None]:
    try:
        yield
    except ConnectionError as error:
        raise TunnelError(f"the tunnel was lost while the pod's files were read: {error}") from error


def in_words(size: int) -> str:
    """Write a number of bytes for people."""
    for power, unit in enumerate(("B", "KiB", "MiB")):
        if size < 1024 ** (power + 1):
            return f"{size / 1024**power:.0f} {unit}"
    return f"{size / 1024**3:.1f} GiB"

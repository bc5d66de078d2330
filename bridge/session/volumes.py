"""The pod's volumes, in the sandbox at the paths that they have in the pod.

    volume                                    how                                                    with --mount copy
    ----------------------------------------  -----------------------------------------------------  -----------------
    ConfigMap, Secret, token, downward API    copied, and renewed when the kubelet changes it         the same
    a single file (subPath)                   copied once: the pod sees no change of it either       the same
    claims, emptyDir, hostPath, CSI ...       mounted over SFTP, to read and to write; where this     copied once
                                              laptop can't do that: copied once, and said

What is mounted outlives a tunnel: when another one stands it is mounted anew, and what is asked for meanwhile waits;
files that were open give an error, once. Copies are renewed over the tunnel that stands.

``show``, ``shown_anew`` are for the main thread, the rest is on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import BridgeError, UsageError
from bridge.laptop.sandbox import Bind
from bridge.plan.mounts import KUBELETS_KINDS, shown_mounts
from bridge.session.copies import Copy, Torn, current_data, size_of
from bridge.session.request import MountMode
from bridge.tunnel.live import serve_files
from bridge.tunnel.sftp import open_sftp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.laptop.sandbox import Sandbox
    from bridge.session.narrator import Narrator
    from bridge.session.outside import Outside
    from bridge.tunnel.line import Line
    from bridge.tunnel.loop import EventLoop
    from bridge.tunnel.sftp import Sftp
    from bridge.tunnel.ssh import Connection
    from bridge.wire.messages import Mount

log = logging.getLogger(__name__)

LOOK_EVERY = 5.0
"""Seconds between two looks for what the kubelet has changed: one round trip for all volumes."""
NAMED = 3
"""Files that can't be read are named up to this number."""


@dataclass(frozen=True)
class Found:
    """A volume as it is in the pod, and whether it is to be copied. ``size``: bytes, 0 where nobody asked."""

    mount: Mount
    copied: bool
    writable: bool
    size: int = 0


class Volumes:
    """The volumes of one session. ``ask`` puts a question to the user; None where there is no terminal for it."""

    def __init__(
        self,
        box: Sandbox,
        loop: EventLoop,
        line: Line,
        narrator: Narrator,
        *,
        mode: MountMode,
        limit: int,
        ask: Callable[[str], bool | None],
        outside: Outside | None = None,
    ) -> None:
        self._box, self._loop, self._line, self._narrator = box, loop, line, narrator
        self._mode, self._limit, self._ask = mode, limit, ask
        self._outside = outside
        self._copies: dict[str, Copy] = {}
        self._copies_outside: dict[str, Copy] = {}
        self._live: dict[str, bool] = {}  # path -> whether read-only
        self._served: list[asyncio.BaseTransport] = []
        self.paths: tuple[str, ...] = ()
        """The mount paths that are there."""
        self.root = str(outside.directory) if outside else "/"
        """The folder in which these paths are."""

    # ---- the main thread ------------------------------------------------------------------------------------------
    def show(self, mounts: Sequence[Mount], connection: Connection) -> None:
        """Have the volumes appear in the sandbox; say what can't. BridgeError where the user is to decide."""
        if self._mode is MountMode.OFF or not mounts:
            return
        shown = shown_mounts(mounts, keep=[str(Path.home()), str(Path.cwd())])
        if not self._outside:
            for note in shown.notes:
                self._narrator.note(note)
        wanted = sorted(mounts, key=lambda each: each.path.count("/")) if self._outside else shown.mounts
        if not wanted:
            return
        self._narrator.doing("fetching the pod's files")
        found = self._loop.run(self._look(wanted, connection))
        self._check_sizes(found)
        inside = [each for each in found if each.mount in shown.mounts]
        self._loop.run(self._copy(inside, found, connection))
        for each in inside:
            self._appear(each, connection)
        if self._outside:
            self._appear_outside(self._outside, found)
        there = self._copies_outside if self._outside else {*self._copies, *self._live}
        self.paths = tuple(each.mount.path for each in found if each.mount.path in there)
        if self.paths:
            at = f", and below {self.root}" if self._outside else ""
            self._narrator.done(f"the pod's files are at {', '.join(self.paths)}{at}")
        if any(copy.follows for copy in self._all_copies()):
            self._loop.submit(self._follow())

    def shown_anew(self, connection: Connection) -> None:
        """Go on over another connection; see `moved`."""
        self._loop.run(self.moved(connection))

    def _check_sizes(self, found: Sequence[Found]) -> None:
        for each in found:
            if each.size <= self._limit:
                continue
            what = f"the volume at {each.mount.path} holds {in_words(each.size)}"
            if not self._ask(f"{what}: copy it into this laptop's memory?"):
                raise UsageError(
                    f"{what}, more than is copied without being asked ({in_words(self._limit)})",
                    hint="Mount it live (--mount live, with sshfs installed), give it --copy-limit, or --mount off.",
                )

    def _appear(self, found: Found, connection: Connection) -> None:
        """Parents come first, and are served before what is mounted in them."""
        path = found.mount.path
        try:
            if path in self._copies:
                bind = Bind(path, self._copies[path].local.name, read_only=found.mount.read_only)
                for folder in self._box.bind([bind]):
                    self._narrator.note(
                        f"to show {path}, {folder} is covered in the sandbox: files that are newly made right in it "
                        "are not kept"
                    )
            elif not found.copied:
                self._live[path] = found.mount.read_only
                sock = self._box.mount_live(path, read_only=found.mount.read_only)
                self._served.append(self._loop.run(serve_files(connection, sock)))
        except BridgeError as error:
            self._copies.pop(path, None)
            self._live.pop(path, None)
            self._narrator.warn(f"the volume at {path} is not shown: {error.message}. {error.hint}")

    def _appear_outside(self, outside: Outside, found: Sequence[Found]) -> None:
        for each in found:
            path = each.mount.path
            copy = self._copies_outside.pop(path)
            if not copy.local.exists():
                continue  # it is said why
            try:
                outside.link(path, copy.local)
                self._copies_outside[path] = copy
            except OSError as error:
                self._narrator.warn(f"the volume at {path} is not in {outside.directory}: {error.strerror or error}")
        once = [each.mount.path for each in found if not each.copied]
        if once:
            self._narrator.note(
                f"in {outside.directory}, what is at {', '.join(once)} is a copy of now; programs in the sandbox "
                "(bridge exec) have it live"
            )

    # ---- the event loop -------------------------------------------------------------------------------------------
    async def moved(self, connection: Connection) -> None:
        """Mount anew what is mounted, over another connection."""
        old, self._served = self._served, []
        for path, read_only in self._live.items():
            try:
                sock = await asyncio.to_thread(partial(self._box.mount_live, path, read_only=read_only))
                self._served.append(await serve_files(connection, sock))
            except (BridgeError, OSError) as error:
                self._narrator.warn(f"the volume at {path} can't be mounted again: {error}")
        for transport in old:
            transport.close()

    async def close(self) -> None:
        """Serve no more."""
        for transport in self._served:
            transport.close()
        self._served.clear()

    async def _look(self, mounts: Sequence[Mount], connection: Connection) -> list[Found]:
        async with await open_sftp(connection) as sftp:
            found = await asyncio.gather(*(self._classified(sftp, mount) for mount in mounts))
        return [each for each in found if each is not None]

    async def _classified(self, sftp: Sftp, mount: Mount) -> Found | None:
        remote = os.fsencode(mount.path)
        try:
            attributes = await sftp.attributes(remote, follow=True)
            kubelets = await current_data(sftp, remote) is not None or mount.kind in KUBELETS_KINDS
            live = not kubelets and attributes.is_folder and self._mode is MountMode.LIVE
            if live and (reason := self._box.live_unsupported()):
                self._narrator.warn(f"the volume at {mount.path} is copied once, not mounted: {reason}")
                live = False
            size = 0 if kubelets or (live and not self._outside) else await size_of(sftp, remote, attributes)
        except OSError as error:
            self._narrator.warn(f"the volume at {mount.path} can't be read in the pod: {error.strerror or error}")
            return None
        return Found(mount, copied=not live, writable=not mount.read_only and not kubelets, size=size)

    async def _copy(self, inside: Sequence[Found], outside: Sequence[Found], connection: Connection) -> None:
        store = Path(f"/proc/self/fd/{self._box.store()}")
        for each in inside:
            if each.copied:
                self._copies[each.mount.path] = _new_copy(each, store / str(len(self._copies)))
        if self._outside:
            self._copies_outside = {each.mount.path: _new_copy(each, self._outside.place()) for each in outside}
        async with await open_sftp(connection) as sftp:
            await asyncio.gather(*(self._taken(sftp, *each) for each in self._copies.items()))
            await asyncio.gather(*(self._taken(sftp, *each) for each in self._copies_outside.items()))

    async def _taken(self, sftp: Sftp, path: str, copy: Copy) -> None:
        try:
            copied = await copy.take(sftp, await sftp.attributes(os.fsencode(path), follow=True))
        except (OSError, Torn) as error:
            self._narrator.warn(f"the volume at {path} can't be copied: {error}")
            return
        if missed := copied.unreadable:
            names = ", ".join(list(missed)[:NAMED]) + (" ..." if len(missed) > NAMED else "")
            self._narrator.warn(
                f"of the volume at {path} the proxy pod may not read {len(missed)} (the process neither): {names}"
            )

    def _all_copies(self) -> list[Copy]:
        return [*self._copies.values(), *self._copies_outside.values()]

    async def _follow(self) -> None:
        """Renew what the kubelet changes, over whichever connection stands, until this is cancelled."""
        sftp: Sftp | None = None
        while True:
            await asyncio.sleep(LOOK_EVERY)
            connection = self._line.connection
            if connection is None:
                continue
            try:
                if sftp is None or not sftp.usable:
                    sftp = await open_sftp(connection)
                await asyncio.gather(*(self._renewed(sftp, each) for each in self._all_copies()))
            except OSError as error:
                log.debug("the pod's files can't be looked at now: %s", error)

    async def _renewed(self, sftp: Sftp, copy: Copy) -> None:
        if not copy.follows:
            return
        with suppress(Torn):
            if await copy.renew(sftp) and copy in self._copies.values():  # it is said once
                self._narrator.done(f"{copy.path} has changed in the cluster, and here")


def _new_copy(found: Found, local: Path) -> Copy:
    return Copy(found.mount.path, local, writable=found.writable)


def in_words(size: int) -> str:
    """Write a number of bytes for people."""
    for power, unit in enumerate(("B", "KiB", "MiB")):
        if size < 1024 ** (power + 1):
            return f"{size / 1024**power:.0f} {unit}"
    return f"{size / 1024**3:.1f} GiB"


def ask_at_terminal(question: str) -> bool | None:
    """Ask at the terminal, which may not be stdin; None where there is none, or it is not ours to read now."""
    try:
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "r+b", buffering=0) as terminal:
        if not stat.S_ISCHR(os.fstat(descriptor).st_mode) or os.tcgetpgrp(descriptor) != os.getpgrp():
            return None
        terminal.write(f"{question} [y/N] ".encode())
        return terminal.readline().strip().lower() in (b"y", b"yes")

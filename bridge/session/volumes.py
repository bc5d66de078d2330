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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import BridgeError, TunnelError, UsageError
from bridge.laptop.sandbox import Bind
from bridge.plan.mounts import Shown, shown_mounts
from bridge.session.copies import Copy, remove, size_of
from bridge.session.request import MountMode
from bridge.tunnel.live import serve_files
from bridge.tunnel.published import Torn, read_published
from bridge.tunnel.sftp import open_sftp

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from concurrent.futures import Future
    from typing import Any

    from bridge.laptop.sandbox import Sandbox
    from bridge.plan.mounts import Mount
    from bridge.session.narrator import Narrator
    from bridge.session.outside import Outside
    from bridge.tunnel.line import Line
    from bridge.tunnel.loop import EventLoop
    from bridge.tunnel.sftp import Attributes, Sftp
    from bridge.tunnel.ssh import Connection

log = logging.getLogger(__name__)

LOOK_EVERY = 5.0
"""Seconds between two looks for what the kubelet has changed: one round trip for all volumes."""
NAMED = 3
"""Files that can't be read are named up to this number."""


@dataclass(frozen=True)
class Found:
    """A volume as it is in the pod: which copies of it there are, or are to be. ``inside`` None: it is mounted live.

    ``attributes``: of what is still to be copied, None where that is done. ``size``: bytes, 0 where nobody asked.
    """

    mount: Mount
    inside: Copy | None = None
    outside: Copy | None = None
    attributes: Attributes | None = None
    size: int = 0

    @property
    def copies(self) -> list[Copy]:
        """Its copies."""
        return [each for each in (self.inside, self.outside) if each]


class Volumes:
    """The volumes of one session. ``ask`` puts a question to the user; no, where there is no terminal for it."""

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
        self._box, self._loop, self._line, self._narrator = box, loop, line, narrator
        self._mode, self._limit, self._ask = mode, limit, ask
        self._outside = outside
        self._shown = Shown((), ())
        self._fetching: Future[list[Found]] | None = None
        self._sftp: Sftp | None = None
        self._followed: list[tuple[Mount, list[Copy]]] = []
        self._stuck: set[Mount] = set()
        self._live: dict[str, bool] = {}  # path -> whether read-only
        self._served: list[asyncio.BaseTransport] = []
        self.paths: tuple[str, ...] = ()
        """The mount paths that are there."""
        self.root = str(outside.directory) if outside else "/"
        """The folder in which these paths are."""

    # ---- the main thread ------------------------------------------------------------------------------------------
    def fetch(self, mounts: Sequence[Mount], connection: Connection) -> None:
        """Begin to read them, while other things are done; `show` needs what comes of it."""
        if self._mode is MountMode.OFF:
            return
        keep = [os.path.realpath(each) for each in (Path.home(), Path.cwd())]
        self._shown = shown_mounts(mounts, keep, real=os.path.realpath)
        wanted = mounts if self._outside else self._shown.mounts
        if wanted:
            self._fetching = self._loop.submit(self._fetch(wanted, connection))

    def show(self, connection: Connection) -> None:
        """Have the volumes appear in the sandbox; say what can't. BridgeError where the user is to decide."""
        for note in () if self._outside else self._shown.notes:
            self._narrator.note(note)
        if self._fetching is None:
            return
        self._narrator.doing("fetching the pod's files")
        try:
            found = self._fetching.result()
            self._check_sizes(found)
            missing = self._loop.run(self._copy([each for each in found if each.attributes]))
        except ConnectionError as error:
            raise TunnelError(f"the tunnel was lost while the pod's files were read: {error}") from error
        found = [each for each in found if each not in missing]
        inside = self._appear([each for each in found if each.mount in self._shown.mounts], connection)
        there = self._appear_outside(self._outside, found) if self._outside else inside
        self._followed = [(each.mount, each.copies) for each in found if any(copy.follows for copy in each.copies)]
        self.paths = tuple(each.mount.path for each in there)
        if self.paths:
            at = f", and below {self.root}" if self._outside else ""
            self._narrator.done(f"the pod's files are at {', '.join(self.paths)}{at}")
        if self._followed:
            self._loop.submit(self._follow())

    def shown_anew(self, connection: Connection) -> None:
        """Go on over another connection; see `moved`."""
        self._loop.run(self.moved(connection))

    def _check_sizes(self, found: Sequence[Found]) -> None:
        for each in found:
            if each.size <= self._limit:
                continue
            what = f"{each.mount} holds {in_words(each.size)}"
            if not self._loop.run(self._ask(f"{what}: copy it into this laptop's memory?")):
                raise UsageError(
                    f"{what}, more than is copied without being asked ({in_words(self._limit)})",
                    hint="Mount it live (--mount live, with sshfs installed), give it --copy-limit, or --mount off.",
                )

    def _appear(self, found: Sequence[Found], connection: Connection) -> list[Found]:
        """Have them appear, and give those that do. Parents come first, and are served before what is in them."""
        begun: list[tuple[Found, Future[asyncio.BaseTransport] | None]] = []
        for each in found:
            try:
                if each.inside:
                    self._bind(each.mount, each.inside)
                    begun.append((each, None))
                else:
                    begun.append((each, self._mount(each.mount, connection)))
            except BridgeError as error:
                self._narrator.warn(f"{each.mount} is not shown: {error.message}. {error.hint}")
        there = []
        for each, served in begun:
            try:
                if served:
                    self._served.append(served.result())
                there.append(each)
            except OSError as error:
                del self._live[each.mount.path]
                self._narrator.warn(f"{each.mount} is not shown: the pod does not serve it ({error})")
        return there

    def _bind(self, mount: Mount, copy: Copy) -> None:
        for folder in self._box.bind([Bind(mount.path, copy.local.name, read_only=mount.read_only)]):
            self._narrator.note(
                f"to show {mount.path}, {folder} is covered in the sandbox: files that are newly made right in it "
                "are not kept"
            )

    def _mount(self, mount: Mount, connection: Connection) -> Future[asyncio.BaseTransport]:
        sock = self._box.mount_live(mount.path, read_only=mount.read_only)
        self._live[mount.path] = mount.read_only
        return self._loop.submit(serve_files(connection, sock))

    def _appear_outside(self, outside: Outside, found: Sequence[Found]) -> list[Found]:
        there = []
        for each in found:
            assert each.outside
            try:
                outside.link(each.mount.path, each.outside.local)
                there.append(each)
            except OSError as error:
                self._narrator.warn(f"{each.mount} is not in {outside.directory}: {error.strerror or error}")
        once = [each.mount.path for each in there if each.inside is None and each.mount in self._shown.mounts]
        if once:
            self._narrator.note(
                f"in {outside.directory}, what is at {', '.join(once)} is a copy of now; programs in the sandbox "
                "(bridge exec) have it live"
            )
        return there

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
        if self._fetching is not None:
            self._fetching.cancel()
        if self._sftp is not None:
            self._sftp.close()
        for transport in self._served:
            transport.close()
        self._served.clear()

    async def _fetch(self, mounts: Sequence[Mount], connection: Connection) -> list[Found]:
        """Look at all of them at once, and copy what is small. Raises ConnectionError."""
        self._sftp = await open_sftp(connection)
        numbered = enumerate(mounts)
        found = await asyncio.gather(*(self._look(self._sftp, number, mount) for number, mount in numbered))
        return [each for each in found if each is not None]

    async def _look(self, sftp: Sftp, number: int, mount: Mount) -> Found | None:
        try:
            if mount.is_kubelets:
                return await self._taken(sftp, number, mount)
            return await self._classified(sftp, number, mount)
        except ConnectionError:
            raise
        except (OSError, Torn) as error:
            reason = getattr(error, "strerror", "") or error
            self._narrator.warn(f"{mount} can't be read in the pod: {reason}")
            return None

    async def _taken(self, sftp: Sftp, number: int, mount: Mount) -> Found:
        """Copy what the kubelet has written; if it is no folder as it publishes them, a part of one (subPath)."""
        published = await read_published(sftp, os.fsencode(mount.path))
        if published is None:
            attributes = await sftp.attributes(os.fsencode(mount.path), follow=True)
            return self._found(number, mount, live=False, attributes=attributes)
        found = self._found(number, mount, live=False)
        for copy in found.copies:
            copy.publish(published)
        self._missed(mount, published.unreadable)
        return found

    async def _classified(self, sftp: Sftp, number: int, mount: Mount) -> Found:
        remote = os.fsencode(mount.path)
        attributes = await sftp.attributes(remote, follow=True)
        live = attributes.is_folder and self._mode is MountMode.LIVE
        if live and (reason := self._box.live_unsupported()):
            self._narrator.warn(f"{mount} is copied once, not mounted: {reason}")
            live = False
        if live and not self._outside:
            return self._found(number, mount, live=True)
        size = await size_of(sftp, remote, attributes)
        return self._found(number, mount, live=live, attributes=attributes, size=size)

    def _found(
        self, number: int, mount: Mount, *, live: bool, attributes: Attributes | None = None, size: int = 0
    ) -> Found:
        def copy(local: Path) -> Copy:
            return Copy(mount.path, local, writable=not mount.read_only)

        store = Path(f"/proc/self/fd/{self._box.store()}")
        shown = mount in self._shown.mounts
        return Found(
            mount,
            inside=copy(store / str(number)) if shown and not live else None,
            outside=copy(self._outside.place()) if self._outside else None,
            attributes=attributes,
            size=size,
        )

    async def _copy(self, found: Sequence[Found]) -> list[Found]:
        """Copy what is not yet; give those of which that can't be done. Raises ConnectionError."""
        assert self._sftp
        done = await asyncio.gather(*(self._copied(self._sftp, each) for each in found))
        return [each for each, copied in zip(found, done, strict=True) if not copied]

    async def _copied(self, sftp: Sftp, found: Found) -> bool:
        assert found.attributes
        missed: dict[str, str] = {}
        try:
            for copy in found.copies:
                missed |= (await copy.take(sftp, found.attributes)).unreadable
        except ConnectionError:
            raise
        except OSError as error:
            for copy in found.copies:
                remove(copy.local)
            self._narrator.warn(f"{found.mount} can't be copied: {error.strerror or error}")
            return False
        self._missed(found.mount, missed)
        return True

    def _missed(self, mount: Mount, unreadable: Mapping[str, str]) -> None:
        if unreadable:
            names = ", ".join(list(unreadable)[:NAMED]) + (" ..." if len(unreadable) > NAMED else "")
            self._narrator.warn(
                f"of {mount} the proxy pod may not read {len(unreadable)} (the process neither): {names}"
            )

    async def _follow(self) -> None:
        """Renew what the kubelet changes, over whichever connection stands, until this is cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            connection = self._line.connection
            if connection is None:
                continue
            try:
                if self._sftp is None or not self._sftp.usable:
                    self._sftp = await open_sftp(connection)
                await asyncio.gather(*(self._renewed(self._sftp, *each) for each in self._followed))
            except OSError as error:
                log.debug("the pod's files can't be looked at now: %s", error)

    async def _renewed(self, sftp: Sftp, mount: Mount, copies: Sequence[Copy]) -> None:
        try:
            renewed = [await copy.renew(sftp) for copy in copies]
        except ConnectionError:
            raise
        except (OSError, Torn) as error:
            if mount not in self._stuck:
                self._stuck.add(mount)
                self._narrator.warn(f"{mount} can't be renewed: {error}; it is tried again and again")
            return
        self._stuck.discard(mount)
        if published := next(filter(None, renewed), None):
            self._narrator.done(f"{mount.path} has changed in the cluster, and here")
            self._missed(mount, published.unreadable)


def in_words(size: int) -> str:
    """Write a number of bytes for people."""
    for power, unit in enumerate(("B", "KiB", "MiB")):
        if size < 1024 ** (power + 1):
            return f"{size / 1024**power:.0f} {unit}"
    return f"{size / 1024**3:.1f} GiB"

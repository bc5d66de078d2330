"""How the pod's volumes appear on the laptop: at their paths in the sandbox, and below ``--mount-at`` outside of it.

    in the sandbox    a copy in memory, bound; or mounted over SFTP, and mounted anew over each further connection
    outside           links to copies

``plan`` and those that show are for the main thread, the rest is on the event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import BridgeError, SandboxError
from bridge.laptop.sandbox import Bind
from bridge.plan.mounts import Shown, shown_mounts
from bridge.session.copies import Copy
from bridge.session.request import MountMode
from bridge.tunnel.live import serve_files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from bridge.laptop.sandbox import Sandbox
    from bridge.plan.mounts import Mount
    from bridge.session.narrator import Narrator
    from bridge.session.outside import Outside
    from bridge.session.podfiles import Found
    from bridge.tunnel.loop import EventLoop
    from bridge.tunnel.ssh import Connection


class Appearing:
    """See the module's docstring. Some volumes may appear outside only: ``plan`` says which do in the sandbox."""

    def __init__(
        self, box: Sandbox, loop: EventLoop, narrator: Narrator, *, mode: MountMode, outside: Outside | None
    ) -> None:
        self._box, self._loop, self._narrator = box, loop, narrator
        self._mode, self._outside = mode, outside
        self._shown = Shown((), ())
        self._numbers = itertools.count()
        self._live: dict[str, bool] = {}  # path -> whether read-only
        self._served: list[asyncio.BaseTransport] = []

    # ---- what is to appear, and as what: Places -------------------------------------------------------------------
    def plan(self, mounts: Sequence[Mount]) -> Sequence[Mount]:
        """Decide which of them appear in the sandbox; give those that appear somewhere."""
        keep = [os.path.realpath(each) for each in (Path.home(), Path.cwd())]
        self._shown = shown_mounts(mounts, keep, real=os.path.realpath)
        return mounts if self._outside else self._shown.mounts

    @property
    def notes(self) -> Sequence[str]:
        """What is to be said of those that do not appear at all."""
        return () if self._outside else self._shown.notes

    def is_live(self, mount: Mount) -> bool:
        """Tell whether a folder is to be mounted; say so where this laptop can't do it."""
        if self._mode is not MountMode.LIVE:
            return False
        if reason := self._box.live_unsupported():
            self._narrator.warn(f"{mount} is copied once, not mounted: {reason}")
        return not reason

    def copies(self, mount: Mount, *, live: bool) -> tuple[Copy | None, Copy | None]:
        """Give the copies that it takes in the sandbox and outside; nothing is there yet."""
        inside = mount in self._shown.mounts and not live
        return (
            self._copy_inside(mount) if inside else None,
            self._copy(mount, self._outside.place()) if self._outside else None,
        )

    def _copy_inside(self, mount: Mount) -> Copy:
        return self._copy(mount, Path(f"/proc/self/fd/{self._box.store()}") / str(next(self._numbers)))

    @staticmethod
    def _copy(mount: Mount, local: Path) -> Copy:
        return Copy(mount.path, local, writable=not mount.read_only)

    # ---- in the sandbox -------------------------------------------------------------------------------------------
    def show(
        self, found: Sequence[Found], connection: Connection, copied: Callable[[Found], Found | None]
    ) -> list[Found]:
        """Have them appear, and give those that do. Parents come first, and are served before what is in them.

        ``copied`` copies one that was to be mounted, and can't be; None where that can't be either.
        """
        begun: list[tuple[Found, Future[asyncio.BaseTransport] | None]] = []
        for each in found:
            if each.mount not in self._shown.mounts:
                continue
            try:
                if each.inside:
                    self._bind(each.mount, each.inside)
                    begun.append((each, None))
                else:
                    begun.append((each, self._mount(each.mount, connection)))
            except SandboxError as error:
                if not each.inside and (instead := self._instead(each, error, copied)):
                    begun.append((instead, None))
                else:
                    self._narrator.warn(f"{each.mount} is not shown: {error.message.removesuffix('.')}. {error.hint}")
        return [each for each, served in begun if served is None or self._is_served(each.mount, served)]

    def _instead(self, found: Found, error: SandboxError, copied: Callable[[Found], Found | None]) -> Found | None:
        """Show a copy of what the laptop does not mount, though it looked as if it could; None where that fails too."""
        mount = found.mount
        here = copied(replace(found, inside=self._copy_inside(mount), outside=None))
        if here is None or here.inside is None:
            return None
        try:
            self._bind(mount, here.inside)
        except SandboxError:  # it is the place that can't be: what was said of it first holds
            return None
        self._narrator.warn(f"{mount} is copied once, not mounted: {error.message}")
        return here

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

    def _is_served(self, mount: Mount, served: Future[asyncio.BaseTransport]) -> bool:
        try:
            self._served.append(served.result())
        except OSError as error:
            del self._live[mount.path]
            self._narrator.warn(f"{mount} is not shown: the pod does not serve it ({error})")
            return False
        return True

    # ---- outside --------------------------------------------------------------------------------------------------
    def show_outside(self, outside: Outside, found: Sequence[Found]) -> list[Found]:
        """Have them appear below its folder, and give those that do."""
        there = []
        for each in found:
            assert each.outside
            try:
                outside.link(each.mount.path, each.outside.local)
                there.append(each)
            except OSError as error:
                self._narrator.warn(f"{each.mount} is not in {outside.directory}: {error.strerror or error}")
        once = [each.mount.path for each in there if each.mount.path in self._live]
        if once:
            self._narrator.note(
                f"in {outside.directory}, what is at {', '.join(once)} is a copy of now; programs in the sandbox "
                "(bridge exec) have it live"
            )
        return there

    # ---- over one connection after another ------------------------------------------------------------------------
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

    def close(self) -> None:
        """Serve no more."""
        for transport in self._served:
            transport.close()
        self._served.clear()

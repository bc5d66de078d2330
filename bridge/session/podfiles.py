"""The pod's volumes as they are in the pod: looked at, copied where they are to be copied, and followed.

How each of them is to appear on the laptop, and so whether and where it is copied, is not decided here: ``Places``.

All of it is on the event loop. What can't be read is said, and left out; ConnectionError says that the tunnel was lost.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from bridge.session.copies import Copy, remove, size_of
from bridge.tunnel.published import Torn, read_published
from bridge.tunnel.sftp import open_sftp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bridge.plan.mounts import Mount
    from bridge.session.narrator import Narrator
    from bridge.tunnel.line import Line
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


class Places(Protocol):
    """Where volumes are to appear."""

    def is_live(self, mount: Mount) -> bool:
        """Tell whether a folder that others may write to is to be mounted, not copied."""

    def copies(self, mount: Mount, *, live: bool) -> tuple[Copy | None, Copy | None]:
        """Give the copies that it takes in the sandbox and outside; ``live``: in the sandbox it is mounted."""


class PodFiles:
    """See the module's docstring."""

    def __init__(self, line: Line, narrator: Narrator, places: Places) -> None:
        self._line, self._narrator, self._places = line, narrator, places
        self._sftp: Sftp | None = None
        self._stuck: set[Mount] = set()

    async def look(self, mounts: Sequence[Mount], connection: Connection) -> list[Found]:
        """Look at all of them at once, and copy what the kubelet has written: that is small."""
        self._sftp = await open_sftp(connection)
        found = await asyncio.gather(*(self._look(self._sftp, mount) for mount in mounts))
        return [each for each in found if each is not None]

    async def measured(self, found: Found) -> Found:
        """Look anew at what is to be copied now, as it could not be mounted. OSError."""
        assert self._sftp
        attributes = await self._sftp.attributes(os.fsencode(found.mount.path), follow=True)
        return await self._measured(self._sftp, found, attributes)

    async def copy(self, found: Sequence[Found]) -> list[Found]:
        """Copy what is not yet; give those that are here, or that need no copy."""
        assert self._sftp
        done = await asyncio.gather(*(self._copied(self._sftp, each) for each in found))
        return [each for each, here in zip(found, done, strict=True) if here]

    async def follow(self, followed: Sequence[Found]) -> None:
        """Renew what the kubelet changes, over whichever connection stands, until this is cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            connection = self._line.connection
            if connection is None:
                continue
            try:
                if self._sftp is None or not self._sftp.usable:
                    self._sftp = await open_sftp(connection)
                await asyncio.gather(*(self._renewed(self._sftp, each) for each in followed))
            except OSError as error:
                log.debug("the pod's files can't be looked at now: %s", error)

    def close(self) -> None:
        """Look no more."""
        if self._sftp is not None:
            self._sftp.close()

    # ---- each of them ---------------------------------------------------------------------------------------------
    async def _look(self, sftp: Sftp, mount: Mount) -> Found | None:
        try:
            return await (self._published if mount.is_kubelets else self._classified)(sftp, mount)
        except ConnectionError:
            raise
        except (OSError, Torn) as error:
            reason = getattr(error, "strerror", "") or error
            self._narrator.warn(f"{mount} can't be read in the pod: {reason}")
            return None

    async def _published(self, sftp: Sftp, mount: Mount) -> Found:
        """Copy what the kubelet has written; if it is no folder as it publishes them, a part of one (subPath)."""
        published = await read_published(sftp, os.fsencode(mount.path))
        copies = self._places.copies(mount, live=False)
        if published is None:
            return Found(mount, *copies, attributes=await sftp.attributes(os.fsencode(mount.path), follow=True))
        found = Found(mount, *copies)
        for copy in found.copies:
            copy.publish(published)
        self._missed(mount, published.unreadable)
        return found

    async def _classified(self, sftp: Sftp, mount: Mount) -> Found:
        remote = os.fsencode(mount.path)
        attributes = await sftp.attributes(remote, follow=True)
        found = Found(mount, *self._places.copies(mount, live=attributes.is_folder and self._places.is_live(mount)))
        return await self._measured(sftp, found, attributes) if found.copies else found

    @staticmethod
    async def _measured(sftp: Sftp, found: Found, attributes: Attributes) -> Found:
        size = await size_of(sftp, os.fsencode(found.mount.path), attributes)
        return replace(found, attributes=attributes, size=size)

    async def _copied(self, sftp: Sftp, found: Found) -> bool:
        if found.attributes is None:
            return True
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

    async def _renewed(self, sftp: Sftp, found: Found) -> None:
        mount = found.mount
        try:
            renewed = [await copy.renew(sftp) for copy in found.copies]
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

    def _missed(self, mount: Mount, unreadable: Mapping[str, str]) -> None:
        if unreadable:
            names = ", ".join(list(unreadable)[:NAMED]) + (" ..." if len(unreadable) > NAMED else "")
            self._narrator.warn(
                f"of {mount} the proxy pod may not read {len(unreadable)} (the process neither): {names}"
            )

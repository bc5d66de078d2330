"""Copies of the pod's files on the laptop, which follow what changes in the cluster.

A copy of what the kubelet publishes (``tunnel.published``) has the same folders and links, under the same names, and is
changed in the same way: the new folder is there whole before ``..data`` leads to it. Everything else is copied as it
is, once.

Files are the user's alone: of the permissions those of the owner are kept.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from bridge.tunnel.published import read_published, where_data_leads

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.tunnel.published import Published
    from bridge.tunnel.sftp import Attributes, Sftp

log = logging.getLogger(__name__)

AT_ONCE = 64
"""Files on the way at once: each has a file open here and in the pod."""


@dataclass
class Copied:
    """What came of copying: ``unreadable`` are paths in the pod, with the reason."""

    unreadable: dict[str, str] = field(default_factory=dict)

    def missed(self, path: bytes, error: OSError) -> None:
        """Note that a file could not be read."""
        self.unreadable[os.fsdecode(path)] = error.strerror or str(error)


class Copy:
    """One volume (or file of one) at ``remote`` in the pod, copied to ``local``, which is not there yet."""

    def __init__(self, remote: str, local: Path, *, writable: bool = False) -> None:
        self.path = remote
        self.local = local
        self._remote = os.fsencode(remote)
        self._fetch = Fetch(write=0o200 if writable else 0)
        self._data: str | None = None

    @property
    def follows(self) -> bool:
        """Whether the kubelet may change it, so that it is to be renewed."""
        return self._data is not None

    async def take(self, sftp: Sftp, attributes: Attributes) -> Copied:
        """Copy all, as it is now. ``attributes``: of ``remote``. OSError when the whole of it can't be read."""
        copied = Copied()
        await self._fetch.any(sftp, self._remote, attributes, self.local, copied)
        return copied

    def publish(self, published: Published) -> None:
        """Have the copy be this, from one moment to the next, as the kubelet does it. Raises OSError."""
        self.local.mkdir(mode=0o700, exist_ok=True)
        if self._data != published.data:
            remove(self.local / published.data)  # of an attempt that did not get to its end
            self._write_files(self.local / published.data, published)
            self._link("..data", published.data)
            self._data = published.data
        for name, target in published.links.items():
            self._link(name, target)
        for each in list(self.local.iterdir()):
            if each.name not in {"..data", published.data, *published.links}:
                remove(each)

    async def renew(self, sftp: Sftp) -> Published | None:
        """Take up what the kubelet has changed; None when that is nothing. Torn, OSError: try again later."""
        data = await where_data_leads(sftp, self._remote)
        if data is None or os.fsdecode(data) == self._data:
            return None
        published = await read_published(sftp, self._remote)
        if published is not None:
            self.publish(published)
        return published

    def _write_files(self, folder: Path, published: Published) -> None:
        for path in ("", *published.folders):
            (folder / path).mkdir(mode=0o700)
        for path, (mode, content) in published.files.items():
            with self._fetch.created(folder / path, mode) as file:
                file.write(content)

    def _link(self, name: str, target: str) -> None:
        with suppress(OSError):
            if str((self.local / name).readlink()) == target:
                return
        new = self.local / "..new"
        new.unlink(missing_ok=True)
        new.symlink_to(target)
        new.replace(self.local / name)


class Fetch:
    """Copies files and folders, many at once. ``write``: permissions that they get besides their own."""

    def __init__(self, *, write: int) -> None:
        self._write = write
        self._slots = asyncio.Semaphore(AT_ONCE)

    def created(self, local: Path, mode: int) -> BinaryIO:
        """Create a file, with what the owner may do to the one in the pod; return it, to write to."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return os.fdopen(os.open(local, flags, mode & 0o700 | 0o400 | self._write), "wb")

    async def any(self, sftp: Sftp, remote: bytes, attributes: Attributes, local: Path, copied: Copied) -> None:
        """Copy whatever it is: a folder, a file or a link. Sockets and pipes are nothing that could be copied."""
        if attributes.is_folder:
            await self.folder(sftp, remote, local, copied)
        elif attributes.is_link:
            local.symlink_to(os.fsdecode(await sftp.read_link(remote)))
        elif attributes.is_file:
            await self._file(sftp, remote, attributes, local)

    async def folder(self, sftp: Sftp, remote: bytes, local: Path, copied: Copied) -> None:
        """Copy a folder with all that is in it; what of it can't be read is noted."""
        local.mkdir(mode=0o700)
        entries = await sftp.list_folder(remote)
        await asyncio.gather(*(self._entry(sftp, remote, entry, local, copied) for entry in entries))

    async def _entry(
        self, sftp: Sftp, folder: bytes, entry: tuple[bytes, Attributes], local: Path, copied: Copied
    ) -> None:
        name, attributes = entry
        remote = os.path.join(folder, name)
        try:
            await self.any(sftp, remote, attributes, local / os.fsdecode(name), copied)
        except PermissionError as error:
            copied.missed(remote, error)

    async def _file(self, sftp: Sftp, remote: bytes, attributes: Attributes, local: Path) -> None:
        async with self._slots:
            try:
                with self.created(local, attributes.mode) as file:
                    async for _, piece in sftp.pieces(remote, attributes.size):
                        file.write(piece)
            except BaseException:
                local.unlink()
                raise


async def size_of(sftp: Sftp, remote: bytes, attributes: Attributes) -> int:
    """Return the bytes in a file, or in all files of a folder that can be listed."""
    if not attributes.is_folder:
        return attributes.size if attributes.is_file else 0
    with suppress(PermissionError, FileNotFoundError):
        entries = await sftp.list_folder(remote)
        below = (size_of(sftp, os.path.join(remote, name), each) for name, each in entries)
        return sum(await asyncio.gather(*below))
    return 0


def remove(path: Path) -> None:
    """Remove a copy, or what there is of one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)

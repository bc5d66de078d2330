"""Copies of the pod's files on the laptop, which follow what changes in the cluster.

The kubelet writes a ConfigMap, a Secret, a token as

    ..2026_11_24_10_00_00.123/app.yaml       the files
    ..data -> ..2026_11_24_10_00_00.123      changed by one rename(2), so that nobody sees half an update
    app.yaml -> ..data/app.yaml

and a copy has the same folders and links, under the same names, and is changed in the same way: the new folder is there
whole before ``..data`` points to it. Everything else is copied as it is, once.

Files are the user's alone: of the permissions those of the owner are kept.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.tunnel.sftp import Attributes, Sftp

log = logging.getLogger(__name__)

DATA = b"..data"
_TRIES = 5
AT_ONCE = 64
"""Files on the way at once: each has a file open here and in the pod."""


class Torn(Exception):
    """The kubelet changed the volume while it was being read."""


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
        self._data: bytes | None = None

    @property
    def follows(self) -> bool:
        """Whether the kubelet may change it, so that it is to be renewed."""
        return self._data is not None

    async def take(self, sftp: Sftp, attributes: Attributes) -> Copied:
        """Copy all. ``attributes``: of ``remote``. OSError when the whole of it can't be read."""
        for _ in range(_TRIES):
            copied = Copied()
            self._data = await current_data(sftp, self._remote)
            try:
                await self._fetch.any(sftp, self._remote, attributes, self.local, copied)
                if await current_data(sftp, self._remote) == self._data:
                    return copied
            except FileNotFoundError:
                if self._data is None:
                    raise
            remove(self.local)
        raise Torn(os.fsdecode(self._remote))

    async def renew(self, sftp: Sftp) -> bool:
        """Take up what the kubelet has changed; False when that is nothing. Torn, OSError: try again later."""
        data = await current_data(sftp, self._remote)
        if data is None or data == self._data:
            return False
        new = self.local / os.fsdecode(data)
        remove(new)
        try:
            links = await self._fetched(sftp, data, new)
        except BaseException:
            remove(new)
            raise
        self._turn_to(data, links)
        return True

    async def _fetched(self, sftp: Sftp, data: bytes, new: Path) -> dict[str, str]:
        """Copy the folder that ``..data`` points to now; return the links at the volume's top."""
        await self._fetch.folder(sftp, os.path.join(self._remote, data), new, Copied())
        links = await self._links(sftp)
        if await current_data(sftp, self._remote) != data:
            raise Torn(os.fsdecode(self._remote))
        return links

    async def _links(self, sftp: Sftp) -> dict[str, str]:
        """Read the links at the volume's top, as names and where they point to."""
        entries = await sftp.list_folder(self._remote)
        names = [name for name, attributes in entries if attributes.is_link and name != DATA]
        targets = await asyncio.gather(*(sftp.read_link(os.path.join(self._remote, name)) for name in names))
        return {os.fsdecode(name): os.fsdecode(target) for name, target in zip(names, targets, strict=True)}

    def _turn_to(self, data: bytes, links: dict[str, str]) -> None:
        old, self._data = self._data, data
        turning = self.local / "..data_tmp"
        turning.unlink(missing_ok=True)
        turning.symlink_to(os.fsdecode(data))
        turning.rename(self.local / os.fsdecode(DATA))
        there = {each.name for each in self.local.iterdir() if each.is_symlink()} - {os.fsdecode(DATA)}
        for name in links.keys() - there:
            (self.local / name).symlink_to(links[name])
        for name in there - links.keys():
            (self.local / name).unlink()
        if old is not None:
            remove(self.local / os.fsdecode(old))


class Fetch:
    """Copies files and folders, many at once. ``write``: permissions that they get besides their own."""

    def __init__(self, *, write: int) -> None:
        self._write = write
        self._slots = asyncio.Semaphore(AT_ONCE)

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
        mode = attributes.mode & 0o700 | 0o400 | self._write
        async with self._slots:
            descriptor = os.open(local, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    async for _, piece in sftp.pieces(remote, attributes.size):
                        file.write(piece)
            except BaseException:
                local.unlink()
                raise


async def current_data(sftp: Sftp, remote: bytes) -> bytes | None:
    """Return the folder that ``..data`` points to; None where the kubelet has not written the volume."""
    try:
        return await sftp.read_link(os.path.join(remote, DATA))
    except ConnectionError:
        raise
    except OSError:
        return None


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

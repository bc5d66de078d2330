"""Reads a volume that the kubelet publishes (ConfigMap, Secret, token, downward API): whole, and of one moment.

    /etc/config/..2026_11_24_10_00_00.123/app.yaml      the files, never changed there
    /etc/config/..data -> ..2026_11_24_10_00_00.123     replaced by one rename(2) when there is something new
    /etc/config/app.yaml -> ..data/app.yaml

Four round trips, whatever is in it (a folder in a folder: one more for each), because it is known what it looks like:

    1   where ..data leads, and what is in both folders: opened
    2   read
    3   the files opened, the links beside read
    4   their content; and where ..data leads after that: elsewhere means that it was changed meanwhile
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from posixpath import dirname, join
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from bridge.tunnel.sftp import Attributes, Sftp

T = TypeVar("T")

DATA = b"..data"
TRIES = 5
"""How often it may be changed while it is read."""
AT_ONCE = 64
"""Files that are open in the pod at the same time."""


class Torn(Exception):
    """The kubelet changed the volume again and again while it was being read."""


@dataclass
class Published:
    """``data``: the folder that ``..data`` leads to. Paths are relative to that, folders parents first."""

    data: str
    links: dict[str, str] = field(default_factory=dict)
    """What is beside ``..data``, and where it leads."""
    folders: list[str] = field(default_factory=list)
    files: dict[str, tuple[int, bytes]] = field(default_factory=dict, repr=False)
    """Mode and content."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Path in the pod, and why."""


async def where_data_leads(sftp: Sftp, remote: bytes) -> bytes | None:
    """Return the folder that ``..data`` leads to; None where the kubelet has not published the volume."""
    try:
        return await sftp.read_link(join(remote, DATA))
    except ConnectionError:
        raise
    except OSError:
        return None


async def read_published(sftp: Sftp, remote: bytes) -> Published | None:
    """Return what is published at ``remote``; None where nothing is. Raises OSError when it can't be read, Torn."""
    for _ in range(TRIES):
        data, beside, below = await asyncio.gather(
            where_data_leads(sftp, remote),
            sftp.list_folder(remote),
            sftp.list_folder(join(remote, DATA)),
            return_exceptions=True,
        )
        if isinstance(data, BaseException):
            raise data
        if data is None or b"/" in data:
            return None
        if isinstance(beside, BaseException):
            raise beside
        if isinstance(below, FileNotFoundError):
            continue
        if isinstance(below, BaseException):
            raise below
        published = Published(os.fsdecode(data))
        links = [name for name, attributes in beside if attributes.is_link and name != DATA]
        published.links, after = await asyncio.gather(
            _links(sftp, remote, links), _fill(sftp, join(remote, DATA), b"", below, published)
        )
        if (after or await where_data_leads(sftp, remote)) == data:
            return published
    raise Torn(os.fsdecode(remote))


async def _links(sftp: Sftp, remote: bytes, names: list[bytes]) -> dict[str, str]:
    found, _ = await _each(names, lambda name: sftp.read_link(join(remote, name)))
    return {os.fsdecode(name): os.fsdecode(target) for name, target in found.items()}


async def _fill(
    sftp: Sftp, top: bytes, path: bytes, entries: list[tuple[bytes, Attributes]], into: Published
) -> bytes | None:
    """Read what is in the folder ``path`` of ``top``; return where ``top`` led after that, if it is known."""
    files = {join(path, name): attributes for name, attributes in entries if attributes.is_file}
    folders = [join(path, name) for name, attributes in entries if attributes.is_folder]
    into.folders += map(os.fsdecode, folders)
    after = None
    for begin in range(0, len(files), AT_ONCE):
        after = await _read(sftp, top, dict(list(files.items())[begin : begin + AT_ONCE]), into)
    listed, failed = await _each(folders, lambda each: sftp.list_folder(join(top, each)))
    _note(into, top, failed)
    for folder, found in listed.items():
        after = await _fill(sftp, top, folder, found, into)
    return after


async def _read(sftp: Sftp, top: bytes, files: dict[bytes, Attributes], into: Published) -> bytes | None:
    handles, failed = await _each(files, lambda path: sftp.open_file(join(top, path)))
    _note(into, top, failed)
    # What is asked for last is answered last: by then all of them were read.
    (read, failed), after = await asyncio.gather(
        _each(handles, lambda path: sftp.read_opened(handles[path], files[path].size)), sftp.read_link(top)
    )
    _note(into, top, failed)
    into.files |= {os.fsdecode(path): (files[path].mode, content) for path, content in read.items()}
    return after


def _note(into: Published, top: bytes, failed: dict[bytes, OSError]) -> None:
    folder = dirname(top)
    for path, error in failed.items():
        into.unreadable[os.fsdecode(join(folder, path))] = error.strerror or str(error)


async def _each(
    paths: Iterable[bytes], ask: Callable[[bytes], Awaitable[T]]
) -> tuple[dict[bytes, T], dict[bytes, OSError]]:
    """Ask about all of them at once; return the answers, and what could not be read."""
    paths = list(paths)
    answers = await asyncio.gather(*(ask(path) for path in paths), return_exceptions=True)
    found: dict[bytes, T] = {}
    failed: dict[bytes, OSError] = {}
    for path, answer in zip(paths, answers, strict=True):
        if isinstance(answer, OSError) and not isinstance(answer, ConnectionError):
            failed[path] = answer
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found[path] = answer
    return found, failed

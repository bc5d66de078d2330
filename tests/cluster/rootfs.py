"""A file tree in memory, and the layer it makes. Pure but for `write_layer`.

A tree maps a path without its leading slash to an `Entry`. Nothing is unpacked on disk: a package's or a wheel's
files go from its archive to the layer, so no root, no chroot and no clean-up is needed, and the same inputs give
the same bytes (owner 0:0, all times 0, sorted).
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Debian's merged /usr: a path of the left side is one of the right.
_MERGED = ("bin", "sbin", "lib", "lib64")
_SKIPPED_IN_FOLDERS = {"__pycache__"}


@dataclass(frozen=True)
class Entry:
    """A file (``content``), a symbolic link (``target``), or else a folder."""

    mode: int
    content: bytes | None = None
    target: str | None = None


Tree = dict[str, Entry]


def normal(path: str) -> str:
    """A path as trees spell it: no leading slash or dot, and /bin, /sbin, /lib below /usr."""
    parts = PurePosixPath("/" + path.removeprefix("./")).parts[1:]
    if len(parts) > 1 and parts[0] in _MERGED:
        parts = ("usr", *parts)
    return "/".join(parts)


def skeleton() -> Tree:
    """What every image begins with: the folders and names that programs expect anywhere."""
    tree: Tree = {path: Entry(0o755) for path in ("dev", "etc", "proc", "root", "run", "sys", "usr", "var/log")}
    tree |= {path: Entry(0o1777) for path in ("tmp", "var/tmp")}
    tree |= {f"usr/{name}": Entry(0o755) for name in _MERGED}
    tree |= {name: Entry(0o777, target=f"usr/{name}") for name in _MERGED}
    tree |= {
        "etc/passwd": Entry(0o644, b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
        "etc/group": Entry(0o644, b"root:x:0:\nnogroup:x:65534:\n"),
        "etc/nsswitch.conf": Entry(0o644, b"hosts: files dns\n"),
    }
    return tree


def from_tar(stream: IO[bytes]) -> Tree:
    """The tree of a tar stream, as ``dpkg-deb --fsys-tarfile`` writes it."""
    tree: Tree = {}
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            path = normal(member.name)
            if member.isdir() and path and path not in _MERGED:
                tree[path] = Entry(member.mode)
            elif member.issym():
                tree[path] = Entry(0o777, target=member.linkname)
            elif member.islnk():
                tree[path] = tree[normal(member.linkname)]
            elif member.isfile():
                content = archive.extractfile(member)
                assert content is not None
                tree[path] = Entry(member.mode, content.read())
    return tree


def from_source(destination: str, source: Path | str | bytes) -> Tree:
    """The tree of a local file or folder (`Path`) or of a text, put at ``destination``.

    Modes are 755 or 644, whatever the umask was at the clone.
    """
    if isinstance(source, str):
        source = source.encode()
    if isinstance(source, bytes):
        return {normal(destination): Entry(0o755 if source.startswith(b"#!") else 0o644, source)}
    if source.is_file():
        return {normal(destination): Entry(_mode(source), source.read_bytes())}
    if not source.is_dir():
        raise FileNotFoundError(f"an image needs {source}, which is not there")
    files = (path for path in source.rglob("*") if path.is_file() and not _SKIPPED_IN_FOLDERS & set(path.parts))
    return {
        normal(f"{destination}/{path.relative_to(source)}"): Entry(_mode(path), path.read_bytes()) for path in files
    }


def without(tree: Tree, patterns: Iterable[str]) -> Tree:
    """The tree without the paths (and all below them) that match a pattern such as ``/usr/share/doc``."""
    unwanted = [normal(pattern) for pattern in patterns]
    return {path: entry for path, entry in tree.items() if not any(_matches(path, pattern) for pattern in unwanted)}


def write_layer(tree: Tree, path: Path) -> str:
    """Write the tree as an uncompressed layer; its digest, ``sha256:...``."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name in sorted(tree):
            _add(archive, name, tree[name])
    with path.open("rb") as layer:
        return "sha256:" + hashlib.file_digest(layer, "sha256").hexdigest()


def _add(archive: tarfile.TarFile, name: str, entry: Entry) -> None:
    member = tarfile.TarInfo(name)
    member.mode = entry.mode
    if entry.target is not None:
        member.type, member.linkname = tarfile.SYMTYPE, entry.target
    elif entry.content is None:
        member.type = tarfile.DIRTYPE
    else:
        member.size = len(entry.content)
    archive.addfile(member, io.BytesIO(entry.content or b""))


def _mode(path: Path) -> int:
    return 0o755 if path.stat().st_mode & 0o100 else 0o644


def _matches(path: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, pattern + "/*")

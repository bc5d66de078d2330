"""Files of Debian packages for images: the closure of dependencies, downloads, trees. Nothing is installed.

No maintainer script runs, so packages which only those need are left out, with all that only they need
(`INSTALL_TIME_ONLY`).
"""

from __future__ import annotations

import platform
import re
import subprocess
from typing import TYPE_CHECKING

from . import rootfs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

INSTALL_TIME_ONLY = frozenset({
    "adduser", "cdebconf", "debconf", "debianutils", "dpkg", "init-system-helpers", "install-info",
    "libpam-runtime", "lsb-base", "passwd", "perl", "perl-base", "runit-helper", "sensible-utils", "sysvinit-utils",
    "tzdata", "ucf", "usr-is-merged", "usrmerge",
})  # fmt: skip

# In no image of a test does anybody read these.
NEVER_READ = (
    "/usr/share/bash-completion", "/usr/share/bug", "/usr/share/doc", "/usr/share/doc-base", "/usr/share/info",
    "/usr/share/initramfs-tools", "/usr/share/lintian", "/usr/share/locale", "/usr/share/man", "/usr/share/menu",
    "/usr/share/pixmaps", "/usr/share/applications", "/usr/lib/*/gconv", "/etc/init.d", "/usr/lib/systemd/system",
)  # fmt: skip

Groups = list[list[str]]  # all groups are needed; of each, one package


def architecture() -> str:
    """This machine's, as Debian and container images call it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def release() -> str:
    """Which Debian this is, so that a build made on another one is not taken for this one's."""
    return f"{platform.freedesktop_os_release().get('VERSION_CODENAME', 'unknown')}-{platform.machine()}"


def closure(packages: Iterable[str], *, leave_out: Iterable[str] = ()) -> list[str]:
    """The packages and all that they depend on, sorted, without `INSTALL_TIME_ONLY` and ``leave_out``."""
    roots = list(packages)
    unwanted = (INSTALL_TIME_ONLY | set(leave_out)) - set(roots)
    return sorted(reachable(roots, parse_depends(_apt_cache_depends(roots)), unwanted))


def parse_depends(text: str) -> dict[str, Groups]:
    """What ``apt-cache depends`` prints, as groups of alternatives.

    ``|Depends: a`` is an alternative to the line after it; what follows ``Depends: <virtual>``, further indented,
    provides it.
    """
    graph: dict[str, Groups] = {}
    groups: Groups = []
    more = False
    for line in text.splitlines():
        if not line.startswith((" ", "|")):
            groups, more = graph.setdefault(line.strip(), []), False
        elif match := re.match(r"\s*(\|?)(?:Pre)?Depends: (\S+)", line):
            if not more:
                groups.append([])
            if not match[2].startswith("<"):
                groups[-1].append(match[2].removesuffix(":any"))
            more = bool(match[1])
        elif groups and not groups[-1]:
            groups[-1].append(line.strip())
    return graph


def reachable(roots: Iterable[str], graph: dict[str, Groups], unwanted: Iterable[str]) -> set[str]:
    """Walk the graph: of alternatives one that is there already, else the first; never through what is unwanted."""
    unwanted = set(unwanted)
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        package = waiting.pop()
        if package in found:
            continue
        found.add(package)
        for group in graph.get(package, []):
            if group and not (found | unwanted | set(waiting)) & set(group):
                waiting.append(group[0])
    return found


def download(packages: Iterable[str], folder: Path) -> list[Path]:
    """The packages' archives in ``folder``, downloaded where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(packages)
    if missing := [name for name in names if _archive(folder, name) is None]:
        command = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", *missing]
        if subprocess.run(command, cwd=folder, check=False, capture_output=True).returncode:
            update_lists()
            _checked(command, cwd=folder)
    archives = [_archive(folder, name) for name in names]
    return [archive for archive in archives if archive is not None]


def tree(archive: Path) -> rootfs.Tree:
    """The files of one .deb."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as unpack:
        assert unpack.stdout is not None
        files = rootfs.from_tar(unpack.stdout)
        unpack.stdout.read()  # the padding after the last member
    if unpack.returncode:
        raise RuntimeError(f"dpkg-deb can't read {archive}")
    return files


def update_lists() -> None:
    """``apt-get update``."""
    _checked(["apt-get", "update", "-qq"])


def _apt_cache_depends(packages: list[str]) -> str:
    command = ["apt-cache", "depends", "--recurse", "--important", *packages]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode:  # no lists yet
        update_lists()
        return _checked(command)
    return result.stdout


def _archive(folder: Path, package: str) -> Path | None:
    found = sorted(folder.glob(f"{package}_*.deb"), key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None


def _checked(command: list[str], *, cwd: Path | None = None) -> str:
    result = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} failed: {result.stderr.strip()[-800:]}")
    return result.stdout

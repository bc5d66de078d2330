"""Files of PyPI wheels for images, for Debian's python3.11. Nothing is installed, no entry-point script is made."""

from __future__ import annotations

import platform
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

from .rootfs import Entry, Tree, normal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PYTHON = "3.11"  # of the images: Debian 12's
PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_31")
SITE = "usr/lib/python3/dist-packages"


def download(requirements: Iterable[str], folder: Path) -> list[Path]:
    """The wheels of the requirements and of what they depend on, for the images' Python."""
    wanted = list(requirements)
    command = [
        sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q", "--only-binary", ":all:",
        "--python-version", PYTHON, "--implementation", "cp", "--dest", str(folder), "--progress-bar", "off",
        *(f"--platform={tag}_{platform.machine()}" for tag in PLATFORMS), *wanted,
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"pip can't download {', '.join(wanted)}: {result.stderr.strip()[-800:]}")
    return sorted(folder.glob("*.whl"))


def tree(wheel: Path) -> Tree:
    """The files of a wheel where Debian's Python finds them; those of its ``.data`` folder as the wheel format says."""
    with zipfile.ZipFile(wheel) as archive:
        files = [info for info in archive.infolist() if not info.is_dir()]
        return {normal(destination(info.filename)): Entry(_mode(info), archive.read(info)) for info in files}


def destination(name: str) -> str:
    """Where a wheel's file goes (https://packaging.python.org/en/latest/specifications/binary-distribution-format/)."""
    top, _, rest = name.partition("/")
    if not top.endswith(".data"):
        return f"{SITE}/{name}"
    kind, _, below = rest.partition("/")
    return {"scripts": f"usr/local/bin/{below}", "data": f"usr/local/{below}"}.get(kind, f"{SITE}/{below}")


def _mode(info: zipfile.ZipInfo) -> int:
    executable = (info.external_attr >> 16) & 0o111 or ".data/scripts/" in info.filename
    return 0o755 if executable else 0o644

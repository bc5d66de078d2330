"""The proxy image for the local cluster, which has no registry: what the Containerfile gathers, gathered here."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from bridge import __version__
from tests.cluster.images import ImageRecipe

HERE = Path(__file__).resolve().parent
CLONE = HERE.parent
NAME = "docker.io/library/bridge-proxy"
ENTRYPOINT = ("/usr/bin/python3", "-I", "-S", "-B", "/opt/bridge/proxy-image/entrypoint.py")
USER = "65532:65532"
DPKG_STATUS = Path("/var/lib/dpkg/status")


def recipe() -> ImageRecipe:
    """Gather the files, if they are not there already, and say what the image is. Its tag is bridge's version."""
    gathered = CLONE / ".build" / "proxy-image" / _inputs()
    if not gathered.exists():
        _run(HERE / "ensure-packages")
        _gather(gathered)
    return ImageRecipe(
        f"{NAME}:{__version__}",
        files={f"/{name}": gathered / name for name in ("etc", "opt", "usr", "var")},
        folders={"/etc/bridge": 0o755, "/run/bridge": 0o755},
        entrypoint=ENTRYPOINT,
        user=USER,
    )


def _inputs() -> str:
    """Name what the files are made from: our sources, and this machine's packages."""
    digest = hashlib.sha256()
    for folder in (HERE, CLONE / "bridge" / "wire"):
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(CLONE)}\0".encode() + path.read_bytes())
    digest.update((CLONE / "bridge" / "__init__.py").read_bytes())
    if DPKG_STATUS.exists():
        digest.update(f"{DPKG_STATUS.stat().st_mtime_ns} {DPKG_STATUS.stat().st_size}".encode())
    return digest.hexdigest()[:16]


def _gather(folder: Path) -> None:
    """Gather the files beside the folder, then put them in place: another process may do the same at this moment."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for older in folder.parent.glob("????????????????"):
        if older != folder:
            shutil.rmtree(older, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="new-") as scratch:
        # By the system's Python, which is the one that goes into the image: modules are compiled for it.
        _run("/usr/bin/python3", "-B", HERE / "rootfs.py", Path(scratch) / "rootfs")
        with contextlib.suppress(OSError):  # the other was first, with the same
            (Path(scratch) / "rootfs").rename(folder)


def _run(*command: str | Path) -> None:
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"can't gather the proxy image's files: {result.stderr.strip()[-800:]}")

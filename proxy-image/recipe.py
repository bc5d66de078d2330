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


def recipe() -> ImageRecipe:
    """Gather the files and say what the image is. Its tag is bridge's version."""
    _run(HERE / "ensure-packages")
    gathered = _gather(CLONE / ".build" / "proxy-image")
    return ImageRecipe(
        f"{NAME}:{__version__}",
        files={f"/{name}": gathered / name for name in ("etc", "opt", "usr", "var")},
        folders={"/etc/bridge": 0o755, "/run/bridge": 0o755},
        entrypoint=ENTRYPOINT,
        user=USER,
    )


def _gather(folder: Path) -> Path:
    """Gather the files in a folder named for what they are: another process may read the same at this moment."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="new-") as scratch:
        new = Path(scratch) / "rootfs"
        # By the system's Python, which is the one that goes into the image: modules are compiled for it.
        _run("/usr/bin/python3", "-B", HERE / "rootfs.py", new)
        gathered = folder / _digest(new)
        if not gathered.exists():
            with contextlib.suppress(OSError):  # another process was first, with the same
                new.rename(gathered)
    for older in folder.iterdir():
        if older != gathered and not older.name.startswith("new-"):
            shutil.rmtree(older, ignore_errors=True)
    return gathered


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder)}\0{path.stat().st_mode}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _run(*command: str | Path) -> None:
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"can't gather the proxy image's files: {result.stderr.strip()[-800:]}")

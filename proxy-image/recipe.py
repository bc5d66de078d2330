"""The proxy image for the local cluster, which has no registry: what the Containerfile gathers, gathered here."""

from __future__ import annotations

import subprocess
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
    gathered = CLONE / ".build" / "proxy-image"
    gathered.parent.mkdir(exist_ok=True)
    # By the system's Python, which is the one that goes into the image: modules are compiled for it.
    result = subprocess.run(
        ["/usr/bin/python3", "-B", HERE / "rootfs.py", gathered], check=False, capture_output=True, text=True
    )
    if result.returncode:
        raise RuntimeError(f"can't gather the proxy image's files: {result.stderr.strip()[-800:]}")
    return ImageRecipe(
        f"{NAME}:{__version__}",
        files={f"/{name}": gathered / name for name in ("etc", "opt", "usr", "var")},
        folders={"/etc/bridge": 0o755, "/run/bridge": 0o755},
        entrypoint=ENTRYPOINT,
        user=USER,
    )

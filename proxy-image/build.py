"""Build the proxy image for one's own registry or cluster: ``python3 build.py registry/name:tag``.

With docker, podman or buildah, whichever is there and works (``BUILDER=name`` chooses). Only the files that the
Containerfile copies are sent to it, not the whole clone.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLONE = HERE.parent
BUILDERS = {
    "docker": ["docker", "build"],
    "podman": ["podman", "build"],
    "buildah": ["buildah", "build"],
}
# Asks for what a build needs, a daemon or namespaces, without building.
CHECKS = {"docker": ["docker", "info"], "podman": ["podman", "info"], "buildah": ["buildah", "info"]}
SENT = ("bridge/__init__.py", "bridge/wire", "proxy-image")

PUSH = """\
{image} is built. Next, for a registry:
    {builder} push {image}
for a cluster on this machine, one of:
"""
LOAD = """\
    kind load docker-image {image}
    minikube image load {image}
    k3d image import {image}
"""
LOAD_ARCHIVE = """\
    {builder} push {image} docker-archive:bridge-proxy.tar:{image}
    kind load image-archive bridge-proxy.tar, minikube image load bridge-proxy.tar, k3d image import bridge-proxy.tar
"""
RUN = "then: bridge run --image {image} ...\n"


def main(arguments: list[str]) -> None:
    """Build; say what to do with the image."""
    image = arguments[0] if len(arguments) == 1 else ""
    if not re.fullmatch(r"[a-z0-9][\w.:/@-]*", image, re.ASCII):
        raise SystemExit(f"proxy-image: {image!r} is no image's name. Usage: make proxy-image IMAGE=registry/name:tag")
    builder = find_builder(os.environ.get("BUILDER", ""))
    with tempfile.TemporaryDirectory(prefix="bridge-proxy-image-") as folder:
        fill(Path(folder))
        command = [*BUILDERS[builder], "-f", f"{folder}/proxy-image/Containerfile", "-t", image]
        status = subprocess.run([*command, "--build-arg", f"VERSION={version()}", folder], check=False).returncode
    if status:
        raise SystemExit(f"proxy-image: {builder} ended with status {status}; its own words are above")
    told = PUSH + (LOAD if builder == "docker" else LOAD_ARCHIVE) + RUN
    print(told.format(image=image, builder=builder), end="")


def find_builder(wanted: str) -> str:
    """Choose a builder that works, or tell why none does."""
    if wanted and wanted not in BUILDERS:
        raise SystemExit(f"proxy-image: BUILDER={wanted}: it can be {', '.join(BUILDERS)}")
    reasons = []
    for name in [wanted] if wanted else BUILDERS:
        reason = _why_not(name)
        if reason is None:
            return name
        reasons.append(f"    {name}: {reason}")
    raise SystemExit("proxy-image: nothing here can build an image:\n" + "\n".join(reasons))


def _why_not(name: str) -> str | None:
    if shutil.which(name) is None:
        return "not installed"
    result = subprocess.run(CHECKS[name], check=False, capture_output=True, text=True)
    if result.returncode == 0:
        return None
    return (result.stderr.strip() or f"status {result.returncode}").splitlines()[-1]


def fill(folder: Path) -> None:
    """Copy what the Containerfile copies."""
    for name in SENT:
        source, target = CLONE / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)


def version() -> str:
    """Read bridge's version, without importing it: any Python runs this."""
    match = re.search(r'^__version__ = "(.+)"$', (CLONE / "bridge" / "__init__.py").read_text(), re.MULTILINE)
    assert match is not None
    return match[1]


if __name__ == "__main__":
    main(sys.argv[1:])

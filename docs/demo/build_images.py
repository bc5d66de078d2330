"""Build the demo's images with docker, podman or buildah: make demo-images [DEMO_REGISTRY=...] [PUSH=1]."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

TARGETS = ("app", "gateway", "database", "users")
TOOLS = ("docker", "podman", "buildah")
FOLDER = Path(__file__).parent


def image_name(target: str, registry: str) -> str:
    """Name a target's image as the manifests do, in a registry if there is one."""
    return f"{registry.rstrip('/')}/bridge-demo-{target}:1" if registry else f"bridge-demo-{target}:1"


def main() -> None:
    tool = os.environ.get("BUILDER") or next(filter(shutil.which, TOOLS), None)
    if tool is None:
        sys.exit(f"none of {', '.join(TOOLS)} is installed here; BUILDER=name uses another one")
    registry = os.environ.get("DEMO_REGISTRY", "")
    for target in TARGETS:
        name = image_name(target, registry)
        build = [
            "build",
            "--target",
            target,
            "--tag",
            name,
            "--file",
            str(FOLDER / "Containerfile"),
            str(FOLDER),
        ]
        subprocess.run([tool, *build], check=True)
        if os.environ.get("PUSH"):
            subprocess.run([tool, "push", name], check=True)
        print(name)


if __name__ == "__main__":
    main()

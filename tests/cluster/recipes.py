"""The images that the node has from the start: the cluster's own, those of the tests, the proxy image, the demo's.

Other folders say what their images hold, in a file that is read if it is there: ``proxy-image/recipe.py`` with
``recipe() -> ImageRecipe``, ``docs/demo/recipes.py`` with ``recipes() -> list[ImageRecipe]``.
Pods must not pull (there is no registry): use ``imagePullPolicy: IfNotPresent`` and no tag ``latest``.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

from .images import ImageRecipe
from .settings import COREDNS_VERSION, PAUSE_VERSION, Settings

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

PAUSE = f"bridge.local/pause:{PAUSE_VERSION}"
COREDNS = f"bridge.local/coredns:{COREDNS_VERSION}"
DEBUG = "bridge.local/debug:1"
PYTHON = "bridge.local/python:3.11"
BENCHER = "bridge.local/bencher:1"

PYTHON_PACKAGES = ("python3.11-minimal", "libpython3.11-stdlib")
PYTHON_LINKS = {"/usr/bin/python3": "python3.11", "/usr/bin/python": "python3.11"}
PYTHON_STRIP = ("/usr/lib/python3.11/ensurepip", "/usr/lib/python3.11/idlelib", "/usr/lib/python3.11/pydoc_data",
                "/usr/lib/python3.11/lib2to3", "/usr/share/readline")  # fmt: skip

APPLETS = """
ash awk base64 basename cat chgrp chmod chown clear cmp cp cut date dd df diff dirname dmesg du echo env expr
false find fold free grep gunzip gzip head hexdump hostname id ifconfig install ip kill killall less ln ls lsof
md5sum mkdir mkfifo mknod mktemp more mount mv nc netstat nslookup od paste pidof ping pkill printenv printf ps
pwd readlink realpath renice reset rm rmdir route sed seq sh sha256sum sleep sort split stat strings stty sync
tac tail tar tee telnet test timeout top touch tr traceroute true truncate tty umount uname uniq unzip uptime
usleep vi watch wc wget which whoami xargs yes zcat
"""
BUSYBOX_LINKS = {f"/usr/bin/{applet}": "busybox" for applet in APPLETS.split()}


def recipes(settings: Settings) -> list[ImageRecipe]:
    """All images, the cluster's own first: the node needs those to start."""
    return [*own(settings), *for_tests(settings), *of_proxy_image(settings), *of_demo(settings)]


def own(settings: Settings) -> list[ImageRecipe]:
    """What the node itself needs."""
    return [
        ImageRecipe(PAUSE, files={"/pause": settings.binaries / "pause"}, entrypoint=("/pause",), user="65535:65535"),
        ImageRecipe(COREDNS, files={"/coredns": settings.binaries / "coredns"}, entrypoint=("/coredns",)),
    ]


def for_tests(settings: Settings) -> list[ImageRecipe]:
    """What end-to-end tests run: see ``src/web/main.go`` for what web can do; and both ends of the benchmark."""
    web = {"/usr/bin/web": settings.binaries / "web"}
    return [
        ImageRecipe(
            BENCHER, files={"/usr/bin/bencher": settings.binaries / "bencher"}, entrypoint=("/usr/bin/bencher",)
        ),
        ImageRecipe(
            DEBUG,
            debian_packages=("busybox", "curl", "bind9-dnsutils", "netcat-openbsd", *PYTHON_PACKAGES),
            leave_out=("libmagic1", "bind9-host"),
            links=PYTHON_LINKS | BUSYBOX_LINKS | {"/usr/bin/nc": "nc.openbsd"},
            files=web,
            strip=PYTHON_STRIP,
            cmd=("sh",),
        ),
        ImageRecipe(
            PYTHON,
            debian_packages=("busybox", *PYTHON_PACKAGES),
            links=PYTHON_LINKS | BUSYBOX_LINKS,
            strip=PYTHON_STRIP,
            env={"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"},
            cmd=("python3",),
        ),
        *(
            ImageRecipe(
                f"bridge.local/web:{version}",
                debian_packages=("busybox",),
                links=BUSYBOX_LINKS,
                files=web,
                env={"VERSION": version},
                entrypoint=("/usr/bin/web",),
            )
            for version in ("1", "2")
        ),
    ]


def of_proxy_image(settings: Settings) -> list[ImageRecipe]:
    """The proxy image, as ``proxy-image/recipe.py`` has it."""
    module = _module(settings.clone / "proxy-image" / "recipe.py")
    return [module.recipe()] if module else []


def of_demo(settings: Settings) -> list[ImageRecipe]:
    """The demo's images, as ``docs/demo/recipes.py`` has them."""
    module = _module(settings.clone / "docs" / "demo" / "recipes.py")
    return list(module.recipes()) if module else []


def _module(path: Path) -> ModuleType | None:
    """The module in a file of a folder that is no package."""
    if not path.exists():
        return None
    name = "image_recipes_" + path.parent.name.replace("-", "_")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module

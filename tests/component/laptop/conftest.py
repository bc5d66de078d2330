"""Programs are started in a sandbox by an ordinary user, as developers are; peers run here.

When the tests run as root, the user is 4242, who may not be able to read this checkout: so the driver, bridge and the
two libraries that it needs are copied to a folder that anybody can read.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

import bridge
from tests.component.laptop.peers import Echo, Nameserver

USER = 4242
VOLUMES = {  # files of the pod's, by their names in the store
    "config/..2026/app.yaml": "color: blue\n",
    "secret/token": "s3cret\n",
    "data/first": "1\n",
}


class Laptop:
    """Where the ordinary user works: ``home`` is theirs, ``lib`` has bridge."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self._lib = folder / "lib"
        self.interpreter = os.path.realpath(sys.executable)
        folder.chmod(0o755)
        self.home.mkdir()
        for package in (bridge, psutil, uvloop):
            source = Path(package.__file__).parent
            shutil.copytree(source, self._lib / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(Path(__file__).with_name("driver.py"), self._lib)
        if os.geteuid() == 0:
            os.chown(self.home, USER, USER)

    def as_user(self, *command: str, uid: int = USER) -> list[str]:
        """The command as an ordinary user's; ``uid``: as another one's, if the tests run as root."""
        if os.geteuid() != 0:
            return list(command)
        return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *command]

    def told(self, program: str, *, uid: int = USER, cwd: Path | str | None = None) -> Any:
        """What a Python program that uses bridge's packages itself writes, as JSON."""
        argv = self.as_user(self.interpreter, "-c", program, uid=uid)
        settings = {"cwd": cwd or self.home, "env": self.environment, "text": True, "timeout": 60}
        done = subprocess.run(argv, capture_output=True, check=False, **settings)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @property
    def uid(self) -> int:
        return os.geteuid() or USER

    def argv(self, *command: str, options: tuple[str, ...] = ()) -> list[str]:
        return self.as_user(self.interpreter, str(self._lib / "driver.py"), *options, "--", *command)

    @property
    def environment(self) -> dict[str, str]:
        path = "/usr/local/bin:/usr/bin:/bin"
        return {"PATH": path, "HOME": str(self.home), "PYTHONPATH": str(self._lib), "PYTHONDONTWRITEBYTECODE": "1"}

    def start(self, *command: str, options: tuple[str, ...] = (), **more) -> "subprocess.Popen[str]":
        settings = {"cwd": self.home, "env": self.environment, "text": True, "stdout": subprocess.PIPE} | more
        return subprocess.Popen(self.argv(*command, options=options), **settings)

    def run(self, *command: str, options: tuple[str, ...] = (), **more) -> "subprocess.CompletedProcess[str]":
        """Run a command in a sandbox to its end."""
        settings = {"cwd": self.home, "env": self.environment, "text": True, "timeout": 60} | more
        return subprocess.run(self.argv(*command, options=options), capture_output=True, check=False, **settings)

    def python(self, source: str, *arguments: str, options: tuple[str, ...] = (), **more):
        """Run a Python program in a sandbox."""
        return self.run(self.interpreter, "-I", "-c", source, *arguments, options=options, **more)


@pytest.fixture(scope="session")
def laptop() -> Iterator[Laptop]:
    with tempfile.TemporaryDirectory(prefix="bridge-test-") as folder:
        yield Laptop(Path(folder))


@pytest.fixture
def store(laptop):
    """A folder with volumes, as they are in a pod; it goes into the sandbox's store."""
    folder = laptop.home / "volumes"
    for name, content in VOLUMES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    (folder / "config/..data").symlink_to("..2026")
    (folder / "config/app.yaml").symlink_to("..data/app.yaml")
    (folder / "secret").chmod(0o700)
    (folder / "secret/token").chmod(0o600)
    if os.geteuid() == 0:
        for each in (folder, *folder.rglob("*")):
            os.chown(each, laptop.uid, laptop.uid, follow_symlinks=False)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def echo() -> Iterator[Echo]:
    with Echo() as server:
        yield server


@pytest.fixture(scope="session")
def nameserver() -> Iterator[Nameserver]:
    with Nameserver() as server:
        yield server


@pytest.fixture
def cleanup() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def in_sandbox(namespace: int) -> list[int]:
    """Pids of the processes in a network namespace."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "ns/net").stat().st_ino == namespace:
                    found.append(int(entry.name))
    return found

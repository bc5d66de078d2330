"""The laptop: a network namespace that reaches the API server and nothing else, and a user in a mount namespace.

Commands there run as an ordinary user without any capability, in a home of its own, with the clone at ``~/bridge``
(wherever the real one is: the user may not be able to reach that). A recorded process holds the mount namespace;
the named network namespace stays if it is killed. Every process of the laptop is in a cgroup, so all of them are
known, and end with the laptop.

    laptop = Laptop(Settings())
    laptop.run(["bridge", "--help"])                      # -> subprocess.CompletedProcess, text
    with laptop.popen(["bridge", "run", ...]) as process: # -> subprocess.Popen; .pid is the command's own
    laptop.path("/home/dev/.kube/config")                 # a file of the laptop's as this namespace sees it
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from . import cgroups, network, system
from .certs import write_kubeconfig
from .settings import CLONE, HERE
from .system import HarnessError, Process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from .settings import Settings

Stream = int | IO[Any] | None
ENTER = HERE / "enter.py"


@dataclass(frozen=True)
class Laptop:
    """The laptop of a cluster."""

    settings: Settings

    # -- its life -------------------------------------------------------------------------------------------------
    def holder(self) -> Process | None:
        """The process that holds the mount namespace, if it runs."""
        return system.load(self.settings.run / "laptop")

    def start(self) -> None:
        """Make the mount namespace and the home."""
        cgroups.create_list(self.settings.laptop_namespace)
        with (self.settings.logs / "laptop.log").open("ab") as log:
            subprocess.run(
                [sys.executable, "-m", "tests.cluster.laptop_init", str(self.settings)],
                cwd=self.settings.clone,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                check=False,
            )
        if self.holder() is None:
            raise HarnessError(f"the laptop did not start; see {self.settings.logs / 'laptop.log'}")

    def stop(self) -> None:
        """End every process of the laptop."""
        if cgroups.list_file(self.settings.laptop_namespace).exists():
            cgroups.end_all(self.settings.laptop_namespace)
            cgroups.remove(self.settings.laptop_namespace)
        if holder := self.holder():
            holder.end()

    def processes(self) -> list[int]:
        """The ids of all processes that run on the laptop, but for the one that holds it."""
        holder = self._held()
        return [pid for pid in cgroups.processes(self.settings.laptop_namespace) if pid != holder.pid]

    # -- commands -------------------------------------------------------------------------------------------------
    def run(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str | None] | None = None,
        cwd: str | Path | None = None,
        stdin: Stream = subprocess.DEVNULL,
        input: str | None = None,  # noqa: A002  # as subprocess.run calls it
        timeout: float = 60,
        check: bool = False,
        as_root: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the laptop to its end, with its output as text."""
        source: dict[str, Any] = {"stdin": stdin} if input is None else {"input": input}
        return subprocess.run(
            self.command(argv, cwd=cwd, as_root=as_root),
            env=self.environment(env, as_root=as_root),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=check,
            **source,
        )

    def popen(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str | None] | None = None,
        cwd: str | Path | None = None,
        as_root: bool = False,
        **options: Any,
    ) -> subprocess.Popen[Any]:
        """Start a command on the laptop; ``options`` are those of `subprocess.Popen`."""
        return subprocess.Popen(
            self.command(argv, cwd=cwd, as_root=as_root), env=self.environment(env, as_root=as_root), **options
        )

    def command(self, argv: Sequence[str | Path], *, cwd: str | Path | None = None, as_root: bool = False) -> list[str]:
        """The command line that enters the laptop and becomes ``argv``; to be run with `environment`."""
        settings = self.settings
        user = 0 if as_root else settings.user_id
        place = str(cwd or (settings.home / "bridge" if settings.clone == CLONE else CLONE))
        procs = cgroups.list_file(settings.laptop_namespace)
        enter = [str(ENTER), str(self._held().pid), str(procs), str(user), place]
        return [sys.executable, "-I", "-S", *enter, *(str(word) for word in argv)]

    def environment(self, extra: Mapping[str, str | None] | None = None, *, as_root: bool = False) -> dict[str, str]:
        """A login's environment, and ``extra`` on top (None takes a variable away)."""
        home = Path("/root") if as_root else self.settings.home
        user = "root" if as_root else self.settings.user
        programs = f"{self.settings.home}/.local/bin"
        if self.settings.clone != CLONE:  # the laptop has another clone at home: what is tested is where it is
            programs = f"{CLONE}/.venv/bin:{programs}"
        system_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        merged: dict[str, str | None] = {
            "HOME": str(home),
            "USER": user,
            "LOGNAME": user,
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "TERM": os.environ.get("TERM", "xterm-256color"),
            "PATH": f"{programs}:{system_path}",
            "KUBECONFIG": f"{self.settings.home}/.kube/config",
            "XDG_RUNTIME_DIR": f"/run/user/{self.settings.user_id}",
            **(extra or {}),
        }
        return {name: value for name, value in merged.items() if value is not None}

    # -- files and sockets ----------------------------------------------------------------------------------------
    def path(self, path: str | Path) -> Path:
        """A file of the laptop's, as root in the root namespace reaches it."""
        return Path(f"/proc/{self._held().pid}/root{path}")

    def in_network(self) -> AbstractContextManager[None]:
        """For the time of the block, make sockets on the laptop."""
        return system.in_network(network.namespace(self.settings.laptop_namespace))

    def write(self, path: str | Path, content: str | bytes, *, mode: int = 0o644) -> None:
        """Write a file that belongs to the laptop's user; folders are made as needed."""
        target = self.path(path)
        for folder in [parent for parent in reversed(target.parents) if not parent.exists()]:
            folder.mkdir()
            os.chown(folder, self.settings.user_id, self.settings.user_id)
        target.touch(mode=mode)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)
        os.chown(target, self.settings.user_id, self.settings.user_id)

    def make_kubeconfig(self, service_account: str, namespace: str, *, hours: int = 1) -> str:
        """A kubeconfig on the laptop with the rights of a ServiceAccount, for some hours; its path there."""
        kubectl = [str(self.settings.binaries / "kubectl"), "--kubeconfig", str(self.settings.kubeconfig)]
        create = [*kubectl, "-n", namespace, "create", "token", service_account, f"--duration={hours}h"]
        token = system.run(create).strip()
        cluster = json.loads(self.settings.laptop_kubeconfig.read_text())["clusters"][0]["cluster"]
        path = f"{self.settings.home}/.kube/{namespace}-{service_account}"
        self.write(path, "", mode=0o600)
        target = self.path(path)
        write_kubeconfig(target, cluster, {"token": token}, user=service_account, namespace=namespace)
        return path

    def _held(self) -> Process:
        if holder := self.holder():
            return holder
        raise HarnessError("the laptop is not there; try: make cluster")

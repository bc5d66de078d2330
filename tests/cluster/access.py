"""The cluster as the end-to-end tests have it: the local one with its laptop, or ``CONTEXT=name`` and this machine.

Both give the same three things: a kubeconfig, `Kubectl`, and a laptop on which bridge runs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from . import system, up
from .laptop import Laptop
from .settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

Stream = int | IO[Any] | None


class AnyLaptop(Protocol):
    """Where bridge runs: programs are started there as an ordinary user."""

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
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, with its output as text."""

    def popen(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str | None] | None = None,
        cwd: str | Path | None = None,
        **options: Any,
    ) -> subprocess.Popen[Any]:
        """Start a command."""


@dataclass(frozen=True)
class Kubectl:
    """The kubectl command, with a kubeconfig and perhaps a namespace."""

    program: str
    kubeconfig: Path
    namespace: str | None = None

    def __call__(self, *arguments: str | Path, text: str | None = None, check: bool = True) -> str:
        """What it printed; `system.HarnessError` with its own words if it failed and ``check`` is on."""
        return system.run(self.command(*arguments), text=text, check=check)

    def command(self, *arguments: str | Path) -> list[str]:
        """The command line, for one that is not to be waited for."""
        where = ["--namespace", self.namespace] if self.namespace else []
        return [self.program, "--kubeconfig", str(self.kubeconfig), *where, *map(str, arguments)]

    def within(self, namespace: str) -> Kubectl:
        """The same in a namespace."""
        return replace(self, namespace=namespace)

    def json(self, *arguments: str | Path) -> Any:
        """What ``kubectl ... --output json`` gives."""
        return json.loads(self(*arguments, "--output", "json"))

    def apply(self, *manifests: str | dict[str, Any]) -> None:
        """Apply YAML or JSON texts and objects."""
        texts = [manifest if isinstance(manifest, str) else json.dumps(manifest) for manifest in manifests]
        self("apply", "--filename", "-", text="\n---\n".join(texts))

    def rollout(self, target: str, *, timeout: float = 60) -> None:
        """Wait until a workload (``deployment/tasks``) is rolled out."""
        self("rollout", "status", target, f"--timeout={timeout:g}s")


@dataclass(frozen=True)
class Cluster:
    """The cluster that the tests run on. ``settings`` are the local one's, None for ``CONTEXT=name``."""

    kubectl: Kubectl
    laptop: AnyLaptop
    settings: Settings | None = None


@dataclass(frozen=True)
class ThisMachine:
    """This machine as the laptop, as whoever runs the tests."""

    kubeconfig: Path
    clone: Path

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
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, with its output as text."""
        source: dict[str, Any] = {"stdin": stdin} if input is None else {"input": input}
        options: dict[str, Any] = {"env": self.environment(env), "cwd": cwd or self.clone, **source}
        return subprocess.run(
            [str(word) for word in argv], capture_output=True, text=True, timeout=timeout, check=check, **options
        )

    def popen(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str | None] | None = None,
        cwd: str | Path | None = None,
        **options: Any,
    ) -> subprocess.Popen[Any]:
        """Start a command."""
        words = [str(word) for word in argv]
        return subprocess.Popen(words, env=self.environment(env), cwd=cwd or self.clone, **options)

    def environment(self, extra: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """This environment, with the tests' bridge and kubeconfig (None in ``extra`` takes a variable away)."""
        programs = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
        merged = {**os.environ, "PATH": programs, "KUBECONFIG": str(self.kubeconfig), **(extra or {})}
        return {name: value for name, value in merged.items() if value is not None}


@contextmanager
def cluster(context: str | None, say: Callable[[str], None]) -> Iterator[Cluster]:
    """The cluster of a context, or the local one, started if it is not up."""
    with ExitStack() as stack:
        yield _of_context(context, stack) if context else _local(Settings(), say)


def _local(settings: Settings, say: Callable[[str], None]) -> Cluster:
    up.up(settings, say)
    kubectl = Kubectl(str(settings.binaries / "kubectl"), settings.kubeconfig)
    return Cluster(kubectl, Laptop(settings), settings)


def _of_context(context: str, stack: ExitStack) -> Cluster:
    """A kubeconfig of its own with that context as the current one: nothing of the user's is changed."""
    program = shutil.which("kubectl")
    if program is None:
        raise system.HarnessError("CONTEXT=name needs kubectl in PATH")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    path = folder / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(system.run([program, "config", "view", "--raw", "--minify", "--flatten", "--context", context]))
    return Cluster(Kubectl(program, path), ThisMachine(path, Settings().clone))

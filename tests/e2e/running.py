"""`bridge run` as the tests see it: started on the laptop, read line by line, ended, and judged."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from tests.cluster.access import AnyLaptop, Kubectl


PROGRAM = os.environ.get("BRIDGE_PROGRAM", "bridge")
"""What is tested, as a path on the laptop: the clone's, unless another one (an installed release) is named."""
SERVER = "tests/e2e/apps/server.py"
"""The process that takes the original's place, as a path on the laptop."""


class Laptop(Protocol):
    """Where bridge runs: an ordinary user's machine that reaches the API server and nothing else."""

    def popen(self, argv: Sequence[str], **options: object) -> subprocess.Popen[bytes]:
        """Start a program there."""


class Output:
    """A stream of a program, read as it comes, so that a test can wait for a line and a failure can show all."""

    def __init__(self, stream: object) -> None:
        self.text = ""
        self._came: list[tuple[int, float]] = []
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)  # noqa: TID251
        self._thread.start()

    def wait_for(self, pattern: str, timeout: float, *, after: int = 0) -> re.Match[str]:
        """Wait until ``pattern`` is in the output, ``after`` so many characters."""
        compiled = re.compile(pattern)
        deadline = time.monotonic() + timeout
        with self._changed:
            while not (match := compiled.search(self.text, after)):
                left = deadline - time.monotonic()
                assert left > 0, f"no {pattern!r} within {timeout} s in:\n{self.text}"
                assert not self._ended, f"ended without {pattern!r}:\n{self.text}"
                self._changed.wait(left)
        return match

    def when(self, pattern: str, timeout: float) -> float:
        """Wait likewise; return when its end came (`time.monotonic`)."""
        end = self.wait_for(pattern, timeout).end()
        return next(at for length, at in self._came if length >= end)

    def close(self) -> None:
        """Wait for the end of the stream."""
        self._thread.join(10)

    def _read(self, stream: object) -> None:
        with suppress(ValueError):
            for chunk in iter(lambda: stream.read1(65536), b""):  # type: ignore[attr-defined]
                with self._changed:
                    self.text += chunk.decode(errors="replace")
                    self._came.append((len(self.text), time.monotonic()))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Bridge:
    """A running `bridge` command; as a context manager it is ended with SIGTERM if the test has not ended it."""

    def __init__(self, laptop: Laptop, *argv: str, **options: object) -> None:
        self.began = time.monotonic()
        program: Sequence[str] = options.pop("program", [PROGRAM])  # type: ignore[assignment]
        self.process = laptop.popen(
            [*program, *argv],
            stdin=options.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )
        self.out = Output(self.process.stdout)
        self.err = Output(self.process.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
            if self.process.poll() is None:
                self.process.kill()
        self.wait(10)
        for stream in (self.process.stdout, self.process.stderr, self.process.stdin):
            if stream:
                stream.close()
        if error is not None:
            error.add_note(f"--- bridge's stderr\n{self.err.text}\n--- its stdout\n{self.out.text}")

    def wait(self, timeout: float = 60) -> int:
        """Wait for the end; return the exit code."""
        code = self.process.wait(timeout)
        self.out.close()
        self.err.close()
        return code

    def watchdog(self) -> psutil.Process:
        """The process that outlives a killed bridge."""
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if "bridge.session.watchdog" in child.cmdline())

    def kill(self) -> None:
        """End bridge as nothing can prepare for; its watchdog lives."""
        self.process.kill()
        self.process.wait(10)

    def kill_all(self) -> None:
        """End all of it at once, as when the laptop's battery is empty."""
        self.process.send_signal(signal.SIGSTOP)  # or it would start a watchdog now, or see the end of the one there is
        for child in psutil.Process(self.process.pid).children(recursive=True):
            child.kill()
        self.kill()

    def end(self) -> int:
        """End it as a user does, and wait until everything is back; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def served_by(self) -> str:
        """What `apps/server.py`, started by it, answers with."""
        return f"laptop pid={self.out.wait_for(r'serving pid=([0-9]+)', 20)[1]}"

    def swapped(self, timeout: float = 60) -> Self:
        """Wait until the cluster's traffic goes to the laptop."""
        self.err.wait_for(r"is now answered by", timeout)
        return self


def ask(kubectl: Kubectl, url: str = "http://web/", *options: str) -> str:
    """What a pod of the cluster gets for ``url``: an answer, or nothing."""
    return kubectl("exec", "client", "--", "curl", "-s", "--max-time", "3", *options, url, check=False)


def answered_by(kubectl: Kubectl, wanted: str, *, timeout: float = 40) -> None:
    """Wait until every answer is ``wanted``: kube-proxy follows the endpoints with a delay of its own.

    Ten in a row: while it knows both, either may answer.
    """
    deadline, in_a_row = time.monotonic() + timeout, 0
    while in_a_row < 10:
        answer = ask(kubectl)
        in_a_row = in_a_row + 1 if wanted in answer else 0
        assert time.monotonic() < deadline, f"no {wanted!r}, but {answer!r}"


def eventually(look: Callable[[], str], wanted: str, timeout: float = 20) -> str:
    """Look again and again until ``wanted`` is seen."""
    deadline = time.monotonic() + timeout
    while wanted not in (seen := look()):
        assert time.monotonic() < deadline, f"no {wanted!r}, but {seen!r}"
        threading.Event().wait(0.1)
    return seen


# ---- what bridge itself tells of sessions ----------------------------------------------------------------------------
def sessions(laptop: AnyLaptop, *words: str) -> list[dict[str, Any]]:
    """What a `bridge` command, list or status, tells as JSON."""
    done = laptop.run([PROGRAM, *words, "--output", "json"])
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["version"] == 1
    found: list[dict[str, Any]] = told["sessions"]
    return found


def status(laptop: AnyLaptop, namespace: str) -> dict[str, Any]:
    """How the namespace's session of this laptop is, as `bridge status` says it; empty: there is none."""
    return next((each for each in sessions(laptop, "status") if each["namespace"] == namespace), {})


# ---- a session in a namespace, and what must be left of it ----------------------------------------------------------
SESSION_KINDS = "secrets,replicasets,pods,configmaps,leases,serviceaccounts,roles,rolebindings"


def bridge(laptop: Laptop, namespace: str, *words: str, **options: Any) -> Bridge:
    """`bridge run` in the namespace."""
    return Bridge(laptop, "run", "-n", namespace, *words, **options)


def spec_of(kubectl: Kubectl, name: str = "deployment/web") -> Any:
    """The spec of an object."""
    return kubectl.json("get", name)["spec"]


def assert_restored(kubectl: Kubectl, before: Any, name: str = "deployment/web") -> None:
    """The original serves as before, and nothing of ours is left in the namespace."""
    kubectl.rollout(name)
    after = kubectl.json("get", name)
    assert after["spec"] == before
    assert "bridge.internal" not in json.dumps(after)
    assert_nothing_left(kubectl)


def assert_nothing_left(kubectl: Kubectl, *, timeout: float = 20) -> None:
    """No object of a session, no trace in a Service. What its Secret owned goes when the garbage collector comes by."""
    eventually(lambda: f"{left(kubectl)}", "[]", timeout)
    assert "bridge.internal" not in kubectl("get", "services", "-o", "json")


def left(kubectl: Kubectl) -> list[str]:
    """The objects that sessions have in the namespace."""
    return kubectl("get", SESSION_KINDS, "-l", "bridge.internal/session", "-o", "name").split()

"""What the story plays on: the cluster as kubectl shows it, the users' log, the laptop, a running ``bridge run``."""

from __future__ import annotations

import json
import os
import re
import selectors
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
NAMESPACE = "bridge-demo"
PATIENCE = 180
"""Seconds that a kubectl may take: some of them wait."""
BOLD, DIM, GREEN, RED, CYAN, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[31m", "\x1b[36m", "\x1b[0m"


class NotAsTold(Exception):
    """A step did not show what it should."""


# -- telling ------------------------------------------------------------------------------------------------------
def say(text: str, color: str = "") -> None:
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        text = f"{color}{text}{PLAIN}"
    print(text, flush=True)


@contextmanager
def step(number: int, title: str) -> Iterator[None]:
    began = time.monotonic()
    say(f"\n{number}. {title}", BOLD)
    yield
    say(f"   ok, {time.monotonic() - began:.1f} s", GREEN)


def show(lines: list[str], color: str = CYAN) -> None:
    for line in lines:
        say(f"     {line}", color)


def expect(truth: bool, what: str) -> None:
    if not truth:
        raise NotAsTold(what)


# -- the cluster, as kubectl shows it -------------------------------------------------------------------------------
@dataclass(frozen=True)
class Kubectl:
    """kubectl with the options that say which cluster."""

    argv: tuple[str, ...]

    def __call__(self, *words: str, stdin: str | None = None) -> str:
        argv = [*self.argv, *words]
        try:
            done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise NotAsTold(f"kubectl {shlex.join(words)}: not done after {PATIENCE} s") from error
        if done.returncode:
            raise NotAsTold(f"kubectl {shlex.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def get(self, *words: str) -> Any:
        return json.loads(self("get", "--namespace", NAMESPACE, "--output", "json", *words))

    def in_pod(self, deployment: str, *command: str) -> str:
        return self("exec", "--namespace", NAMESPACE, f"deployment/{deployment}", "--", *command)

    def ask_gateway(self, path: str, *options: str, header: str = '"Authorization: Bearer $TOKEN"') -> str:
        """Ask as the users do, from their pod: what was answered, and its status."""
        words = shlex.join(("curl", "--silent", "--max-time", "10", "--write-out", "%{http_code}", *options))
        return self.in_pod("users", "sh", "-c", f"{words} --header {header} http://gateway{path}")


# -- the users ------------------------------------------------------------------------------------------------------
ANSWER = re.compile(
    r"(?P<greeting>.+?) \| up (?P<up>\d+) s \| from (?P<host>\S+) \((?P<track>[a-z]+)\) \| "
    r"(?P<count>\d+) tasks: (?P<tasks>.*)"
)


@dataclass(frozen=True)
class Answer:
    """What one user saw."""

    line: str
    greeting: str
    host: str
    track: str
    count: int
    tasks: str

    @classmethod
    def parse(cls, line: str) -> Answer | None:
        match = ANSWER.fullmatch(line)
        if match is None:
            return None
        return cls(line, match["greeting"], match["host"], match["track"], int(match["count"]), match["tasks"])


@dataclass
class Users:
    """The users' log, followed from now on."""

    log: subprocess.Popen[bytes]
    answers: int = 0
    failures: list[str] = field(default_factory=list)
    rest: bytes = b""  # a line that has not come to its end

    def lines(self, *, timeout: float) -> list[str]:
        """What has come, waiting for it at most ``timeout`` seconds."""
        assert self.log.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.log.stdout, selectors.EVENT_READ)
            if not selector.select(timeout):
                return []
        chunk = os.read(self.log.stdout.fileno(), 1 << 20)
        expect(bool(chunk), "the users' log ended")
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        return [line.decode() for line in lines]

    def see(self) -> list[Answer]:
        """Take all that has come; note which lines are no answers, from the first answer on.

        Before it the application itself may still begin: its Services' way to new pods takes a moment.
        """
        found: list[Answer] = []
        wait = 0.5
        while lines := self.lines(timeout=wait):
            wait = 0
            for line in lines:
                answer = Answer.parse(line)
                if answer:
                    found.append(answer)
                elif found or self.answers:
                    self.failures.append(line)
        self.answers += len(found)
        return found

    def until(
        self,
        what: str,
        *wanted: Callable[[Answer], bool],
        timeout: float = 60,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> list[Answer]:
        """Wait for one answer of each kind, show them; return all that came meanwhile."""
        deadline = time.monotonic() + timeout
        came: list[Answer] = []
        first: dict[int, Answer] = {}
        while len(first) < len(wanted):
            meanwhile()
            if time.monotonic() > deadline:
                show([answer.line for answer in came[-3:]] + self.failures[-3:])
                raise NotAsTold(f"the users did not see {what} within {timeout:.0f} s; above what they saw last")
            new = self.see()
            came += new
            for index, is_wanted in enumerate(wanted):
                if index not in first and (answer := next(filter(is_wanted, new), None)):
                    first[index] = answer
                    show([answer.line])
        return came


@contextmanager
def users_log(kubectl: Kubectl) -> Iterator[Users]:
    argv = [*kubectl.argv, "logs", "--namespace", NAMESPACE, "--follow", "--tail", "0", "deployment/users"]
    log = subprocess.Popen(argv, stdout=subprocess.PIPE)
    try:
        yield Users(log)
    finally:
        log.terminate()
        log.wait()


# -- the laptop -----------------------------------------------------------------------------------------------------
class Laptop(Protocol):
    """Where bridge runs: `tests.cluster.laptop.Laptop`, or this machine. Commands start in the clone."""

    def run(self, argv: list[str]) -> subprocess.CompletedProcess[str]: ...

    def popen(self, argv: list[str], **options: Any) -> subprocess.Popen[Any]: ...


class ThisMachine:
    """The laptop of a foreign cluster: the machine and the user that the demo runs as."""

    def __init__(self) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.options: dict[str, Any] = {"cwd": REPOSITORY, "env": {**os.environ, "PATH": path}}

    def run(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv, **self.options, capture_output=True, text=True, check=False, timeout=60)

    def popen(self, argv: list[str], **options: Any) -> subprocess.Popen[Any]:
        return subprocess.Popen(argv, **self.options, **options)


def shell(laptop: Laptop, script: str, *words: str) -> str:
    done = laptop.run(["sh", "-euc", script, "sh", *words])
    if done.returncode:
        raise NotAsTold(f"on the laptop: {script}: {done.stderr.strip()}")
    return done.stdout.strip()


# The copy of the application that the story edits (demo.COPY).
RUN = 'cd "$HOME/bridge-demo" && exec "$@"'


@dataclass
class Session:
    """A running ``bridge run``, and the file that gets what bridge and the process print."""

    process: subprocess.Popen[Any]
    output: IO[bytes]
    told: int = 0

    def account(self) -> list[str]:
        """What came since the last time, but for the process's line about each request."""
        lines = Path(self.output.name).read_text(errors="replace").splitlines()
        new, self.told = lines[self.told :], len(lines)
        return [line for line in new if not line.startswith(("GET ", "POST "))]

    def show_account(self) -> None:
        """Show what came; a session that ended was not told."""
        show(self.account(), DIM)
        if self.process.poll() is not None:
            show(self.account(), DIM)
            raise NotAsTold(f"bridge ended with {self.process.returncode}; above what it said")

    def interrupt(self) -> int:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(120)
        except subprocess.TimeoutExpired as error:
            raise NotAsTold("bridge has not ended 120 s after Ctrl-C") from error


@contextmanager
def swapped(laptop: Laptop, options: list[str]) -> Iterator[Session]:
    command = ["bridge", "run", *options, "--swap", "tasks", "--reload", "python", "docs/demo/tasks/app.py"]
    say(f"   $ {shlex.join(command)}", BOLD)
    with tempfile.NamedTemporaryFile() as output:
        argv = ["sh", "-euc", RUN, "sh", *command]
        process = laptop.popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        session = Session(process, output)
        try:
            yield session
        except BaseException:
            show(session.account(), DIM)
            raise
        finally:
            process.terminate()
            process.wait(120)

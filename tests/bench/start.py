"""How long a start takes: from the command to the process's first line, and to the first request that it answers.

Each round: without a swap, with one, with one again as soon as the first has ended, and with one again in a session
that was kept (`--linger`). On the local cluster, image present. A phase ends when bridge logs its step (`--verbose`).
"""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

from tests.e2e.running import PROGRAM, SERVER, Bridge

from .figures import OURS, PLAIN, Key
from .phases import FIRST_LINE, FIRST_REQUEST, LAST, pattern, steps_in
from .ways import opener

if TYPE_CHECKING:
    from .agents import Agent
    from .figures import Book
    from .parts import Options
    from .stage import Stage


def start(stage: Stage, options: Options, book: Book) -> None:
    """All rounds, after one that warms the caches."""
    with stage.agent_in_pod() as observer:
        swap(stage, observer)
        for number in range(options.rounds):
            print(f"  start: round {number + 1}", flush=True)
            _add(book, OURS, "no swap", join(stage))
            _add(book, OURS, "swap", swap(stage, observer))
            _add(book, OURS, "swap, again at once", swap(stage, observer))
            _add(book, OURS, "swap, kept", kept(stage, observer))
            _add(book, OURS, "bridge --help", {"": helped(stage)})
            if "ssh" in options.ways:
                _add(book, "ssh", "no swap", by_hand(stage))


def _add(book: Book, way: str, what: str, seconds: dict[str, float]) -> None:
    for phase, value in seconds.items():
        book.add(Key("start", PLAIN, f"{what}: {phase}" if phase else what), "s", way, value)


def swap(stage: Stage, observer: Agent) -> dict[str, float]:
    """Swap, and ask the Service from a pod until the laptop answers."""
    with _bridge(stage, "--swap", "web", "python", SERVER, "8080") as session:
        line = session.out.when("serving", 60)
        observer.wait_for_answer("web", text="laptop")
        return _since(session, line, time.monotonic()) | _steps(session)


def kept(stage: Stage, observer: Agent) -> dict[str, float]:
    """Swap, end, and swap again in the same session; of the second time."""
    command = ("--linger", "10m", "--swap", "web", "python", SERVER, "8080")
    with _bridge(stage, *command) as first:
        first.swapped().end()
    with _bridge(stage, *command) as again:
        line = again.out.when("serving", 60)
        observer.wait_for_answer("web", text="laptop")
        found = _since(again, line, time.monotonic())
        session = again.err.wait_for(r"was kept, with the proxy pod bridge-web-([a-z0-9]+)-", 10)[1]
        again.swapped().end()
    stage.laptop.run([PROGRAM, "leave", session], check=True)
    return found


def _bridge(stage: Stage, *words: str, **options: Any) -> Bridge:
    command = ["run", "--verbose", "-n", stage.namespace, *words]
    return Bridge(stage.laptop, *command, env={"KUBECONFIG": stage.kubeconfig}, **options)


def _since(session: Bridge, line: float, served: float) -> dict[str, float]:
    """Both in seconds since the command."""
    return {FIRST_LINE: line - session.began, FIRST_REQUEST: served - session.began}


def _steps(session: Bridge) -> dict[str, float]:
    """When each step was reached, likewise."""
    session.err.wait_for(pattern(LAST), 60)
    return {step: session.err.when(pattern(step), 0) - session.began for step in steps_in(session.err.text)}


def join(stage: Stage) -> dict[str, float]:
    """Without a swap the first request is one that the process makes: to the target's pod."""
    task = {"op": "await", "address": stage.target, "seconds": 60}
    with _bridge(stage, stage.bencher, "agent", stdin=subprocess.PIPE) as session:
        line = session.out.when("ready", 60)
        session.process.stdin.write(json.dumps(task).encode() + b"\n")
        session.process.stdin.flush()
        return _since(session, line, session.out.when("seconds", 60)) | _steps(session)


def by_hand(stage: Stage) -> dict[str, float]:
    """The same with `kubectl port-forward` and ssh: a pod with sshd, and both commands, until both forwards answer."""
    begun = time.monotonic()
    with opener("ssh")(stage):
        return {"first request served": time.monotonic() - begun}


def helped(stage: Stage) -> float:
    """The seconds of `bridge --help`."""
    begun = time.monotonic()
    stage.laptop.run([PROGRAM, "--help"], check=True)
    return time.monotonic() - begun

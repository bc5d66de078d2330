"""The client of all measurements, `bencher agent`, wherever it runs: told a task, it answers with figures."""

from __future__ import annotations

import json
import subprocess
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONG = 60


class TaskError(Exception):
    """A task could not be done; the message says why."""


class Agent:
    """A running agent, or the program that leads to one (kubectl exec, bridge run)."""

    def __init__(self, process: subprocess.Popen[str], said: Callable[[], str]) -> None:
        self.process = process
        self._said = said

    def wait_until_ready(self) -> None:
        """Wait for its first line: from then on it takes tasks."""
        if self._line() != "ready":
            raise TaskError(self._said())

    def do(self, task: dict[str, Any]) -> dict[str, Any]:
        """Have a task done. Raises `TaskError` where it could not be."""
        assert self.process.stdin
        try:
            self.process.stdin.write(json.dumps(task) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise TaskError(self._said()) from error
        answer = json.loads(self._line() or json.dumps({"error": f"the agent has ended: {self._said()}"}))
        if "error" in answer:
            raise TaskError(answer["error"])
        return answer

    def wait_for_answer(self, address: str, *, text: str = "", seconds: float = LONG) -> None:
        """Wait until the address is answered."""
        self.do({"op": "await", "address": address, "text": text, "seconds": seconds})

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()


@contextmanager
def running(start: Callable[..., subprocess.Popen[str]]) -> Iterator[Agent]:
    """An agent that ends with its stdin; ``start`` is `subprocess.Popen` but for the command."""
    with tempfile.TemporaryFile("w+") as errors:

        def said() -> str:
            errors.seek(0)
            return errors.read()[-2000:].strip()

        process = start(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            agent = Agent(process, said)
            agent.wait_until_ready()
            yield agent
        finally:
            end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Let it end by itself, then by a signal; a bridge puts everything back meanwhile."""
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()
    try:
        process.wait(LONG)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait(LONG)

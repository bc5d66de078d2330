"""The Debug Adapter Protocol, spoken by a client as VS Code is one, to debugpy's real adapter on the laptop.

https://microsoft.github.io/debug-adapter-protocol/specification: messages in JSON, each behind a Content-Length header,
over the adapter's stdin and stdout. The adapter asks back once, `runInTerminal`: the client starts the program, in a
terminal of its own.
"""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tests.e2e.running import Output

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from tests.cluster.access import AnyLaptop

Message = dict[str, Any]

INITIALIZE = {
    "clientID": "vscode",
    "adapterID": "debugpy",
    "pathFormat": "path",
    "linesStartAt1": True,
    "columnsStartAt1": True,
    "supportsVariableType": True,
    "supportsRunInTerminalRequest": True,
    "supportsArgsCanBeInterpretedByShell": True,
}


class Terminal:
    """A terminal of the IDE: a shell in it starts the program, and is there after its end."""

    def __init__(self, laptop: AnyLaptop, argv: list[str], cwd: str, env: dict[str, str | None]) -> None:
        self._master, slave = pty.openpty()
        command = ["setsid", "--ctty", "--wait", "sh", "-c", '"$@"; exec sleep 1000', "sh", *argv]
        self.process = laptop.popen(command, cwd=cwd, env=env, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self._reading = _Reading(self._master)
        self.screen = Output(self._reading)

    def hang_up(self) -> None:
        """Close the terminal, as when the IDE is gone: its shell ends."""
        if self.process.poll() is None:
            self._reading.stop()
            self.screen.close()
            os.close(self._master)
            self.process.wait(10)


class _Reading:
    """The terminal's end that is read; only when there is something, as a read under way would keep it open."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._stopped, self._stop = os.pipe()

    def stop(self) -> None:
        os.close(self._stop)

    def read1(self, size: int) -> bytes:
        readable, _, _ = select.select([self._descriptor, self._stopped], [], [])
        if self._stopped in readable:
            os.close(self._stopped)
            return b""
        try:
            return os.read(self._descriptor, size)
        except OSError:  # EIO: nobody has the terminal any more
            return b""


class Debugger:
    """A debug session: an adapter, and the messages that it has sent."""

    def __init__(self, laptop: AnyLaptop, folder: str, *, port: int | None = None) -> None:
        """Start an adapter; or connect to the one that listens on a port of the laptop, to attach."""
        self._laptop = laptop
        self.terminal: Terminal | None = None
        options: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        if port is None:
            self.adapter = laptop.popen(["python", "-m", "debugpy.adapter"], cwd=folder, **options)
        else:
            self.adapter = laptop.popen(["python", "tests/e2e/apps/connect.py", str(port)], **options)
        self._sequence = 0
        self._sending = threading.Lock()
        self._received: list[Message] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)  # noqa: TID251
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None and self.terminal is not None:
            error.add_note(f"--- the terminal\n{self.terminal.screen.text}")
        self.kill()
        self._reader.join(10)
        for stream in (self.adapter.stdin, self.adapter.stdout):
            with suppress(OSError):
                stream.close()

    def kill(self) -> None:
        """End all of it as nothing can prepare for. The program is ended by its launcher, bridge by its terminal."""
        self.adapter.kill()
        self.adapter.wait(10)
        if self.terminal is not None:
            self.terminal.hang_up()

    @property
    def screen(self) -> Output:
        """What the terminal shows."""
        assert self.terminal is not None
        return self.terminal.screen

    # ---- what an IDE does -----------------------------------------------------------------------------------------
    def start(self, entry: Message, breakpoints: dict[str, list[int]]) -> None:
        """Press F5, for an entry that launches or attaches: from `initialize` until the program runs."""
        self.request("initialize", INITIALIZE)
        started = self.send(entry["request"], entry)
        self.event("initialized", timeout=60)
        for path, lines in breakpoints.items():
            wanted = {"source": {"path": path}, "breakpoints": [{"line": line} for line in lines]}
            assert all(each["verified"] for each in self.request("setBreakpoints", wanted)["breakpoints"])
        self.request("setExceptionBreakpoints", {"filters": ["uncaught"]})
        self.request("configurationDone", {})
        self.response(started)

    def stopped(self, timeout: float = 30) -> tuple[int, Message]:
        """Wait until a breakpoint is hit: the thread, and its top frame."""
        thread = self.event("stopped", timeout=timeout)["threadId"]
        frames = self.request("stackTrace", {"threadId": thread, "startFrame": 0, "levels": 1})
        return thread, frames["stackFrames"][0]

    def variables(self, frame: Message) -> dict[str, str]:
        """The local variables of a frame, as an IDE shows them."""
        scopes = self.request("scopes", {"frameId": frame["id"]})["scopes"]
        local = next(scope for scope in scopes if scope["name"] == "Locals")
        found = self.request("variables", {"variablesReference": local["variablesReference"]})["variables"]
        return {each["name"]: each["value"] for each in found}

    def evaluate(self, frame: Message, expression: str) -> str:
        """What the debug console answers."""
        asked = {"expression": expression, "frameId": frame["id"], "context": "repl"}
        answer: str = self.request("evaluate", asked)["result"]
        return answer

    def go_on(self, thread: int) -> None:
        """Press F5 again."""
        self.request("continue", {"threadId": thread})

    def stop(self) -> None:
        """Press the stop button."""
        self.request("disconnect", {"restart": False, "terminateDebuggee": True}, timeout=60)

    def detach(self) -> None:
        """Press the stop button of a session that has attached."""
        self.request("disconnect", {"restart": False, "terminateDebuggee": False})

    # ---- messages -------------------------------------------------------------------------------------------------
    def request(self, command: str, arguments: Message, *, timeout: float = 30) -> Message:
        """Ask the adapter, and return what it answers."""
        return self.response(self.send(command, arguments), timeout=timeout)

    def send(self, command: str, arguments: Message) -> int:
        """Ask the adapter, without waiting; returns the question's number."""
        return self._write({"type": "request", "command": command, "arguments": arguments})

    def response(self, number: int, *, timeout: float = 60) -> Message:
        """Wait for the answer to a question."""
        answer = self._wait(
            lambda it: it["type"] == "response" and it["request_seq"] == number, f"answer to {number}", timeout
        )
        assert answer["success"], answer
        body: Message = answer.get("body") or {}
        return body

    def event(self, name: str, *, timeout: float = 30) -> Message:
        """Wait for the next event of a kind, and return its body; each is returned once."""
        found = self._wait(lambda it: it["type"] == "event" and it["event"] == name, f"event {name}", timeout)
        body: Message = found.get("body") or {}
        return body

    def _wait(self, wanted: Callable[[Message], bool], what: str, timeout: float) -> Message:
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for at, message in enumerate(self._received):
                    if wanted(message):
                        return self._received.pop(at)
                left = deadline - time.monotonic()
                assert left > 0, f"no {what} within {timeout} s, but {self._received[-5:]}"
                assert not self._ended, f"the adapter has ended without {what}: {self._received[-5:]}"
                self._changed.wait(left)

    def _write(self, message: Message) -> int:
        with self._sending:
            self._sequence += 1
            body = json.dumps({"seq": self._sequence, **message}).encode()
            self.adapter.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            self.adapter.stdin.flush()
            return self._sequence

    def _read(self) -> None:
        with suppress(ValueError, OSError):
            while header := self.adapter.stdout.readline():
                length = int(header.partition(b":")[2])
                while self.adapter.stdout.readline().strip():
                    pass
                self._take(json.loads(self.adapter.stdout.read(length)))
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _take(self, message: Message) -> None:
        if message["type"] == "request":
            self._run_in_terminal(message)
            return
        with self._changed:
            self._received.append(message)
            self._changed.notify_all()

    def _run_in_terminal(self, question: Message) -> None:
        assert question["command"] == "runInTerminal", question
        asked = question["arguments"]
        self.terminal = Terminal(self._laptop, asked["args"], asked["cwd"], asked.get("env") or {})
        answer = {"processId": self.terminal.process.pid}
        self._write(
            {
                "type": "response",
                "request_seq": question["seq"],
                "command": "runInTerminal",
                "success": True,
                "body": answer,
            }
        )

"""The account of a session on stderr: one line a step with its time; plain when stderr is no terminal.

    Console      for people
    JsonLines    for programs: one JSON object a line. {"version": 1, "t": 3.217, "event": "...", "text": "...", ...}

stdout is never written: it is the process's own. A terminal that went away (SIGHUP) must not stop a restore, so a
failed write is dropped.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from bridge.session.narrator import Narrator

if TYPE_CHECKING:
    from bridge.session.narrator import Fact

VERSION = 1
"""Of the JSON lines: within it fields and events are added only."""
GREEN, YELLOW, RED, DIM, RESET = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[2m", "\x1b[0m"
CLEAR_LINE = "\r\x1b[K"


class Account(Narrator, Protocol):
    """A session's narrator, and where its failure is told."""

    def fail(self, message: str, hint: str) -> None:
        """Show why the command ends, and the next step."""


class Console:
    """A session's Narrator on stderr. Times are seconds since the command began."""

    def __init__(self, *, began: float | None = None) -> None:
        self._began = time.monotonic() if began is None else began
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._color = self._live and "NO_COLOR" not in os.environ
        self._transient = False

    def doing(self, text: str) -> None:
        """Show a step that goes on; on a terminal the line is replaced by the next one."""
        if self._live:
            self._write(f"{CLEAR_LINE}{self._paint(DIM, f'{self._time()}   {text} ...')}")
            self._transient = True

    def done(self, text: str, event: str = "", **facts: Fact) -> None:  # noqa: ARG002  # for programs
        """Show a step that is done."""
        self._line(self._paint(GREEN, "+"), text)

    def note(self, text: str, event: str = "", **facts: Fact) -> None:  # noqa: ARG002  # as above
        """Show something to know."""
        self._line(self._paint(DIM, "-"), text)

    def warn(self, text: str, event: str = "", **facts: Fact) -> None:  # noqa: ARG002  # as above
        """Show something that is not as it should be."""
        self._line(self._paint(YELLOW, "!"), text)

    def fail(self, message: str, hint: str) -> None:
        """Show why the command ends, and the next step."""
        self._clear()
        self._write(f"{self._paint(RED, 'bridge:')} {message}\n")
        for line in hint.splitlines():
            self._write(f"        {line}\n")

    def _line(self, mark: str, text: str) -> None:
        self._clear()
        self._write(f"{self._paint(DIM, self._time())} {mark} {text}\n")

    def _time(self) -> str:
        return f"bridge {time.monotonic() - self._began:6.2f}s"

    def _clear(self) -> None:
        if self._transient:
            self._transient = False
            self._write(CLEAR_LINE)

    def _paint(self, color: str, text: str) -> str:
        return f"{color}{text}{RESET}" if self._color else text

    def _write(self, text: str) -> None:
        _write(text)


class JsonLines:
    """The same for programs; what has no event of its own is ``doing``, ``done``, ``note`` or ``warning``."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def doing(self, text: str) -> None:
        """Tell of a step that goes on."""
        self._tell("doing", text, {})

    def done(self, text: str, event: str = "", **facts: Fact) -> None:
        """Tell of a step that is done."""
        self._tell(event or "done", text, facts)

    def note(self, text: str, event: str = "", **facts: Fact) -> None:
        """Tell something to know."""
        self._tell(event or "note", text, facts)

    def warn(self, text: str, event: str = "", **facts: Fact) -> None:
        """Tell something that is not as it should be."""
        self._tell(event or "warning", text, facts)

    def fail(self, message: str, hint: str) -> None:
        """Tell why the command ends, and the next step."""
        self._tell("failed", message, {"hint": hint})

    def _tell(self, event: str, text: str, facts: dict[str, Fact]) -> None:
        line = {"version": VERSION, "t": round(time.monotonic() - self._began, 3), "event": event, "text": text}
        _write(json.dumps(line | facts) + "\n")


def _write(text: str) -> None:
    with suppress(OSError, ValueError):  # the terminal is gone, or stderr was closed
        sys.stderr.write(text)
        sys.stderr.flush()

"""What a session tells while it goes on. The session decides what is said; the command line decides how it looks."""

from __future__ import annotations

from typing import Protocol, TypeAlias

Fact: TypeAlias = str | int | float | bool | list[str] | None
"""What a program can read of what is told."""


class Narrator(Protocol):
    """Receives the account of a session, one short sentence at a time (no trailing stop).

    ``event`` and ``facts`` say the same for programs, where it is worth it: docs/reference/command-line.md has them.
    """

    def doing(self, text: str) -> None:
        """Say what is being waited for; replaced by the next sentence."""

    def done(self, text: str, event: str = "", **facts: Fact) -> None:
        """Say what has been reached."""

    def note(self, text: str, event: str = "", **facts: Fact) -> None:
        """Say something that the user should know, and that stops nothing."""

    def warn(self, text: str, event: str = "", **facts: Fact) -> None:
        """Say something that is not as it should be."""

"""What a session tells while it goes on. The session decides what is said; the command line decides how it looks."""

from __future__ import annotations

from typing import Protocol


class Narrator(Protocol):
    """Receives the account of a session, one short sentence at a time (no trailing stop)."""

    def doing(self, text: str) -> None:
        """Say what is being waited for; replaced by the next sentence."""

    def done(self, text: str) -> None:
        """Say what has been reached."""

    def note(self, text: str) -> None:
        """Say something that the user should know, and that stops nothing."""

    def warn(self, text: str) -> None:
        """Say something that is not as it should be."""

"""A narrator that remembers what it was told."""

from __future__ import annotations


class Told:
    """Each sentence with how it was said, in order."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str]] = []

    def doing(self, text: str) -> None:
        self.all.append(("doing", text))

    def done(self, text: str) -> None:
        self.all.append(("done", text))

    def note(self, text: str) -> None:
        self.all.append(("note", text))

    def warn(self, text: str) -> None:
        self.all.append(("warn", text))

    def said(self, how: str) -> list[str]:
        """What was said that way."""
        return [text for way, text in self.all if way == how]

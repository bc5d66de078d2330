"""A narrator that remembers what it was told, and one that can't tell anything."""

from __future__ import annotations


class Told:
    """Each sentence with how it was said, in order."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str]] = []
        self.events: list[tuple[str, dict[str, object]]] = []

    def doing(self, text: str) -> None:
        self.all.append(("doing", text))

    def done(self, text: str, event: str = "", **facts: object) -> None:
        self._tell("done", text, event, facts)

    def note(self, text: str, event: str = "", **facts: object) -> None:
        self._tell("note", text, event, facts)

    def warn(self, text: str, event: str = "", **facts: object) -> None:
        self._tell("warn", text, event, facts)

    def _tell(self, how: str, text: str, event: str, facts: dict[str, object]) -> None:
        self.all.append((how, text))
        if event:
            self.events.append((event, facts))

    def said(self, how: str) -> list[str]:
        """What was said that way."""
        return [text for way, text in self.all if way == how]


class Speechless(Told):
    """Fails at whatever lasts."""

    def _tell(self, how: str, text: str, event: str, facts: dict[str, object]) -> None:
        super()._tell(how, text, event, facts)
        raise RuntimeError(text)

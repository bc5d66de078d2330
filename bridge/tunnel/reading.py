"""How the connections of a session are read along: what those who ask for it say, without the parser's import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.tunnel.http import Heard

Tell: TypeAlias = "Callable[[tuple[str, int], Heard], object]"
"""Gets who asked (address and port, as the pod sees it), and what was heard."""


@dataclass
class Pause:
    """Whether the process is being replaced: nothing new is to reach it. Shared by all relays of a session."""

    on: bool = False
    number: int = 0
    """How many there were, this one included: what was dialled before is for a process that goes, or is gone."""

    def begin(self) -> None:
        """Begin one."""
        self.on = True
        self.number += 1

    def end(self) -> None:
        """End it: there is another process."""
        self.on = False


def _ignore(_originator: tuple[str, int], _heard: Heard) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a connection is read along: who is told, and, with a ``pause``, that connections outlive the process."""

    tell: Tell = _ignore
    pause: Pause | None = None

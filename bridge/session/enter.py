"""``bridge exec``: one more program in a session that runs, a program of the caller's own terminal.

    the session's bridge    door    hands out, over the session's socket, the way into the sandbox, and a memfd
                                    with what the environment is made of (``Inside``): it is nobody else's
    bridge exec             enter   takes these, and becomes the command (see ``laptop.enter``)

Nothing of it needs the tunnel, so a session that is just reconnecting can be entered as well.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from bridge.laptop.enter import become
from bridge.plan.environment import SessionIdentity, process_environment
from bridge.session.named import named, the_only_one
from bridge.session.visiting import Visitor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn, Self


@dataclass(frozen=True, kw_only=True)
class Inside:
    """What the environment of a program in the session is made of; see ``plan.environment``."""

    pod: bytes
    image: bytes | None
    identity: SessionIdentity

    def render(self) -> bytes:
        """Write it as JSON; bytes that are not UTF-8 as surrogates (PEP 383)."""
        image = None if self.image is None else os.fsdecode(self.image)
        return json.dumps({"pod": os.fsdecode(self.pod), "image": image, "identity": asdict(self.identity)}).encode()

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Read what ``render`` wrote."""
        told = json.loads(content)
        image = None if told["image"] is None else os.fsencode(told["image"])
        identity = told["identity"] | {"mounts": tuple(told["identity"]["mounts"])}
        return cls(pod=os.fsencode(told["pod"]), image=image, identity=SessionIdentity(**identity))

    @classmethod
    def read(cls, descriptor: int) -> Self:
        """Read it from the memfd, which is closed."""
        with os.fdopen(descriptor, "rb") as file:
            file.seek(0)
            return cls.parse(file.read())

    def environment(self, laptop: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """Return the whole environment of a program that ``laptop``, the caller's own, is merged into."""
        return process_environment(laptop, self.pod, self.image, self.identity)


def enter(session: str | None, command: Sequence[str]) -> NoReturn:
    """Become the command in the session that is meant (None: the only one). Raises BridgeError."""
    visitor = Visitor((named(session) if session is not None else the_only_one()).pid)
    try:
        *way_in, inside = visitor.ask_descriptors("enter")
    finally:
        visitor.close()
    become(command, Inside.read(inside).environment(os.environb), way_in)

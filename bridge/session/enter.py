"""``bridge exec``: one more program in a session that runs, a program of the caller's own terminal.

    the session's bridge    Door    hands out, over the session's socket, the way into the sandbox, and a memfd
                                    with what the environment is made of (``Inside``): it is nobody else's
    bridge exec             enter   takes these, and becomes the command (see ``laptop.enter``)

Nothing of it needs the tunnel, so a session that is just reconnecting can be entered as well.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from bridge.errors import BridgeError
from bridge.laptop.enter import become
from bridge.plan.environment import SessionIdentity, process_environment
from bridge.session.local import Visitor
from bridge.session.named import named, the_only_one

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import NoReturn, Self

    from bridge.laptop.sandbox import Sandbox


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

    def environment(self, laptop: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """Return the whole environment of a program that ``laptop``, the caller's own, is merged into."""
        return process_environment(laptop, self.pod, self.image, self.identity)


class Door:
    """The session's side. On the event loop, but for ``open``."""

    def __init__(self, box: Sandbox) -> None:
        self._box = box
        self._environs: tuple[bytes, bytes | None] | None = None

    def open(self, pod: bytes, image: bytes | None) -> None:
        """Let programs in: the environment is known (as in ``Inside``)."""
        self._environs = pod, image

    async def way_in(self, identity: Callable[[], SessionIdentity]) -> list[int]:
        """Give the descriptors for one that enters, the caller's. Raises BridgeError where it is too early or late."""
        if self._environs is None:
            raise BridgeError("the session is just starting", hint="Try again when its bridge says: connected.")
        pod, image = self._environs
        environment = Inside(pod=pod, image=image, identity=identity())
        way_in = await asyncio.to_thread(self._box.way_in)
        return [*way_in, _memfd(environment.render())]


def enter(session: str | None, command: Sequence[str]) -> NoReturn:
    """Become the command in the session that is meant (None: the only one). Raises BridgeError."""
    visitor = Visitor((named(session) if session is not None else the_only_one()).pid)
    try:
        *way_in, environment = visitor.ask_way_in()
    finally:
        visitor.close()
    with os.fdopen(environment, "rb") as file:
        file.seek(0)
        inside = Inside.parse(file.read())
    become(command, inside.environment(os.environb), way_in)


def _memfd(content: bytes) -> int:
    descriptor = os.memfd_create("environment")
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(content)
    return descriptor

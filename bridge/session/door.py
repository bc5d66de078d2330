"""The way into a session for programs that bridge does not start itself: the session's side of ``enter``."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from bridge.errors import BridgeError
from bridge.session.enter import Inside

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.laptop.sandbox import Sandbox
    from bridge.plan.environment import SessionIdentity


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


def _memfd(content: bytes) -> int:
    descriptor = os.memfd_create("environment")
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(content)
    return descriptor

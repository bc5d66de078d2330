"""From "the proxy pod was created" to "the tunnel stands".

sshd answers before the pod's status says that it runs, so the stream is tried from the start, again and again, while
the main thread looks now and then whether the cluster says why it can't come to be.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bridge.errors import ClusterError, TunnelError
from bridge.tunnel.ssh import Connection, connect
from bridge.tunnel.stream import StreamError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.plan.endpoint import Endpoint
    from bridge.tunnel.keys import SessionKeys
    from bridge.tunnel.loop import EventLoop

TRY_EVERY = 0.05
"""Seconds between two tries: each is one small request to the API server, for about the second that a pod takes."""
LOOK_EVERY = 1.0


def reach(
    loop: EventLoop,
    endpoint: Callable[[], Endpoint],
    keys: SessionKeys,
    *,
    deadline: float,
    look: Callable[[], None],
) -> Connection:
    """Return the connection. ``look`` is called once a second, and raises what keeps the pod from running.

    ``deadline``: time.monotonic().
    """
    attempt = loop.submit(_until_connected(endpoint, keys))
    try:
        while True:
            left = deadline - time.monotonic()
            try:
                return attempt.result(min(LOOK_EVERY, max(left, 0)))
            except TimeoutError:
                look()
                if left <= 0:
                    raise ClusterError(
                        "the proxy pod did not get to run in time", hint="Give it longer with --timeout."
                    ) from None
    finally:
        attempt.cancel()


async def _until_connected(endpoint: Callable[[], Endpoint], keys: SessionKeys) -> Connection:
    while True:
        try:
            return await connect(endpoint(), keys)
        except TunnelError as error:
            if isinstance(error, StreamError) and not error.passing:
                raise
        await asyncio.sleep(TRY_EVERY)

"""Notices as they happen that objects change: a watch for each, in a thread of its own.

Who waits for that is woken, and looks for himself; a word too many does no harm. Where an object is not watched now (no
right to, no such object, an API server that is away), he has to look by the clock: see ``complete``.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bridge.cluster.errors import MissingRight
from bridge.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.cluster import Cluster

log = logging.getLogger(__name__)

LASTS = 60.0
"""Seconds that a watch lasts before it is asked for anew."""
AGAIN_AFTER = 2.0
"""Seconds at least between two requests for the same watch."""
ANSWERS = 3.0
"""Seconds for the API server to answer one."""


class Watches:
    """The watches of the objects at ``paths``, from now until ``close``. ``wake`` is called in their threads.

    Over connections of their own: they are closed to end what waits for an event.
    """

    def __init__(self, cluster: Cluster, paths: Sequence[str], wake: Callable[[], object]) -> None:
        self._cluster = cluster.anew(timeout=ANSWERS)
        self._paths = tuple(paths)
        self._wake = wake
        self._standing: set[str] = set()
        self._pool = ThreadPoolExecutor(max(len(paths), 1), thread_name_prefix="bridge-watch")
        for path in self._paths:
            self._pool.submit(self._keep, path)

    @property
    def complete(self) -> bool:
        """Whether each change of any of them will be noticed."""
        return len(self._standing) == len(self._paths)

    def close(self) -> None:
        """End them; their threads follow at once, or when a request that gets no answer is over."""
        self._cluster.close()
        self._pool.shutdown(wait=False)

    def _keep(self, path: str) -> None:
        version, closed = "", False
        try:
            while not closed:
                began = time.monotonic()
                version = self._once(path, version)
                closed = self._cluster.transport.pause(max(0.0, began + AGAIN_AFTER - time.monotonic()))
        except MissingRight as error:
            log.debug("%s is not watched: %s", path, error)
        except Exception:  # a bug in watching: from now on it is looked at by the clock
            log.exception("%s is not watched", path)
        finally:
            self._standing.discard(path)

    def _once(self, path: str, version: str) -> str:
        """Watch from ``version`` on (empty: beginning with the object as it is); return where the next is to begin."""
        collection, _, name = path.rpartition("/")
        selector = f"metadata.name={name}"
        try:
            for kind, item in self._cluster.watch(
                collection, field_selector=selector, resource_version=version, timeout=LASTS
            ):
                version = item["metadata"]["resourceVersion"]
                if kind != "BOOKMARK":
                    self._standing.add(path)
                    self._wake()
        except MissingRight:
            raise
        except ClusterError as error:  # it is away, or the version is too old
            log.debug("%s is not watched now: %s", path, error)
            self._standing.discard(path)
            return ""
        return version

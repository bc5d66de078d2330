"""Several questions at once: the preliminaries cost one round trip to a far cluster, not ten."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

MOST = 10  # the API server takes more; the connection pool holds as many


def gather(questions: Sequence[Callable[[], T]]) -> list[T]:
    """Return the answers in the order of the ``questions``; raise the first one's error. No thread outlives it."""
    if len(questions) < 2:
        return [question() for question in questions]
    with ThreadPoolExecutor(min(len(questions), MOST), thread_name_prefix="bridge-ask") as pool:
        waiting = [pool.submit(question) for question in questions]
        try:
            return [future.result() for future in waiting]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

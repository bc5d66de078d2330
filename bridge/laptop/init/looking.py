"""Looking at all processes, while they begin and end."""

import os
from collections.abc import Callable, Iterable
from typing import TypeVar

_T = TypeVar("_T")

_LOOKS = 50  # at the processes, before one that forks and ends faster than it can be looked at is given up


def look_until_sure(look: Callable[[], tuple[_T, Iterable[int]]]) -> _T:
    """What ``look`` finds among the processes, looked for again while it finds nothing and can't be sure of it.

    Besides what it found, ``look`` gives the pids that had ended when it came to them. Such a one may have forked
    since the list of processes was read, and its child is not on the list: so finding nothing means something only
    when each of them is known to have ended before.
    """
    ended: set[int] = set()
    for _ in range(_LOOKS):
        found, missed = look()
        if found or ended.issuperset(missed):
            break
        ended.update(missed)
    return found


def newest_first() -> list[int]:
    """The pids of all processes. The newest first, as they are the likeliest to be gone in a moment."""
    return sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True)

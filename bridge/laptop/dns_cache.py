"""Answers that are kept for as long as their records say (RFC 1035 section 3.2.1; for "no such name" RFC 2308).

An answer is kept whole, under the whole of its query but for the id: so what is asked in another way (another case,
with EDNS or without) is asked again, and what is given back is what the nameserver would have said, with the time that
has passed taken off each record's TTL. Names in a cluster have small ones: 5 seconds by CoreDNS's default, 30 at most.
"""

import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from bridge.laptop.dns_message import Lifetime, lifetime, with_identifier

ENTRIES = 4096
"""Answers kept at most; the one that was asked for longest ago goes first. Most are of some 200 bytes."""
LONGEST = 60
"""Seconds that an answer is kept at most, whatever it says."""


@dataclass(frozen=True)
class _Kept:
    answer: bytes
    lifetime: Lifetime
    since: float


class AnswerCache:
    """Answers by their query. ``clock`` gives seconds that also pass while the laptop sleeps."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    def get(self, query: bytes) -> bytes | None:
        """Return the answer to this query (a whole message, with its id), if it is still known."""
        key = query[2:]
        kept = self._kept.get(key)
        if kept is None:
            return None
        age = int(self._clock() - kept.since)
        if age >= min(kept.lifetime.seconds, LONGEST):
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return query[:2] + _aged(kept, age)[2:]

    def put(self, query: bytes, answer: bytes) -> None:
        """Keep an answer, if it is one that may be kept."""
        said = lifetime(answer)
        if said is None or not said.seconds:
            return
        self._kept[query[2:]] = _Kept(with_identifier(answer, 0), said, self._clock())
        if len(self._kept) > ENTRIES:
            self._kept.popitem(last=False)


def _aged(kept: _Kept, age: int) -> bytes:
    if not age:
        return kept.answer
    answer = bytearray(kept.answer)
    for offset in kept.lifetime.offsets:
        (ttl,) = struct.unpack_from("!I", answer, offset)
        struct.pack_into("!I", answer, offset, max(0, ttl - age))
    return bytes(answer)

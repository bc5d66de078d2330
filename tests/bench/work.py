"""What is measured through an open way, and what each task's answer becomes: the list, and nothing that acts. Pure.

Names and units of figures are spelled here and nowhere else; `targets` asks for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ROUND_TRIP = "round trip, 100 bytes, p50"
ROUND_TRIP_P99 = "round trip, 100 bytes, p99"
CONNECT = "connection + first byte, p50"
CONNECT_P99 = "connection + first byte, p99"
MORE_THREADS = "threads for all connections"
AFTER = "memory after it"
CACHED, FRESH = "a name asked before", "a new name each time"


def requests(connections: int) -> str:
    """Requests of 100 bytes on so many open connections."""
    return f"requests/s, {connections} connection{'s' if connections > 1 else ''}"


def bulk(way: str, streams: int) -> str:
    """Bytes down (to who connects) or up."""
    return f"MB/s {way}, {streams} stream{'s' if streams > 1 else ''}"


def during(way: str) -> str:
    """A small request while one stream copies."""
    return f"round trip while one stream copies {way}, p99"


def look_up(which: str) -> str:
    """One look-up after another."""
    return f"DNS look-up, {which}, p50"


def look_ups(which: str) -> str:
    """Many at once."""
    return f"DNS look-ups/s, {which}"


def of_a_connection(direction: str) -> str:
    """What an open connection takes."""
    return f"memory of a connection, {direction}"


@dataclass(frozen=True)
class Measure:
    """One task, and the figures in its answer: name, unit, field."""

    task: dict[str, Any]
    figures: tuple[tuple[str, str, str], ...]

    @property
    def is_bulk(self) -> bool:
        """Whether it copies as much as it can."""
        return self.task["op"] in ("down", "up")


def through(connections: tuple[int, ...]) -> list[Measure]:
    """What is done in either direction, with so many connections at once."""
    single = Measure({"op": "requests"}, ((ROUND_TRIP, "ms", "p50"), (ROUND_TRIP_P99, "ms", "p99")))
    connect = Measure({"op": "connect"}, ((CONNECT, "ms", "p50"), (CONNECT_P99, "ms", "p99")))
    many = [Measure({"op": "requests", "connections": n}, ((requests(n), "/s", "rate"),)) for n in connections]
    copies = [
        Measure({"op": way, "connections": streams}, ((bulk(way, streams), "MB/s", "rate"),))
        for streams in (1, 8)
        for way in ("down", "up")
    ]
    beside = [Measure({"op": "requests", "during": way}, ((during(way), "ms", "p99"),)) for way in ("down", "up")]
    return [single, connect, *many, *copies, *beside]


def dns(namespace: str, domain: str) -> list[Measure]:
    """Look-ups of a Service's name, and of names that no cache can know."""
    names = ((CACHED, f"web.{namespace}.svc.{domain}", False), (FRESH, f"{namespace}.pod.{domain}", True))
    return [
        measure
        for which, name, fresh in names
        for measure in (
            Measure({"op": "dns", "name": name, "fresh": fresh}, ((look_up(which), "ms", "p50"),)),
            Measure({"op": "dns", "name": name, "fresh": fresh, "connections": 50}, ((look_ups(which), "/s", "rate"),)),
        )
    ]

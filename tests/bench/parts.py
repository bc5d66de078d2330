"""The parts of a run that measure through open ways: outbound, inbound, dns, cost, idle, soak. (`start` is its own.)

Ways take turns within a round, and each round begins with another one. What fails is noted and does not end the run.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.cluster.link import Link

from . import meter, work
from .agents import TaskError
from .figures import FLOOR, PLAIN, Key
from .ways import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .figures import Book
    from .stage import Stage
    from .ways import End, Way
    from .work import Measure

GIB = 2**30
LINKS = {"0": PLAIN, "20": "20 ms", "80": "80 ms", "loss": "1 % loss"}
"""Links as they are asked for, and as they are shown: round trips."""
LONGER = 2
"""A copy over a slow link goes on for so many times as long: TCP's window opens by round trips."""
_SLOW: dict[str, dict[str, float]] = {"0": {}, "20": {"delay": 10}, "80": {"delay": 40}, "loss": {"loss": 1}}


@dataclass(frozen=True)
class Options:
    """What is measured, and how long. ``seconds``: of one task; ``idle``: seconds; ``soak``: minutes.

    ``figure``: a word in the names of the figures to measure (outbound, inbound, dns).
    """

    ways: tuple[str, ...]
    links: tuple[str, ...]
    connections: tuple[int, ...]
    rounds: int
    seconds: float
    idle: float
    soak: float
    figure: str = ""

    def wanted(self, measures: list[Measure]) -> list[Measure]:
        """Those with a figure whose name has the word in it."""
        return [one for one in measures if any(self.figure in name for name, _, _ in one.figures)]


def check_found(book: Book, options: Options) -> None:
    """TaskError when nothing was measured because no figure is named as was asked for."""
    if options.figure and not book.figures and not book.failures:
        raise TaskError(
            f'no figure of these parts has "{options.figure}" in its name. The names are in '
            "docs/reference/performance.md; several words must follow each other in one of them"
        )


# -- out and in --------------------------------------------------------------------------------------------------------
def outbound(stage: Stage, options: Options, book: Book) -> None:
    """From the laptop to a pod."""
    _over_links(stage, options, book, "outbound")


def inbound(stage: Stage, options: Options, book: Book) -> None:
    """From a pod to the laptop, by the address of the pod that stands for it."""
    _over_links(stage, options, book, "inbound")


def _over_links(stage: Stage, options: Options, book: Book, part: str) -> None:
    link = Link(stage.settings)
    before = link.describe()
    if before != "plain":
        raise TaskError(f"the laptop's link is not plain ({before}): python -m tests.cluster link --restore")
    try:
        for name in options.links:
            link.slow(**_SLOW[name])
            # Opened on the link as it is: a TCP connection goes on believing the shortest round trip that it has seen.
            with opened(stage, [way for way in options.ways if way != FLOOR or not _SLOW[name]]) as ways:
                ends = {way.name: end for way in ways if (end := getattr(way, part))}
                for measure in options.wanted(work.through(options.connections)):
                    _in_turn(options, book, (part, LINKS[name]), measure, ends)
    finally:
        link.slow()


def _in_turn(options: Options, book: Book, where: tuple[str, str], measure: Measure, ends: dict[str, End]) -> None:
    """A B A B: all rounds of one measure."""
    print(f"  {', '.join(where)}: {measure.figures[0][0]}", flush=True)
    seconds = options.seconds * (LONGER if measure.is_bulk and where[1] != PLAIN else 1)
    for way, end in turns(ends, options.rounds):
        task = {"seconds": seconds, "address": end.address, **measure.task}
        _note(book, where, measure, way, lambda task=task, end=end: end.agent.do(task))


def turns(ends: dict[str, Any], rounds: int) -> Iterator[tuple[str, Any]]:
    """The order: each way once a round, and each round begins with the next."""
    order = list(ends.items())
    for number in range(rounds):
        begin = number % len(order) if order else 0
        yield from order[begin:] + order[:begin]


def _note(book: Book, where: tuple[str, str], measure: Measure, way: str, do: Callable[[], dict[str, Any]]) -> None:
    keys = [(Key(*where, name), unit, entry) for name, unit, entry in measure.figures]
    try:
        answer = do()
    except TaskError as error:
        for key, unit, _ in keys:
            book.failed(key, unit, way, str(error))
    else:
        for key, unit, entry in keys:
            book.add(key, unit, way, answer[entry])


# -- DNS ---------------------------------------------------------------------------------------------------------------
def dns(stage: Stage, options: Options, book: Book) -> None:
    """Look-ups by those who have the cluster's DNS."""
    with opened(stage, [way for way in options.ways if way not in ("ssh", "port-forward")]) as ways:
        agents = {way.name: way.dns for way in ways if way.dns}
        for measure in options.wanted(work.dns(stage.namespace, stage.settings.cluster_domain)):
            print(f"  dns: {measure.figures[0][0]}", flush=True)
            for way, agent in turns(agents, options.rounds):
                task = {"seconds": options.seconds, **measure.task}
                _note(book, ("dns", PLAIN), measure, way, lambda task=task, agent=agent: agent.do(task))


# -- what it costs -----------------------------------------------------------------------------------------------------
def cost(stage: Stage, options: Options, book: Book) -> None:
    """What a GiB and 10 000 requests cost each way's own processes: processor seconds, and the most memory."""
    with opened(stage, [way for way in options.ways if way != FLOOR]) as ways:
        for direction in ("outbound", "inbound"):
            able = {way.name: way for way in ways if getattr(way, direction)}
            for task, unit, share in _COSTLY:
                print(f"  cost: {direction}, {unit}", flush=True)
                for _, way in turns(able, options.rounds):
                    _cost(book, way, getattr(way, direction), options, (f"cost, {direction}", task, unit, share))


_COSTLY: tuple[tuple[dict[str, Any], str, Callable[[dict[str, Any]], float]], ...] = (
    ({"op": "down"}, "GiB down", lambda answer: answer["bytes"] / GIB),
    ({"op": "up"}, "GiB up", lambda answer: answer["bytes"] / GIB),
    ({"op": "requests", "connections": 50}, "10 000 requests", lambda answer: answer["count"] / 10_000),
)


def _cost(book: Book, way: Way, end: End, options: Options, what: tuple[str, dict[str, Any], str, Any]) -> None:
    part, task, unit, share = what
    places = {"laptop": way.laptop(), "pod": way.in_pods()}
    before = {place: meter.cpu(pids) for place, pids in places.items()}
    try:
        with meter.peak(lambda: places["laptop"]) as laptop, meter.peak(lambda: places["pod"]) as pod:
            answer = end.agent.do({"seconds": options.seconds, "address": end.address, **task})
    except TaskError as error:
        book.failed(Key(part, PLAIN, f"processor for {unit}, laptop"), "s", way.name, str(error))
        return
    for place, pids in places.items():
        if pids:
            used = meter.cpu(pids) - before[place]
            most = {"laptop": laptop, "pod": pod}[place].memory
            book.add(Key(part, PLAIN, f"processor for {unit}, {place}"), "s", way.name, used / share(answer))
            book.add(Key(part, PLAIN, f"most memory, {unit}, {place}"), "MiB", way.name, most / 1024)


# -- doing nothing -----------------------------------------------------------------------------------------------------
def idle(stage: Stage, options: Options, book: Book) -> None:
    """Each way alone, open and unused. The API server counts for all together, so they are not open together."""
    for name in (way for way in options.ways if way != FLOOR):
        with opened(stage, [name]) as [way]:
            print(f"  idle: {name}", flush=True)
            _idle(stage, options, book, way)


def _idle(stage: Stage, options: Options, book: Book, way: Way) -> None:
    places = {"laptop": way.laptop(), "pod": way.in_pods()}
    before, asked = {place: meter.cpu(pids) for place, pids in places.items()}, stage.requests_to_api()
    begun = time.monotonic()
    threading.Event().wait(options.idle)
    minutes = (time.monotonic() - begun) / 60
    asked = stage.requests_to_api() - asked
    book.add(Key("idle", PLAIN, "requests to the API server"), "/min", way.name, asked / minutes)
    for place, pids in places.items():
        if pids:
            used = meter.of(pids)
            book.add(Key("idle", PLAIN, f"processor, {place}"), "s/min", way.name, (used.cpu - before[place]) / minutes)
            book.add(Key("idle", PLAIN, f"memory, {place}"), "MiB", way.name, used.memory / 1024)


# -- a long time -------------------------------------------------------------------------------------------------------
HELD = "connections held"
SETTLED = 10
"""Seconds in which a way has begun all that it does beside connections, or has heard that they are closed."""


def soak(stage: Stage, options: Options, book: Book) -> None:
    """Many open connections, half in each direction, through all ways at once: what grows, what is left after.

    Each connection is used every 5 s.
    """
    half = max(options.connections) // 2
    with opened(stage, [way for way in options.ways if way != FLOOR]) as ways:
        threading.Event().wait(SETTLED)
        seen = {"before": _all_used(ways)}
        for direction in ("outbound", "inbound"):
            for way in ways:
                _hold(book, way, direction, half)
            seen[direction] = _all_used(ways)
        print(f"  soak: {half} connections in each direction, {options.soak:g} min", flush=True)
        threading.Event().wait(options.soak * 60)
        seen["end"] = _all_used(ways)
        for way in ways:
            _release(book, way)
        threading.Event().wait(SETTLED)
        seen["after"] = _all_used(ways)
    for way in ways:
        for place in seen["end"][way.name]:
            _grown(book, way, place, half, {when: used[way.name][place] for when, used in seen.items()})


def _hold(book: Book, way: Way, direction: str, count: int) -> None:
    end: End | None = getattr(way, direction)
    if end is None:
        return
    key = Key("soak", PLAIN, f"{HELD}, {direction}")
    try:
        end.agent.do({"op": "hold", "address": end.address, "connections": count})
    except TaskError as error:
        book.failed(key, "", way.name, str(error))
    else:
        book.add(key, "", way.name, count)


def _release(book: Book, way: Way) -> None:
    key = Key("soak", PLAIN, "connections lost")
    try:
        lost = sum(end.agent.do({"op": "release"})["failed"] for end in (way.outbound, way.inbound) if end)
    except TaskError as error:
        book.failed(key, "", way.name, str(error))
    else:
        book.add(key, "", way.name, lost)


def _all_used(ways: list[Way]) -> dict[str, dict[str, meter.Used]]:
    return {
        way.name: {place: meter.of(pids) for place, pids in (("laptop", way.laptop()), ("pod", way.in_pods())) if pids}
        for way in ways
    }


def _grown(book: Book, way: Way, place: str, half: int, seen: dict[str, meter.Used]) -> None:
    """What one place of a way has used: before all, with outbound, and inbound connections, at the end, after."""
    before, out, begin, end, after = seen.values()

    def add(name: str, unit: str, value: float) -> None:
        book.add(Key("soak", PLAIN, f"{name}, {place}"), unit, way.name, value)

    add(work.of_a_connection("outbound"), "KiB", (out.memory - before.memory) / half)
    if way.inbound:
        add(work.of_a_connection("inbound"), "KiB", (begin.memory - out.memory) / half)
    add(work.MORE_THREADS, "", begin.threads - before.threads)
    add("memory that it grew by meanwhile", "MiB", (end.memory - begin.memory) / 1024)
    add("descriptors that it grew by meanwhile", "", end.descriptors - begin.descriptors)
    add("threads that it grew by meanwhile", "", end.threads - begin.threads)
    add("processor meanwhile", "s", end.cpu - begin.cpu)
    add("descriptors left", "", after.descriptors - before.descriptors)
    add(work.AFTER, "MiB", after.memory / 1024)

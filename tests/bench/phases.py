"""Where a start's time goes: the steps that bridge logs, as figures, and those as a table. Pure.

A figure's name is ``swap: created``: of which start, up to which step; its values are seconds since the command.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .figures import OURS, Spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .figures import Figure, Key

FIRST_LINE, FIRST_REQUEST = "first line of the process", "first request served"
PHASES = {
    "called": "Python, imports, the command line",
    "examined": "reading the cluster, rights, what is in the way",
    "boxed": "waiting for the sandbox, begun before",
    "planned": "keys, plan, asking admission; imports of what acts",
    "recorded": "the watchdog, the undo record on disk",
    "rooted": "the session's Secret",
    "leased": "Lease, the keeper's account",
    "created": "undo record on the target; ReplicaSet, the keeper's rights",
    "imaged": "the image's environment, from the original",
    "placed": "the proxy pod gets a node",
    "tunnelled": "its containers start; the stream, SSH",
    "tied": "the keeper, the pod's ports",
    "connected": "names and files of the pod",
    "started": "environment, the process begun",
    "ready": "the process accepts, and the kubelet has asked",
    "listed": "the proxy pod Ready, in the Services' endpoints",
    "alone": "the Services narrowed, their endpoints so",
    "narrowed": "the nodes' time to follow",
    "scaled": "the original scaled down",
    "swapped": "its pods out of the endpoints",
}
"""What the time up to a step goes into."""
LAST = "swapped"


def pattern(step: str) -> str:
    """What bridge logs when it reaches a step."""
    return rf"session\.steps: reached {re.escape(step)}\n"


def steps_in(log: str) -> list[str]:
    """The steps that were reached, in order."""
    return re.findall(r"session\.steps: reached (.+)\n", log)


def is_step(key: Key) -> bool:
    """Whether a figure belongs into this table alone."""
    return key.name.partition(": ")[2] in PHASES


def breakdown(figures: Mapping[Key, Figure]) -> tuple[list[str], list[list[str]]]:
    """Heads and lines: for each kind of start the seconds since the command, and since the step before.

    Medians of the rounds; the order is that of the kind with most steps. No lines where no step was measured.
    """
    starts: dict[str, dict[str, list[float | None]]] = {}
    for key, figure in figures.items():
        start, _, phase = key.name.partition(": ")
        if phase in (*PHASES, FIRST_LINE, FIRST_REQUEST) and OURS in figure.values:
            starts.setdefault(start, {})[phase] = figure.values[OURS]
    starts = {start: _in_order(found) for start, found in starts.items() if any(phase in PHASES for phase in found)}
    longest: Iterable[str] = max(starts.values(), key=len, default={})
    columns = [_cells(found) for found in starts.values()]
    lines = [[phase, PHASES.get(phase, ""), *(cells.get(phase, "-") for cells in columns)] for phase in longest]
    return ["up to", "", *starts], lines


def _in_order(found: Mapping[str, list[float | None]]) -> dict[str, list[float | None]]:
    medians = {phase: spread.median for phase, values in found.items() if (spread := Spread.of(values))}
    return {phase: found[phase] for phase in sorted(medians, key=medians.__getitem__)}


def _cells(found: Mapping[str, Sequence[float | None]]) -> dict[str, str]:
    """Write each phase: since the command, and of its own, the latter as the median of the rounds' differences."""
    cells, before = {}, None
    for phase, values in found.items():
        since, own = Spread.of(values), Spread.of(_differences(values, before))
        assert since
        cells[phase] = f"{since.median:.2f}" + (f" (+{max(own.median, 0):.2f})" if own else "")
        before = values
    return cells


def _differences(values: Sequence[float | None], before: Sequence[float | None] | None) -> Iterable[float | None]:
    pairs = zip(values, before or [0.0] * len(values), strict=False)
    return (now - then if now is not None and then is not None else None for now, then in pairs)

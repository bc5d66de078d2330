"""Results as text or JSON. Pure: values in, text out; the JSON is versioned, and only grows.

bridge list    {"version": 1, "sessions": [{session, namespace, target, holder, since, life, protection,
               heartbeat_age, services, lingers}]}
bridge status  {"version": 1, "sessions": [{session, target, namespace, context, state, pid, ...}]}
bridge leave, restore, install
               {"version": 1, "done": ["..."]}
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bridge.plan.undo import since

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from bridge.session.sessions import Found

VERSION = 1


def as_json(**fields: object) -> str:
    """Write a versioned result."""
    return json.dumps({"version": VERSION, **fields}, indent=2)


def sessions_json(found: Sequence[Found]) -> str:
    """Write what ``bridge list`` has found."""
    return as_json(sessions=[_session(each) for each in found])


def _session(found: Found) -> dict[str, Any]:
    return {
        "session": found.session,
        "namespace": found.namespace,
        "target": found.target,
        "holder": found.holder,
        "since": found.since,
        "life": found.life.value,
        "protection": found.protection,
        "heartbeat_age": None if found.heartbeat is None else round(found.heartbeat, 1),
        "services": list(found.services),
        "lingers": found.lingers,
    }


def sessions_text(found: Sequence[Found], *, now: datetime) -> str:
    """Write a table of what ``bridge list`` has found."""
    if not found:
        return "no sessions"
    rows = [
        (
            each.namespace,
            each.target or "-",
            each.holder,
            since(each.since, now) if each.since else "-",
            each.life.value if each.lingers is None else f"kept, {_span(each.lingers)} still",
            "-" if each.heartbeat is None else f"{each.heartbeat:.0f} s",
            each.protection or "-",
            each.session or "-",
        )
        for each in found
    ]
    return table(("NAMESPACE", "TARGET", "HOLDER", "SINCE", "LIFE", "HEARTBEAT", "PROTECTION", "SESSION"), rows)


def status_text(sessions: Sequence[dict[str, Any]]) -> str:
    """Write a paragraph for each session of this laptop."""
    return "\n\n".join(map(_paragraph, sessions)) or "no sessions on this laptop"


def _paragraph(status: dict[str, Any]) -> str:
    head = f"{status['target'] or 'joined'} in {status['namespace']} ({status['context']}): {status['state']}"
    if status.get("lingers") is not None:
        head += f", kept for {_span(status['lingers'])} still"
    if "round_trip" not in status:
        hint = "put it back: bridge restore" if status["state"] == "dead" else "its bridge does not answer"
        return f"{head}\n  session      {status['session']}, bridge {status['pid']}; {hint}"
    guard = status["guard"] or "not heard of yet"
    lines = (
        ("session", f"{status['session']} for {_span(status['age'])}, bridge {status['pid']}"),
        ("process", _process(status)),
        ("pod", f"{status['pod'] or '-'}, round trip {status['round_trip'] * 1000:.1f} ms"),
        ("connections", f"{status['connections_in']} in ({status['held']} held), {status['connections_out']} out"),
        ("bytes", f"{_size(status['bytes_in'])} in, {_size(status['bytes_out'])} out"),
        ("reconnects", str(status["reconnects"])),
        ("protection", f"{status['protection']} ({guard})"),
    )
    return "\n".join([head, *(f"  {name:<12} {text}" for name, text in lines)])


def _process(status: dict[str, Any]) -> str:
    if not status["command"]:
        return "none: what listens on this laptop answers"
    there = status["process"] or ("ended; the original answers" if status.get("lingers") is not None else "not started")
    return f"{' '.join(status['command'])} ({there})"


def _span(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write columns, each as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (heads, *rows))
    return "\n".join(line.rstrip() for line in lines)

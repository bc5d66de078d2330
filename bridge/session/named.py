"""Which of this laptop's sessions is meant: by its target's name or its id, or, where there is only one, by nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.errors import BridgeError, TargetError
from bridge.plan.target import TargetSpec
from bridge.session.store import this_laptops_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.session.store import LocalSession


def named(name: str) -> LocalSession:
    """Return the living session that is meant. Raise TargetError, or BridgeError for a dead one."""
    spec = TargetSpec.parse(name)
    there = this_laptops_store().sessions()
    meant = [each for each in there if spec.means(each.target or "", each.session)]
    alive = [each for each in meant if each.is_alive()]
    if len(alive) == 1:
        return alive[0]
    if alive:
        raise TargetError(f"{name} is swapped by several sessions of this laptop", hint=_say_which(alive))
    if meant:
        raise BridgeError(
            f"the session of {name} is dead: its bridge is gone",
            hint=f"Put it back: bridge restore {name} {meant[0].where}",
        )
    ours = ", ".join(each.target or each.session for each in there) or "none at all"
    raise TargetError(f"this laptop has no session of {name}", hint=f"There is: {ours}. Everybody's: bridge list.")


def the_only_one() -> LocalSession:
    """Return the living session of this laptop. Raise TargetError where there is none, or more than one."""
    alive = [each for each in this_laptops_store().sessions() if each.is_alive()]
    if len(alive) == 1:
        return alive[0]
    if alive:
        raise TargetError("this laptop has several sessions", hint=_say_which(alive))
    raise TargetError("this laptop has no session", hint="Begin one: bridge up --swap NAME. Everybody's: bridge list.")


def _say_which(sessions: Sequence[LocalSession]) -> str:
    described = (f"{each.session} ({each.target or 'joined'} in {each.namespace})" for each in sessions)
    return f"Say which: {', '.join(described)}."

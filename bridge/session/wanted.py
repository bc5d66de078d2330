"""Which port of the laptop answers which of the pod's. It may change while a session lasts, and outlives each swap.

Changed and read on the event loop.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.plan.ports import Expose, PortMap


class Wanted:
    """The ports that the cluster sends to, of the laptop's side."""

    def __init__(self, maps: Iterable[PortMap]) -> None:
        self._maps = {each.pod: each for each in maps}

    @property
    def maps(self) -> tuple[PortMap, ...]:
        """As they are now."""
        return tuple(self._maps.values())

    @property
    def ports(self) -> frozenset[int]:
        """The laptop's ports that are waited for."""
        return frozenset(each.laptop for each in self._maps.values())

    def laptop(self, pod: int) -> int:
        """Return the laptop's port that answers this one of the pod's."""
        return self._maps[pod].laptop if pod in self._maps else pod

    def expose(self, expose: Expose) -> None:
        """Have another port of the laptop answer one of the pod's that is taken over already."""
        self._maps[expose.pod] = replace(self._maps[expose.pod], laptop=expose.laptop)

    def renew(self, maps: Iterable[PortMap]) -> None:
        """Take the ports of another swap; what was changed stays so."""
        self._maps = {each.pod: self._maps.get(each.pod, each) for each in maps}

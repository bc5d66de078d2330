"""Where a session's pod is now, and whether the session is over, as its own rights let it see."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from bridge.session.lifeline import Over
from bridge.session.reach import another_tie, proxy_pod
from bridge.session.tie import Ends
from tests.component.session.kube import SECRETS
from tests.component.session.world import KEYS, S, World

if TYPE_CHECKING:
    from bridge.session.intend import Plan


async def _never() -> bool:
    return False


def tied_again(world: World, plan: Plan) -> None:
    ends = Ends(
        ssh_port=1, keeper_port=2, keys=KEYS, token="t", is_ready=_never, on_guard=print, inbound=lambda _: ()
    )  # fmt: skip
    asyncio.run(another_tie(world.cluster, plan, ends))


def test_a_session_that_was_removed_while_the_laptop_slept_is_over_by_the_rights_that_a_session_needs(
    world: World,
) -> None:
    """To get a ReplicaSet is none of them, to list them is; it was refused, and tried again for ever."""
    world.kube.refuse = lambda words: words.startswith("GET replicasets/")
    swap = world.swap()
    world.whole(swap)
    assert proxy_pod(world.cluster, swap.plan).is_wanted()
    world.kube.remove(f"{SECRETS}/bridge-{S}")
    with pytest.raises(Over, match="its objects are gone"):
        tied_again(world, swap.plan)

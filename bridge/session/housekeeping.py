"""What a laptop clears up of its own dead sessions, before it begins another.

A bridge that was killed in the few milliseconds between its first object (the Secret) and its second (the proxy pod,
with the keeper) leaves just that Secret, which nobody else can find: Secrets are not listed. This laptop's disk knows
it. What there is more of a dead session, its watchdog, its keeper or `bridge restore` see to.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.errors import BridgeError
from bridge.plan.names import secret_name
from bridge.session.sessions import find_sessions
from bridge.session.store import this_laptops_store

if TYPE_CHECKING:
    from bridge.cluster import Cluster


def clear_up(cluster: Cluster) -> None:
    """Remove the Secrets of this laptop's dead sessions that have nothing else in the namespace, and their records.

    What can't be done now is done the next time.
    """
    store = this_laptops_store()
    dead = [
        each
        for each in store.sessions()
        if (each.server, each.namespace) == (cluster.server, cluster.namespace) and not each.is_alive()
    ]
    if not dead:
        return
    with suppress(BridgeError):
        there = {found.session for found in find_sessions(cluster)}
        for each in dead:
            if each.session not in there:
                cluster.delete(f"/api/v1/namespaces/{cluster.namespace}/secrets/{secret_name(each.session)}")
                store.remove(each.session)

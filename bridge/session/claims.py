"""Who holds a target: a Lease, so that two developers are told apart by the API server and its clock.

The Lease is claimed before the undo record is written, and given back after everything is undone (by `restore`, which
may meet a bridge that lives, right after the target is). While the session lasts its renewTime is the latest heartbeat,
renewed by the keeper where it has the rights, else by bridge. Where leases may not be used at all, the undo record on
the target is the claim alone: just as exclusive, but nobody can see whether its holder lives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.cluster.errors import AlreadyExists, Conflict, MissingRight, NotFound
from bridge.errors import ClusterError
from bridge.plan.lease import Claim, take_patch
from bridge.plan.manifest import owned_by
from bridge.plan.objects import name_of
from bridge.plan.undo import held, since
from bridge.wire.lease import lease_path, renew_patch

if TYPE_CHECKING:
    from bridge.cluster import Cluster
    from bridge.plan.objects import Object

TRIES = 8


def claim_lease(cluster: Cluster, lease: Object, root: Object, *, replacing: str = "") -> None:
    """Make the Lease ours. TargetError when another session that lives holds it, unless that is the one ``replacing``.

    ``root``: the session's Secret, which owns it.
    """
    ours = owned_by(lease, root)
    path = lease_path(cluster.namespace)
    for _ in range(TRIES):
        try:
            cluster.create(path, ours)
        except AlreadyExists:
            if _taken(cluster, f"{path}/{name_of(lease)}", ours, replacing):
                return
        else:
            return
    raise ClusterError(f"lease/{name_of(lease)} is being changed all the time", hint="Try again in a moment.")


def _taken(cluster: Cluster, path: str, ours: Object, replacing: str) -> bool:
    """Take a Lease that is there; False when it has changed or gone meanwhile.

    It may be ours already: the answer to who took it got lost.
    """
    try:
        there = cluster.get(path)
        claim = Claim.of(there)
        if claim.session == Claim.of(ours).session:
            return True
        now = cluster.now()
        if claim.session not in ("", replacing) and claim.is_live(now):
            raise held(claim.target, claim.holder, since(claim.acquired, now), may_be_taken=claim.takeover)
        cluster.patch(path, take_patch(there, ours))
    except (NotFound, Conflict):
        return False
    return True


def renew_lease(cluster: Cluster, name: str, session: str) -> None:
    """Say that the session lives; nothing where the Lease is no longer its own."""
    path = lease_path(cluster.namespace, name)
    try:
        patch = renew_patch(cluster.get(path), session, cluster.now())
        if patch is not None:
            cluster.patch(path, patch)
    except (NotFound, Conflict):
        return


def release_lease(cluster: Cluster, name: str, session: str) -> None:
    """Give the Lease back, if it is the session's."""
    path = lease_path(cluster.namespace, name)
    try:
        there = cluster.get(path)
        if Claim.of(there).session == session:
            cluster.delete(path, uid=there["metadata"]["uid"])
    except (NotFound, Conflict, MissingRight):
        return


def claim_of(cluster: Cluster, name: str) -> Claim | None:
    """Return the claim that a Lease is, None if there is none."""
    lease = cluster.find(lease_path(cluster.namespace, name))
    return Claim.of(lease) if lease else None


def claims_in(cluster: Cluster, *, label_selector: str) -> list[Claim]:
    """Return the claims of the namespace; none where leases may not be listed."""
    try:
        leases = cluster.list_(lease_path(cluster.namespace), label_selector=label_selector)
    except MissingRight:
        return []
    return [Claim.of(lease) for lease in leases]

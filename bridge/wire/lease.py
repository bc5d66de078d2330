"""The Lease of a target, as both sides of a session renew it: the laptop, and the keeper when it guards.

What else is in a Lease, and what it says, is in ``bridge.plan.lease``.
"""

from datetime import UTC, datetime

from bridge.wire.marks import SESSION_LABEL
from bridge.wire.undo import Object, as_read

LEASE_GROUP = "coordination.k8s.io"


def lease_path(namespace: str, name: str | None = None) -> str:
    """Return the API path of the Leases in ``namespace``, or of one of them."""
    collection = f"/apis/{LEASE_GROUP}/v1/namespaces/{namespace}/leases"
    return f"{collection}/{name}" if name else collection


def is_of(item: Object, session: str) -> bool:
    """Tell whether an object has the session's label."""
    return (item["metadata"].get("labels") or {}).get(SESSION_LABEL) == session


def renew_patch(lease: Object, session: str, now: datetime) -> Object | None:
    """Show a heartbeat on ``lease`` (as just read); None where it is no longer that session's."""
    if not is_of(lease, session):
        return None
    return {"metadata": as_read(lease), "spec": {"renewTime": micro_time(now)}}


def micro_time(when: datetime) -> str:
    """Write a time as a Lease has it (RFC 3339 with microseconds, UTC)."""
    return when.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

"""What the guard has to do, decided without I/O: the world comes in as the API server's JSON, and as times.

    rights        what it tries before it says that it is armed
    standing      whose the target is, by the undo record on it: the fence that counts
    on_lease      whose the target is, by its Lease: known sooner, and shown to others
    put_back      what is to be undone on the target, and whether its roll-out is to be waited for

The guard restores when no heartbeat has come for ``orders.grace`` seconds. Two guards may be at work for one session
for a while: that of a pod on a node which lost the network, and that of the pod which took its place. So before it
restores, a guard looks whether somebody else renews the Lease (``lives_elsewhere``).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from bridge.wire import lease as leases
from bridge.wire.lease import is_of, renew_patch
from bridge.wire.orders import Orders
from bridge.wire.undo import (
    BadRecord,
    Object,
    UndoRecord,
    lost_record_patch,
    record_of,
    replicas_of,
    restore_patch,
    widen_patch,
)

OFTENEST, SELDOMEST = 1.0, 10.0  # seconds between two renewals of a Lease
_LONGEST_REASON = 500  # characters: an API server's words may be many


# -- rights ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Right:
    """A right to be tried, by a dry run where it is not to read. ``verb`` is that of RBAC."""

    verb: str
    path: str
    name: str


def rights(orders: Orders) -> list[Right]:
    """Return what a restore takes."""
    record = orders.record
    found = []
    if record:
        found += [Right(verb, record.path, record.target) for verb in ("get", "patch")]
        for name in record.services:
            found += [Right(verb, record.service_path(name), f"service/{name}") for verb in ("get", "patch")]
    if orders.lease:
        verbs = ("get", "patch", "delete")
        found += [Right(verb, lease_path(orders), f"lease/{orders.lease}") for verb in verbs]
    return [*found, Right("delete", root_path(orders), f"secret/{orders.root}")]


def lease_path(orders: Orders) -> str:
    """Return the API path of the Lease."""
    return leases.lease_path(orders.namespace, orders.lease)


def root_path(orders: Orders) -> str:
    """Return the API path of the Secret that owns the session's objects."""
    return f"/api/v1/namespaces/{orders.namespace}/secrets/{orders.root}"


# -- whose the target is -----------------------------------------------------------------------------------------------
class Standing(Enum):
    """Whose the target is, by the undo record on it."""

    OURS = auto()
    """Also where its record is lost, and it is as the session has left it."""
    NOBODYS = auto()
    """Its session has ended: somebody restored it."""
    ANOTHERS = auto()
    UNKNOWN = auto()
    """There is a record that can't be read."""


def standing(workload: Object, known: UndoRecord) -> Standing:
    """Tell whose the target (as just read) is. ``known``: the record as it was ordered."""
    try:
        record = record_of(workload)
    except BadRecord:
        return Standing.UNKNOWN
    if record is None:
        return Standing.NOBODYS if lost_record_patch(workload, known) is None else Standing.OURS
    return Standing.OURS if record.session == known.session else Standing.ANOTHERS


def holder_on(workload: Object) -> str:
    """Return who holds the target by the record on it, ``user@laptop``."""
    record = record_of(workload)
    return record.holder if record else "nobody"


def speaks_for(item: Object, session: str) -> bool:
    """Tell whether a Lease or a Service (as just read) says that the session was not ended."""
    return is_of(item, session) or widen_patch(item, session) is not None


@dataclass(frozen=True)
class Renewal:
    """The merge patch that shows a heartbeat on the Lease, and the time that it writes."""

    patch: Object
    stamp: str


@dataclass(frozen=True)
class Taken:
    """Another session has the Lease."""

    holder: str


def on_lease(lease: Object, session: str, now: datetime) -> Renewal | Taken:
    """Decide what is to be done about the Lease (as just read); ``now`` by the API server's clock."""
    patch = renew_patch(lease, session, now)
    return Renewal(patch, patch["spec"]["renewTime"]) if patch else Taken(holder_of(lease))


def holder_of(lease: Object) -> str:
    """Return who holds the Lease, ``user@laptop``."""
    return str((lease.get("spec") or {}).get("holderIdentity") or "another session")


def lives_elsewhere(lease: Object, session: str, *, renewed: str, now: datetime) -> bool:
    """Tell whether somebody else keeps our Lease renewed. ``renewed``: the time that this guard wrote last."""
    spec = lease.get("spec") or {}
    stamp = str(spec.get("renewTime") or "")
    if not stamp or stamp == renewed or not is_of(lease, session):
        return False
    return datetime.fromisoformat(stamp) + timedelta(seconds=int(spec.get("leaseDurationSeconds") or 0)) >= now


# -- restoring ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class PutBack:
    """What is to be undone on the target.

    ``patch``: None where nothing is. ``wait``: whether its Services keep to the proxy until it is rolled out. ``done``:
    what to say of it.
    """

    patch: Object | None
    wait: bool
    done: str


def put_back(workload: Object, known: UndoRecord, *, ended: bool) -> PutBack:
    """Decide what is to be undone on the target (as just read).

    ``known``: the record as it was ordered. ``ended``: whether nothing else speaks for a session that has not been
    ended (its Lease, a narrowed Service): a rollback takes the record away, too.
    """
    try:
        record = record_of(workload)
    except BadRecord as error:
        return PutBack(None, wait=False, done=f"was left alone: its undo record can't be read ({error})")
    if record is None:
        lost = None if ended else lost_record_patch(workload, known)
        # Put back by somebody a moment ago, its pods may be on their way still.
        return _back(workload, lost, wait=True) if lost else PutBack(None, wait=True, done="had been put back before")
    patch = restore_patch(workload, known.session)
    if patch is None:
        return PutBack(None, wait=False, done=f"was left alone: it is in the hands of {record.holder}")
    return _back(workload, patch, wait=record.swapped)


def _back(workload: Object, patch: Object, *, wait: bool) -> PutBack:
    count = (patch.get("spec") or {}).get("replicas", replicas_of(workload))
    return PutBack(patch, wait=wait, done=f"is back, replicas: {count}")


# -- time --------------------------------------------------------------------------------------------------------------
def renew_every(grace: float) -> float:
    """Return the seconds between two renewals: two may fail before the Lease ends."""
    return min(max(grace / 3, OFTENEST), SELDOMEST)


# -- words -------------------------------------------------------------------------------------------------------------
def silent(orders: Orders) -> str:
    """Say why it restores."""
    return f"nothing was heard of the laptop for {orders.grace:g} s"


def over(orders: Orders) -> str:
    """Say why there is nothing to guard any more."""
    return f"{orders.record.target if orders.record else 'the target'} was put back already"


def restoring(orders: Orders, why: str) -> str:
    """Say what it is about."""
    return f"{why}; {f'{orders.record.target} is being put back' if orders.record else 'the session ends'}"


def restored(orders: Orders, why: str, done: str) -> str:
    """Say what has become of the target: it ``done``."""
    return f"{why}; {f'{orders.record.target} {done}' if orders.record else 'the session has ended'}"


def taken(orders: Orders, holder: str) -> str:
    """Say who has the target now."""
    return f"{orders.record.target if orders.record else 'the target'} was taken by {holder}"


def missing(right: Right, words: str) -> str:
    """Say which right is missing, in the API server's words."""
    return shortened(f"it may not {right.verb} {right.name}: {words}")


def unreachable(words: str) -> str:
    """Say that there is no way from the pod to the API server."""
    return shortened(f"the API server can't be reached from the pod: {words} (a NetworkPolicy?)")


def shortened(text: str) -> str:
    """Cut what would not fit into a message."""
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 3] + "..."

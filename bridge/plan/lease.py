"""Who holds a target: one Lease for each, renewed as long as the session lives.

The undo record says what to undo; the Lease says whether its session still lives, and lets two who want the same
target at the same moment have one winner: creating an object that is there, and patching one that has changed, are both
refused (409). It is named after the target and owned by the session's Secret, so it goes with the session.

    path                                    what
    --------------------------------------  ----------------------------------------------------------------------
    label bridge.internal/session           the session's id
    annotation bridge.internal/holder       ``user@laptop``; also ``spec.holderIdentity``
    annotation bridge.internal/target       ``deployment/web``
    annotation bridge.internal/takeover     ``allowed``, if the holder lets others take the target; else absent
    annotation bridge.internal/protection   what restores the target when the laptop is gone (``protection``)
    spec.acquireTime                        since when
    spec.renewTime                          the last heartbeat
    spec.leaseDurationSeconds               the grace time: without a heartbeat for so long, the session is dead
    spec.leaseTransitions                   how many sessions have had this Lease before

All times are the API server's. Its answers tell them in whole seconds, and with several API servers they are not the
same clock, so a Lease ends a little later than it says (``MARGIN``).
"""

import hashlib
import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from bridge.plan.objects import (
    HOLDER_ANNOTATION,
    PROTECTION_ANNOTATION,
    TAKEOVER_ANNOTATION,
    TARGET_ANNOTATION,
    Object,
    annotations_of,
    labels_of,
    session_labels,
)
from bridge.wire.lease import LEASE_GROUP, micro_time
from bridge.wire.marks import PREFIX, SESSION_LABEL, UNDO_ANNOTATION
from bridge.wire.undo import as_read

MARGIN = timedelta(seconds=2)
TAKEOVER_ALLOWED = "allowed"

LONGEST_NAME = 253  # a DNS subdomain
HASH_LENGTH = 10


def lease_name(kind: str, name: str) -> str:
    """Return the name of the Lease of a target; a name that leaves no room for ``bridge-KIND-`` is cut, with a hash."""
    full = f"bridge-{kind.lower()}-{name}"
    if len(full) <= LONGEST_NAME:
        return full
    digest = hashlib.sha256(full.encode()).hexdigest()[:HASH_LENGTH]
    return f"{full[: LONGEST_NAME - HASH_LENGTH - 1].rstrip('.-')}-{digest}"


def build_lease(
    *,
    name: str,
    namespace: str,
    session: str,
    holder: str,
    target: str,
    grace: float,
    now: datetime,
    takeover: bool,
    protection: str,
    record: str = "",
) -> Object:
    """Build the claim of ``session`` on ``target`` (``deployment/web``), made and renewed ``now``.

    ``record``: the undo record as it is now, kept for when somebody takes it off the target.
    """
    annotations = {HOLDER_ANNOTATION: holder, TARGET_ANNOTATION: target, PROTECTION_ANNOTATION: protection}
    if takeover:
        annotations[TAKEOVER_ANNOTATION] = TAKEOVER_ALLOWED
    if record:
        annotations[UNDO_ANNOTATION] = record
    return {
        "apiVersion": f"{LEASE_GROUP}/v1",
        "kind": "Lease",
        "metadata": {
            "name": name, "namespace": namespace, "labels": session_labels(session), "annotations": annotations,
        },
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, math.ceil(grace)),  # the API server takes none below 1
            "acquireTime": micro_time(now),
            "renewTime": micro_time(now),
            "leaseTransitions": 0,
        },
    }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A Lease as it is read: who holds the target.

    ``acquired``: RFC 3339. ``renewed``: None for a Lease that nobody ever renewed. ``duration``: seconds.
    """

    session: str
    holder: str
    target: str
    takeover: bool
    protection: str
    acquired: str
    renewed: datetime | None
    duration: float
    undo: str = ""
    """The undo record as it was when the target was claimed, as it is written; empty: it has none."""

    @classmethod
    def of(cls, lease: Object) -> "Claim":
        """Read a Lease; what somebody else took out of it is empty."""
        spec: Object = lease.get("spec") or {}
        annotations = annotations_of(lease)
        return cls(
            session=labels_of(lease).get(SESSION_LABEL, ""),
            holder=annotations.get(HOLDER_ANNOTATION) or str(spec.get("holderIdentity") or ""),
            target=annotations.get(TARGET_ANNOTATION, ""),
            takeover=annotations.get(TAKEOVER_ANNOTATION) == TAKEOVER_ALLOWED,
            protection=annotations.get(PROTECTION_ANNOTATION, ""),
            acquired=str(spec.get("acquireTime") or ""),
            renewed=datetime.fromisoformat(spec["renewTime"]) if spec.get("renewTime") else None,
            duration=float(spec.get("leaseDurationSeconds") or 0),
            undo=annotations.get(UNDO_ANNOTATION, ""),
        )

    def is_live(self, now: datetime) -> bool:
        """Tell whether the holder's session still counts as alive, ``now`` by the API server's clock."""
        return self.renewed is not None and self.renewed + timedelta(seconds=self.duration) + MARGIN >= now

    def age(self, now: datetime) -> float | None:
        """Return the seconds since the last heartbeat, None if there never was one."""
        return None if self.renewed is None else max(0.0, (now - self.renewed).total_seconds())


def take_patch(lease: Object, new: Object) -> Object:
    """Make ``lease`` (as just read) the ``new`` one, if nobody changes it meanwhile: 409, then read it and ask again.

    Whether it may be taken is not decided here. Labels and annotations that are not bridge's stay.
    """
    old: Object = lease.get("spec") or {}
    return {
        "metadata": {
            **as_read(lease),
            "labels": _gone(labels_of(lease), labels_of(new)) | labels_of(new),
            "annotations": _gone(annotations_of(lease), annotations_of(new)) | annotations_of(new),
            "ownerReferences": new["metadata"].get("ownerReferences"),
        },
        "spec": {
            **dict.fromkeys(old.keys() - new["spec"].keys()),
            **new["spec"],
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + 1,
        },
    }


def _gone(old: dict[str, str], new: dict[str, str]) -> dict[str, str | None]:
    """Return the keys of bridge's that ``new`` no longer has, as a merge patch removes them."""
    return dict.fromkeys(key for key in old if key.startswith(PREFIX) and key not in new)

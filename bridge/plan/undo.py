"""The undo record: what a session changed in the cluster, and how it is put back.

It is written on the target (the annotation ``bridge.internal/undo``) and on disk *before* the change that it undoes, so
whoever finds it, on any machine, can undo it. It is also the claim: a target has one, so it is in one session's hands.

    step       patch            annotation                  spec.replicas
    ---------  ---------------  --------------------------  -----------------------
    record     record_patch     record, swapped = false     as it was: N
    swap       swap_patch       record, swapped = true      0
    restore    restore_patch    removed                     N, if it still is 0

Each is one JSON merge patch (RFC 7386), so annotation and replicas change together or not at all. Each carries uid and
resourceVersion: the API server answers 409 when the object changed since it was read; then read it and ask again.

What someone else does meanwhile stays:

    scaled between record and swap      the count when it is swapped is the true one
    scaled up during the swap           theirs stays; only the record goes
    record removed or replaced          nothing of ours to undo: no patch
    deleted and made anew               the new object has no record: no patch
    another session claims it           refused, unless that session is known to be dead: then the new record takes
                                        over its true count, if its swap is still in force
"""

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from bridge.errors import TargetError
from bridge.plan.objects import UNDO_ANNOTATION, Object, annotations_of, name_of
from bridge.plan.target import WorkloadKind, describe

VERSION = 1
DEFAULT_REPLICAS = 1  # what an absent spec.replicas means


@dataclass(frozen=True)
class ObjectName:
    """An object of the session: its kind (``Secret``, ``ReplicaSet``) and name, in the target's namespace."""

    kind: str
    name: str


@dataclass(frozen=True)
class UndoRecord:
    """What is needed to restore a target, by anyone.

    ``replicas``: the true count. ``swapped``: whether replicas were set to 0 (else only the claim was made).
    ``holder``: ``user@laptop``. ``since``: RFC 3339, by the API server's clock. ``objects``: what the session made;
    the first one owns the others.
    """

    session: str
    kind: WorkloadKind
    namespace: str
    name: str
    uid: str
    replicas: int
    holder: str
    since: str
    image: str = ""
    objects: tuple[ObjectName, ...] = ()
    swapped: bool = False

    def render(self) -> str:
        """Write the record as JSON, for the annotation and for the disk."""
        fields = {**asdict(self), "version": VERSION, "kind": self.kind.kind}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> "UndoRecord":
        """Read a record; fields of later minor versions are ignored. Raise TargetError for what can't be used."""
        try:
            fields = json.loads(text)
            version = fields["version"]
        except (ValueError, TypeError, KeyError) as error:
            raise _unusable(text) from error
        if version != VERSION:
            raise TargetError(
                f"the undo record is of version {version}, which this bridge does not know", hint="Update bridge."
            )
        return cls._from(fields, text)

    @classmethod
    def _from(cls, fields: Object, text: str) -> "UndoRecord":
        try:
            return cls(
                session=str(fields["session"]),
                kind=WorkloadKind.of(fields),
                namespace=str(fields["namespace"]),
                name=str(fields["name"]),
                uid=str(fields["uid"]),
                replicas=int(fields["replicas"]),
                holder=str(fields["holder"]),
                since=str(fields["since"]),
                image=str(fields.get("image", "")),
                objects=tuple(ObjectName(str(i["kind"]), str(i["name"])) for i in fields.get("objects", ())),
                swapped=bool(fields.get("swapped", False)),
            )
        except (ValueError, TypeError, KeyError, StopIteration) as error:
            raise _unusable(text) from error

    @property
    def target(self) -> str:
        """Name the target as the user would: ``deployment/web``."""
        return f"{self.kind}/{self.name}"

    @property
    def path(self) -> str:
        """Return the target's API path."""
        return self.kind.path(self.namespace, self.name)


def _unusable(text: str) -> TargetError:
    return TargetError(
        f"the undo record can't be read: {text[:200]}",
        hint=f"Set the replicas by hand, then remove the annotation {UNDO_ANNOTATION}.",
    )


def record_of(workload: Object) -> UndoRecord | None:
    """Return the undo record on ``workload``, if there is one. Raise TargetError if it can't be read."""
    text = annotations_of(workload).get(UNDO_ANNOTATION)
    return None if text is None else UndoRecord.parse(text)


def replicas_of(workload: Object) -> int:
    """Return ``spec.replicas`` as it stands."""
    count = workload["spec"].get("replicas")
    return DEFAULT_REPLICAS if count is None else int(count)


def true_replicas(workload: Object) -> int:
    """Return how many replicas ``workload`` has when no session holds it: also where a dead one left it swapped."""
    count, record = replicas_of(workload), record_of(workload)
    return record.replicas if record and record.swapped and count == 0 else count


def new_record(
    workload: Object, *, session: str, holder: str, since: str, image: str = "", objects: tuple[ObjectName, ...] = ()
) -> UndoRecord:
    """Make the record of a session about to take ``workload`` (as the API server sent it, with its kind).

    It takes over what a dead session's record still has to undo. Whether that session may be taken over is not
    decided here: see ``check_unclaimed``.
    """
    old = record_of(workload)
    metadata = workload["metadata"]
    return UndoRecord(
        session=session,
        kind=WorkloadKind.of(workload),
        namespace=metadata["namespace"],
        name=name_of(workload),
        uid=metadata["uid"],
        replicas=true_replicas(workload),
        holder=holder,
        since=since,
        image=image,
        objects=objects,
        swapped=bool(old and old.swapped and replicas_of(workload) == 0),
    )


def check_unclaimed(
    workload: Object, *, session: str = "", replacing: str | None = None, now: datetime | None = None
) -> None:
    """Raise TargetError if a session holds ``workload``, other than ``session`` itself and the dead one ``replacing``.

    ``now``: the API server's time, to say how long ago.
    """
    record = record_of(workload)
    if record and record.session not in (session, replacing):
        raise TargetError(
            f"{describe(workload)} is already swapped by {record.holder} ({since(record, now)})",
            hint=f"Wait until that session ends; if it is dead, run `bridge restore {record.name}`.",
        )


def since(record: UndoRecord, now: datetime | None) -> str:
    """Say when the session began: ``3 min ago``; its time stamp, where ``now`` isn't known or the stamp is odd."""
    try:
        begun = datetime.fromisoformat(record.since)
        seconds = int((now - begun).total_seconds()) if now else -1
    except (ValueError, TypeError):  # a stamp by hand, or one without a zone
        seconds = -1
    if seconds < 0:
        return f"since {record.since}"
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def record_patch(workload: Object, record: UndoRecord, *, replacing: str | None = None) -> Object:
    """Claim ``workload`` (as just read) for the record's session. 409: somebody changed it; read it and ask again.

    Raise TargetError where another session holds it, unless that is the one (found dead) that is ``replacing``.
    """
    check_unclaimed(workload, session=record.session, replacing=replacing)
    return _patch(workload, record.render())


def swap_patch(workload: Object, record: UndoRecord) -> tuple[Object, UndoRecord]:
    """Take the original out, and return the record that goes with it: it has the replicas of this moment.

    Write that one to disk before the patch is sent. Raise TargetError if another session has the target now.
    """
    current = record_of(workload)
    if current is None or current.session != record.session:
        raise TargetError(
            f"{describe(workload)} was {f'taken by {current.holder}' if current else 'restored'} meanwhile",
            hint="Run the command again, or `bridge restore` if that session is dead.",
        )
    swapped = replace(record, replicas=true_replicas(workload), swapped=True)
    return _patch(workload, swapped.render(), replicas=0), swapped


def restore_patch(workload: Object, session: str) -> Object | None:
    """Put ``workload`` (as just read) back as it was before ``session``; None where nothing of it is left to undo."""
    record = record_of(workload)
    if record is None or record.session != session:
        return None
    if record.swapped and replicas_of(workload) == 0:
        return _patch(workload, None, replicas=record.replicas)
    return _patch(workload, None)


def _patch(workload: Object, annotation: str | None, *, replicas: int | None = None) -> Object:
    metadata = workload["metadata"]
    patch: Object = {
        "metadata": {
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
            "annotations": {UNDO_ANNOTATION: annotation},
        }
    }
    if replicas is not None:
        patch["spec"] = {"replicas": replicas}
    return patch

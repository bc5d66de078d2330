"""Claiming a target and swapping it, so that it can be undone: the other half of ``wire.undo``, which has the record.

The record is also the claim: a target has one, so it is in one session's hands.

    step       patch            annotation                  spec.replicas
    ---------  ---------------  --------------------------  --------------------------
    record     record_patch     record, swapped = false     as it was: N
    swap       swap_patch       record, swapped = true      ``left``: 0, or 1 is kept
    restore    restore_patch    removed                     N, if it still is ``left``

What someone else does meanwhile stays:

    scaled between record and swap      the count when it is swapped is the true one
    scaled during the swap              theirs stays; only the record goes
    record removed or replaced          nothing of ours to undo: no patch
    deleted and made anew               the new object has no record: no patch
    another session claims it           refused, unless that one may be replaced: then the new record takes over its
                                        true count, if its swap is still in force when the claim is written
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from bridge.errors import TargetError
from bridge.plan.objects import Object, name_of
from bridge.plan.target import WorkloadKind, describe
from bridge.wire import undo
from bridge.wire.marks import UNDO_ANNOTATION
from bridge.wire.undo import BadRecord, NewerRecord, ObjectName, UndoRecord, is_in_force, patch_of, replicas_of


def record_of(workload: Object) -> UndoRecord | None:
    """Return the undo record on ``workload``, if there is one. Raise TargetError if it can't be read."""
    try:
        return undo.record_of(workload)
    except BadRecord as error:
        raise unusable(error, workload) from error


def parse_record(text: str) -> UndoRecord:
    """Read a record. Raise TargetError if it can't be used."""
    try:
        return UndoRecord.parse(text)
    except BadRecord as error:
        raise unusable(error) from error


def unusable(error: BadRecord, workload: Object | None = None) -> TargetError:
    """Return the error for a record that can't be used, with the way out; ``workload``: what it is on."""
    where = f"{describe(workload)}: " if workload and "kind" in workload else ""
    if isinstance(error, NewerRecord):
        return TargetError(f"{where}{error}", hint="Update bridge.")
    return TargetError(
        f"{where}the undo record can't be read: {error}",
        hint=f"Set the replicas by hand, then remove the annotation {UNDO_ANNOTATION}.",
    )


def restore_patch(workload: Object, session: str) -> Object | None:
    """Put ``workload`` (as just read) back as it was before ``session``: ``wire.undo.restore_patch``."""
    try:
        return undo.restore_patch(workload, session)
    except BadRecord as error:
        raise unusable(error, workload) from error


def is_anothers(workload: Object, session: str) -> bool:
    """Tell whether a session other than this one holds ``workload``."""
    record = record_of(workload)
    return record is not None and record.session != session


def takes_out(record: UndoRecord) -> bool:
    """Tell whether its session leaves fewer replicas than there were: who restores the target puts those back first."""
    return record.left is not None and record.left < record.replicas


def true_replicas(workload: Object) -> int:
    """Return how many replicas ``workload`` has when no session holds it: also where a dead one left it swapped."""
    record = record_of(workload)
    return record.replicas if record and is_in_force(record, workload) else replicas_of(workload)


def new_record(
    workload: Object,
    *,
    session: str,
    holder: str,
    since: str,
    image: str = "",
    objects: tuple[ObjectName, ...] = (),
    services: Sequence[str] = (),
    left: int | None = 0,
    grace: float = 0,
    takeover: bool = False,
) -> UndoRecord:
    """Make the record of a session about to take ``workload`` (as the API server sent it, with its kind).

    ``left``: how many replicas it will leave, None: all; the copies of the record (on the Lease, in the keeper's
    orders) are not written again when it does.
    It takes over what a replaced session's record still has to undo. Whether that session may be replaced is not
    decided here: see ``check_unclaimed``.
    """
    metadata = workload["metadata"]
    record = UndoRecord(
        session=session,
        kind=WorkloadKind.of(workload).kind,
        namespace=metadata["namespace"],
        name=name_of(workload),
        uid=metadata["uid"],
        replicas=true_replicas(workload),
        holder=holder,
        since=since,
        image=image,
        objects=objects,
        services=tuple(services),
        left=left,
        grace=grace,
        takeover=takeover,
    )
    return _as_it_is_now(record, workload)


def _as_it_is_now(record: UndoRecord, workload: Object) -> UndoRecord:
    """Return ``record`` with what there is to undo of the replicas of ``workload`` (as just read)."""
    old = record_of(workload)
    in_force = old if is_in_force(old, workload) else None
    return replace(
        record,
        replicas=true_replicas(workload),
        swapped=in_force is not None,
        left=in_force.left if in_force else record.left,
    )


def check_unclaimed(
    workload: Object, *, session: str = "", replacing: str | None = None, now: datetime | None = None
) -> None:
    """Raise TargetError if a session holds ``workload``, other than ``session`` itself and the one ``replacing``.

    ``now``: the API server's time, to say how long ago.
    """
    record = record_of(workload)
    if record and record.session not in (session, replacing):
        raise held(describe(workload), record.holder, since(record.since, now), may_be_taken=record.takeover)


def held(target: str, holder: str, how_long: str, *, may_be_taken: bool) -> TargetError:
    """Return the error for a target that another session holds; ``how_long``: ``3 min ago``."""
    name = target.rpartition("/")[2]
    if may_be_taken:
        hint = "Its holder lets others take it: add --takeover."
    else:
        hint = f"Wait until that session ends (bridge list); if it is dead, run `bridge restore {name}`."
    return TargetError(f"{target} is already swapped by {holder} ({how_long})", hint=hint)


def since(stamp: str, now: datetime | None) -> str:
    """Say when something was: ``3 min ago``; its time stamp, where ``now`` isn't known or the stamp is odd."""
    try:
        begun = datetime.fromisoformat(stamp)
        seconds = int((now - begun).total_seconds()) if now else -1
    except (ValueError, TypeError):  # a stamp by hand, or one without a zone
        seconds = -1
    if seconds < 0:
        return f"since {stamp}"
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def record_patch(workload: Object, record: UndoRecord, *, replacing: str | None = None) -> Object:
    """Claim ``workload`` (as just read) for the record's session. 409: somebody changed it; read it and ask again.

    Raise TargetError where another session holds it, unless that is the one that is ``replacing``. Its record may have
    changed since ``record`` was made, if it lives: what is written is what there is to undo now.
    """
    check_unclaimed(workload, session=record.session, replacing=replacing)
    return patch_of(workload, _as_it_is_now(record, workload).render())


def swap_patch(workload: Object, record: UndoRecord, *, left: int | None = 0) -> tuple[Object, UndoRecord]:
    """Take the original out but for ``left`` replicas, and return the record that goes with it: the count is today's.

    ``left`` None: the replicas stay as they are, or come back where a replaced session took them. Write the record to
    disk before the patch is sent. Raise TargetError if another session has the target now.
    """
    check_still_ours(workload, record)
    true = true_replicas(workload)
    if left is None:
        swapped = replace(record, replicas=true, left=None, swapped=False)
        return patch_of(workload, swapped.render(), replicas=None if replicas_of(workload) == true else true), swapped
    swapped = replace(record, replicas=true, left=min(left, true), swapped=True)
    return patch_of(workload, swapped.render(), replicas=swapped.left), swapped


def check_still_ours(workload: Object, record: UndoRecord) -> None:
    """Raise TargetError unless ``workload`` (as just read) is in the hands of the record's session."""
    current = record_of(workload)
    if current is None or current.session != record.session:
        raise TargetError(
            f"{describe(workload)} was {f'taken by {current.holder}' if current else 'restored'} meanwhile",
            hint="Run the command again, or `bridge restore` if that session is dead.",
        )

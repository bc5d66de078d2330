"""What others change on a swapped target while the session lasts, and what that means. Pure.

seen                                     means
---------------------------------------  -----------------------------------------------------------------------
the target is gone                       nothing to put back; the session goes on
its record is gone                       the session is over: somebody restored it
its record is another's                  the target was taken: the session is over when no Service selects it any more,
                                         for until then nobody else answers
the target is another one                it was made anew: so is the session
its record is gone, but not its claim    where the replicas are as they were left: somebody rolled it back, which
(its Lease, a narrowed Service)          replaces annotations, and it is written again; else it is being restored
other replicas than were left            somebody (a person, an autoscaler, a GitOps controller) scaled it: the pods
                                         do their work; they get traffic only of Services that are not narrowed
a Service selects without the session    somebody applied it anew: it is narrowed again
another pod template                     a session that is kept is not used again: its environment is an old one's
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.plan.objects import Object, name_of
from bridge.plan.placement import pod_template
from bridge.plan.target import describe
from bridge.plan.undo import record_of
from bridge.wire.undo import narrowed_to, replicas_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.wire.undo import UndoRecord


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What is otherwise than the session left it.

    ``over``: why the session is over, empty if it is not; ``again``: whether it is to be begun anew. ``notes``: what is
    to be said. ``widened``: the Services to narrow again. ``lost``: whether the record is to be written again.
    ``other``: whether the target's pods are made otherwise by now.
    """

    over: str = ""
    again: bool = False
    notes: tuple[str, ...] = ()
    widened: tuple[str, ...] = ()
    lost: bool = False
    other: bool = False


def drift(
    record: UndoRecord,
    workload: Object | None,
    services: Sequence[Object],
    *,
    claimed: bool = False,
    template: Object | None = None,
) -> Drift:
    """Compare a target and its Services (as just read; None: deleted) with what the ``record``'s session left.

    ``claimed``: whether something beside the record says that the session was not ended. ``template``: its pods' as it
    was at the beginning.
    """
    if workload is None:
        return Drift(notes=(f"{record.target} was deleted: there is nothing to put back at the end",))
    current = record_of(workload)
    if current is None and workload["metadata"]["uid"] != record.uid:
        return Drift(over=f"{record.target} was deleted and made anew", again=True)
    if current is None and claimed and (record.left is None or replicas_of(workload) == record.left):
        return Drift(notes=(f"somebody took the undo record off {record.target}: it is there again",), lost=True)
    if current is None:
        return Drift(over=f"{record.target} was restored")
    if current.session != record.session:
        return _taken(record, current.holder, services)
    widened = tuple(name_of(service) for service in services if narrowed_to(service) != record.session)
    notes = (*_scaled(workload, current, narrowed=bool(services)), *(_selecting(name) for name in widened))
    return Drift(notes=notes, widened=widened, other=template is not None and template != pod_template(workload))


def _taken(record: UndoRecord, holder: str, services: Sequence[Object]) -> Drift:
    taken = f"{record.target} was taken by {holder}"
    if any(narrowed_to(service) == record.session for service in services):
        return Drift(notes=(f"{taken}: what runs here answers until theirs does",))
    return Drift(over=taken)


def _scaled(workload: Object, record: UndoRecord, *, narrowed: bool) -> tuple[str, ...]:
    count = replicas_of(workload)
    if not record.swapped or count == record.left:
        return ()
    share = "they share the traffic with this laptop"
    traffic = "they get none of its Services' traffic, but do all else that they do" if narrowed else share
    out = f"kubectl scale {describe(workload)} --replicas={record.left}"
    return (f"somebody scaled {describe(workload)} to {count}: {traffic} ({out} takes them out again)",)


def _selecting(name: str) -> str:
    return f"somebody changed service/{name}: it is narrowed to this laptop again"

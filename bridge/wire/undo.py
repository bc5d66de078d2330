"""The undo record, and how a session's changes are undone. Here because the keeper in the proxy pod restores, too.

It is written on the target (the annotation ``bridge.internal/undo``) and on disk *before* the change that it undoes, so
whoever finds it, on any machine, can undo it.

What a session changes of what it did not make:

    object     path                                       while swapped            undone by
    ---------  -----------------------------------------  -----------------------  ---------------------------------
    target     annotation bridge.internal/undo            the record               removing it
    target     spec.replicas                              ``left`` (None: as is)   ``replicas``, if it still is so
    Services   spec.selector["bridge.internal/session"]   the session's id         removing it, if it still is ours

Each undoing is a JSON merge patch (RFC 7386) that touches these paths alone, and carries uid and resourceVersion: the
API server answers 409 when the object changed since it was read; then read it and ask again. So what somebody else does
meanwhile stays: another image, another scale, a new record, a Service that selects otherwise.

Pure, standard library only. Version 2 added ``services``, ``left``, ``grace``, ``takeover``; version 1 is still read.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from bridge.wire.marks import SESSION_LABEL, UNDO_ANNOTATION

Object: TypeAlias = dict[str, Any]

VERSION = 2
OLDEST_VERSION = 1
DEFAULT_REPLICAS = 1  # what an absent spec.replicas means
PLURALS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "ReplicaSet": "replicasets"}
"""The kinds that can be swapped, as the API's paths call them; all are of ``apps/v1``."""


class BadRecord(ValueError):
    """The text is no undo record that can be used."""


class NewerRecord(BadRecord):
    """The record is of a version that came after this program. ``version`` is its number."""

    def __init__(self, version: object) -> None:
        super().__init__(f"the undo record is of version {version}, which this bridge does not know")
        self.version = version


@dataclass(frozen=True)
class ObjectName:
    """An object of the session: its kind (``Secret``, ``ReplicaSet``) and name, in the target's namespace."""

    kind: str
    name: str


@dataclass(frozen=True)
class UndoRecord:
    """What is needed to restore a target, by anyone.

    ``replicas``: the true count. ``left``: how many of them the session leaves running, None where it does not touch
    them. ``swapped``: whether that was done already (else only the claim was made). ``services``: those that it
    narrows to the proxy pod. ``holder``: ``user@laptop``; ``takeover``: whether the holder lets others take the target.
    ``since``: RFC 3339, by the API server's clock. ``grace``: seconds without the laptop after which the keeper
    restores. ``objects``: what the session made; the first one owns the others.
    """

    session: str
    kind: str
    namespace: str
    name: str
    uid: str
    replicas: int
    holder: str
    since: str
    image: str = ""
    objects: tuple[ObjectName, ...] = ()
    swapped: bool = False
    services: tuple[str, ...] = ()
    left: int | None = 0
    grace: float = 0
    takeover: bool = False

    def render(self) -> str:
        """Write the record as JSON, for the annotation and for the disk."""
        return json.dumps({**asdict(self), "version": VERSION}, sort_keys=True, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> UndoRecord:
        """Read a record; fields that are not known are ignored. Raise BadRecord."""
        try:
            fields = json.loads(text)
            version = fields["version"]
        except (ValueError, TypeError, KeyError) as error:
            raise BadRecord(text[:200]) from error
        if version not in range(OLDEST_VERSION, VERSION + 1):
            raise NewerRecord(version)
        try:
            return cls(**_required(fields), **_optional(fields))
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise BadRecord(text[:200]) from error

    @property
    def target(self) -> str:
        """Name the target as the user would: ``deployment/web``."""
        return f"{self.kind.lower()}/{self.name}"

    @property
    def path(self) -> str:
        """Return the target's API path."""
        return f"/apis/apps/v1/namespaces/{self.namespace}/{PLURALS[self.kind]}/{self.name}"

    def service_path(self, name: str) -> str:
        """Return the API path of one of the target's Services."""
        return f"/api/v1/namespaces/{self.namespace}/services/{name}"


def _required(fields: Object) -> dict[str, Any]:
    if fields["kind"] not in PLURALS:
        raise ValueError(fields["kind"])
    texts = {name: str(fields[name]) for name in ("session", "kind", "namespace", "name", "uid", "holder", "since")}
    return {**texts, "replicas": int(fields["replicas"])}


def _optional(fields: Object) -> dict[str, Any]:
    left = fields.get("left", 0)
    return {
        "image": str(fields.get("image", "")),
        "objects": tuple(ObjectName(str(each["kind"]), str(each["name"])) for each in fields.get("objects", ())),
        "swapped": bool(fields.get("swapped", False)),
        "services": tuple(str(name) for name in fields.get("services", ())),
        "left": None if left is None else int(left),
        "grace": float(fields.get("grace", 0)),
        "takeover": bool(fields.get("takeover", False)),
    }


def record_of(workload: Object) -> UndoRecord | None:
    """Return the undo record on ``workload``, if there is one. Raise BadRecord if it can't be read.

    One that names another object is a copy: the Deployment controller copies annotations to its ReplicaSets, and
    leaves them there when the Deployment's are gone.
    """
    metadata = workload.get("metadata", {})
    text = (metadata.get("annotations") or {}).get(UNDO_ANNOTATION)
    record = None if text is None else UndoRecord.parse(text)
    return record if record and record.name == metadata.get("name") else None


def replicas_of(workload: Object) -> int:
    """Return ``spec.replicas`` as it stands."""
    count = workload["spec"].get("replicas")
    return DEFAULT_REPLICAS if count is None else int(count)


def is_in_force(record: UndoRecord | None, workload: Object) -> bool:
    """Whether the replicas of ``workload`` are still those that the session of its ``record`` has left."""
    return record is not None and record.swapped and replicas_of(workload) == record.left


def restore_patch(workload: Object, session: str) -> Object | None:
    """Put ``workload`` (as just read) back as it was before ``session``; None where nothing of it is left to undo."""
    record = record_of(workload)
    if record is None or record.session != session:
        return None
    return patch_of(workload, None, replicas=record.replicas if is_in_force(record, workload) else None)


def lost_record_patch(workload: Object, known: UndoRecord) -> Object | None:
    """Put ``workload`` (as just read) back though its record is gone; None where there is nothing to be put back.

    ``known``: the record as it was elsewhere. A rollback replaces a Deployment's annotations, and so takes the record
    away while the original is out. Only for who has seen that the session was not ended: its Lease is still its own, or
    a Service is narrowed to it. Else the record is gone because somebody restored the target.
    """
    left = 0 if known.left is None else known.left
    lost = record_of(workload) is None and workload["metadata"]["uid"] == known.uid
    if not lost or replicas_of(workload) != left or known.replicas <= left:
        return None
    return patch_of(workload, None, replicas=known.replicas)


def patch_of(workload: Object, annotation: str | None, *, replicas: int | None = None) -> Object:
    """Build the merge patch of a target: its record (None removes it) and, unless None, its replicas."""
    patch: Object = {"metadata": {**as_read(workload), "annotations": {UNDO_ANNOTATION: annotation}}}
    if replicas is not None:
        patch["spec"] = {"replicas": replicas}
    return patch


def widen_patch(service: Object, session: str) -> Object | None:
    """Have ``service`` (as just read) select as before ``session``; None where nothing of that session is in it."""
    if narrowed_to(service) != session:
        return None
    return {"metadata": as_read(service), "spec": {"selector": {SESSION_LABEL: None}}}


def narrowed_to(service: Object) -> str:
    """Return the session whose proxy pod alone ``service`` selects, empty if none."""
    return str((service["spec"].get("selector") or {}).get(SESSION_LABEL) or "")


def as_read(item: Object) -> Object:
    """Return the part of a patch that makes the API server refuse it when the object is not as it was read."""
    metadata = item["metadata"]
    return {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}


def is_rolled_out(workload: Object, replicas: int) -> bool:
    """Tell whether the controller has seen the current spec, and ``replicas`` pods are Ready."""
    status = workload.get("status") or {}
    seen = int(status.get("observedGeneration") or 0) >= int(workload["metadata"].get("generation") or 0)
    return seen and int(status.get("readyReplicas") or 0) >= replicas

"""What the keeper's guard is told: whose session it guards, and what to undo when the laptop is gone.

It is in the session's Secret as the file ``orders``, a JSON object; an image that does not know it does not read it.
Fields that are not known are ignored.

    session     the session's id
    namespace   where all of it is
    grace       seconds without a heartbeat of the laptop after which the guard restores
    root        the Secret that owns all other objects of the session: deleting it removes them
    lease       the Lease that says who holds the target, empty if there is none
    record      the undo record as it was when the session began, null where there is no target. The one that counts is
                on the target; of this one, what does not change is read: the target's path and the Services
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from bridge.wire.undo import BadRecord, UndoRecord


@dataclass(frozen=True, kw_only=True)
class Orders:
    """See the module's docstring."""

    session: str
    namespace: str
    grace: float
    root: str
    lease: str = ""
    record: UndoRecord | None = None

    def render(self) -> str:
        """Write them as JSON."""
        record = None if self.record is None else json.loads(self.record.render())
        return json.dumps({**vars(self), "record": record}, sort_keys=True, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Orders:
        """Read them. Raise ValueError for what is none."""
        try:
            fields = json.loads(text)
            record = fields.get("record")
            return cls(
                session=str(fields["session"]),
                namespace=str(fields["namespace"]),
                grace=float(fields["grace"]),
                root=str(fields["root"]),
                lease=str(fields.get("lease", "")),
                record=None if record is None else UndoRecord.parse(json.dumps(record)),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise BadRecord("the guard's orders can't be read") from error

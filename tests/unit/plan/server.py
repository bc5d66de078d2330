"""One object in an API server: it applies merge patches (RFC 7386) under their preconditions, as the real one does."""

import copy
from typing import Any

from bridge.wire.undo import replicas_of
from tests.unit.plan.worlds import Json


class ConflictError(Exception):
    """409: the object is not as it was read."""


class Server:
    def __init__(self, item: Json) -> None:
        self.item = copy.deepcopy(item)

    def patch(self, patch: Json | None) -> None:
        if patch is None:
            return
        for precondition in ("uid", "resourceVersion"):
            wanted = patch["metadata"].get(precondition)
            if wanted not in (None, self.item["metadata"][precondition]):
                raise ConflictError(precondition)
        self.item = merged(self.item, patch)
        self.changed()

    def changed(self) -> None:
        version = int(self.item["metadata"]["resourceVersion"])
        self.item["metadata"]["resourceVersion"] = str(version + 1)
        if not self.item["metadata"].get("annotations", True):
            del self.item["metadata"]["annotations"]

    def read(self) -> Json:
        return copy.deepcopy(self.item)

    # ---- what others do ---------------------------------------------------------------------------------------------
    def scale(self, count: int) -> None:
        self.item["spec"]["replicas"] = count
        self.changed()

    def set_image(self, image: str) -> None:
        self.item["spec"]["template"]["spec"]["containers"][0]["image"] = image
        self.changed()

    def annotate(self, key: str, value: str = "theirs") -> None:
        self.item["metadata"].setdefault("annotations", {})[key] = value
        self.changed()


def merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def content(workload: Json) -> Json:
    """All of a workload but the API server's bookkeeping; absent replicas are the one that they mean."""
    result = copy.deepcopy(workload)
    del result["metadata"]["resourceVersion"]
    result["spec"]["replicas"] = replicas_of(workload)
    return result

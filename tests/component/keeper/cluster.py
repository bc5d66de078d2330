"""The cluster that a guard works on: an API server over TLS that keeps one session's objects, and can be spoiled.

It merges patches (RFC 7386), refuses those made for another resourceVersion with 409, keeps what is asked for as a dry
run as it is, and tells what an account may not.
"""

from __future__ import annotations

import copy
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bridge.wire.marks import SESSION_LABEL, UNDO_ANNOTATION
from bridge.wire.orders import Orders
from bridge.wire.undo import UndoRecord
from tests.component.cluster.apiserver import ApiServer, Certificate, certificate, reply, reset, status
from tests.component.proxy import RunningProxy, running_proxy
from tests.unit.plan.server import merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.component.cluster.apiserver import Handler

SESSION = "5e55101"
RECORD = UndoRecord(
    session=SESSION, kind="Deployment", namespace="shop", name="tasks", uid="u-tasks", replicas=3, holder="ann@laptop",
    since="2026-01-01T00:00:00Z", swapped=True, services=("tasks",), left=0,
)  # fmt: skip
TARGET, SERVICE = RECORD.path, RECORD.service_path("tasks")
LEASE = "/apis/coordination.k8s.io/v1/namespaces/shop/leases/bridge-deployment-tasks"
ROOT = "/api/v1/namespaces/shop/secrets/bridge-5e55101"
TOKEN = "acc0unt"  # not a real one
SECONDS = 20.0


def orders(*, grace: float = 1.0, lease: bool = True, record: UndoRecord | None = RECORD) -> Orders:
    """What the guard is told."""
    name = LEASE.rpartition("/")[2] if lease else ""
    return Orders(session=SESSION, namespace="shop", grace=grace, root="bridge-5e55101", lease=name, record=record)


class Cluster:
    """The objects, by their paths. ``refuses``: may spoil a request (method, path) by returning an answer."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.asked: list[tuple[str, str]] = []
        self.refuses: Callable[[str, str], Any] = lambda method, path: None
        self.rolls_out = True
        self._version = 100
        self._objects: dict[str, dict[str, Any]] = {}
        labels = {SESSION_LABEL: SESSION}
        self.put(TARGET, {"annotations": {UNDO_ANNOTATION: RECORD.render()}}, {"replicas": 0})
        self.put(SERVICE, {}, {"selector": {"app": "tasks", **labels}})
        self.put(LEASE, {"labels": labels}, {"holderIdentity": "ann@laptop", "leaseDurationSeconds": 1})
        self.put(ROOT, {"labels": labels}, {})

    def put(self, path: str, metadata: dict[str, Any], spec: dict[str, Any]) -> None:
        """Make an object, or make it anew."""
        name = path.rpartition("/")[2]
        with self.changed:
            self._objects[path] = {"metadata": {"name": name, "uid": f"u-{name}", **metadata}, "spec": spec}
            self._touch(path)

    def remove(self, path: str) -> None:
        """Delete an object."""
        with self.changed:
            del self._objects[path]
            self.changed.notify_all()

    def get(self, path: str) -> dict[str, Any] | None:
        """An object, None if there is none."""
        with self.changed:
            return copy.deepcopy(self._objects.get(path))

    def wait_for(self, what: Callable[[], object]) -> None:
        """Wait until it is true, looked at after each request and change."""
        with self.changed:
            assert self.changed.wait_for(what, SECONDS), f"{what} is not so; asked: {self.asked[-20:]}"

    def is_there(self, path: str) -> bool:
        return path in self._objects

    def answer(self, handler: Handler) -> None:
        """Do what a request asks."""
        with self.changed:
            seen = handler.seen
            path, _, query = seen.path.partition("?")
            self.asked.append((seen.method, seen.path))
            if seen.headers["Authorization"] != f"Bearer {TOKEN}":
                answer = status(401, "Unauthorized", "Unauthorized")
            else:
                answer = self.refuses(seen.method, path) or self._do(seen, path, dry_run="dryRun=All" in query)
            self.changed.notify_all()
        answer(handler)

    def _do(self, seen: Any, path: str, *, dry_run: bool) -> Any:
        item = self._objects.get(path)
        if item is None:
            return status(404, "NotFound", f"{path} not found")
        if seen.method == "PATCH":
            assert seen.headers["Content-Type"] == "application/merge-patch+json"
            if _is_stale(item, (seen.body.get("metadata") or {})):
                return status(409, "Conflict", "the object has been modified")
            if not dry_run:
                self._objects[path] = merged(item, seen.body)
                self._touch(path)
        elif seen.method == "DELETE":
            if _is_stale(item, (seen.body or {}).get("preconditions") or {}):
                return status(409, "Conflict", "the object has been modified")
            if not dry_run:
                del self._objects[path]
        return reply(self._objects.get(path))

    def _touch(self, path: str) -> None:
        self._version += 1
        item = self._objects[path]
        item["metadata"]["resourceVersion"] = str(self._version)
        if path == TARGET and self.rolls_out:
            item["status"] = {"readyReplicas": item["spec"]["replicas"]}
        self.changed.notify_all()

    def roll_out(self) -> None:
        """Have the target's pods Ready."""
        with self.changed:
            self.rolls_out = True
            self._touch(TARGET)


def _is_stale(item: dict[str, Any], expected: dict[str, Any]) -> bool:
    return any(
        expected.get(name, item["metadata"][name]) != item["metadata"][name] for name in ("uid", "resourceVersion")
    )


AUTHORITY = certificate("cluster")
SERVER = certificate("kube-apiserver", by=AUTHORITY, names=["127.0.0.1"])


@contextmanager
def guarded_proxy(
    cluster: Cluster, its_orders: Orders, *, authority: Certificate = AUTHORITY, **more: Any
) -> Iterator[RunningProxy]:
    """A proxy whose guard works on the cluster. ``authority``: the one that the guard is told to trust."""
    with (
        ApiServer(SERVER, AUTHORITY, asks=False, answers=[cluster.answer]) as api,
        running_proxy(orders=its_orders.render(), **account(api.port, authority), **more) as proxy,
    ):
        yield proxy


def account(port: int, authority: Certificate = AUTHORITY) -> dict[str, Any]:
    """Where the API server is, and the guard's account there."""
    return {
        "environ": {
            b"KUBERNETES_SERVICE_HOST": b"127.0.0.1",
            b"KUBERNETES_SERVICE_PORT": str(port).encode(),
            b"PASSWORD": b"s3cret",
        },
        "account": {"token": TOKEN.encode(), "ca.crt": authority.pem, "namespace": b"shop"},
    }


away = reset

"""A small cluster behind the API server of the cluster's tests: objects, preconditions, watches, owners, controllers.

It keeps what it is given, as the real one does: uid, resourceVersion and generation, 409 for what has changed since it
was read, what an object owns goes with it. Its controllers act at once: a workload has its pods, all Ready, and each
Service an EndpointSlice of those that it selects.

    kube.fail("POST secrets")                 the next such request is refused, nothing is done
    kube.fail("POST secrets", 2, done=True)   the second one is done, and its answer gets lost
    kube.before("PATCH leases/x", function)   somebody else acts just before it
"""

from __future__ import annotations

import copy
import json
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

from bridge.wire.marks import SESSION_LABEL
from tests.component.cluster.apiserver import reply, reset, status, stream
from tests.unit.plan.server import merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.component.cluster.apiserver import Handler

Json = dict[str, Any]

STARTED = "2026-01-01T00:00:00Z"
PODS, SERVICES, SECRETS = (f"/api/v1/namespaces/ns/{plural}" for plural in ("pods", "services", "secrets"))
DEPLOYMENTS, REPLICA_SETS = (f"/apis/apps/v1/namespaces/ns/{plural}" for plural in ("deployments", "replicasets"))
LEASES = "/apis/coordination.k8s.io/v1/namespaces/ns/leases"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices"
EVERYWHERE = {path.replace("/namespaces/ns", ""): path for path in (REPLICA_SETS, LEASES)}
REVIEWS = ("/apis/authorization.k8s.io/", "/apis/authentication.k8s.io/")
VERBS = {"get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "patch": "PATCH", "delete": "DELETE"}


class Kube:
    """The cluster; an answer of `ApiServer`."""

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.log: list[str] = []
        """What was asked, without watches: ``PATCH deployments/web``."""
        self.forbidden: set[str] = set()
        """Such requests are not allowed: ``POST roles``, ``WATCH services``."""
        self.refuse: Callable[[str], bool] = lambda _: False
        """The same, of any request."""
        self.proxies_get_ready = True
        self.endpoints_follow = True
        self._version = 100
        self._events: list[tuple[int, str, str, Json]] = []
        self._changed = threading.Condition()
        self._fail: dict[tuple[str, int], bool] = {}
        self._before: list[tuple[str, Callable[[], object]]] = []

    def fail(self, words: str, number: int = 1, *, done: bool = False) -> None:
        self._fail[words, self.log.count(words) + number] = done

    def before(self, words: str, act: Callable[[], object], *, times: int = 1) -> None:
        """``words``: a request, or how it begins."""
        self._before += [(words, act)] * times

    def steps(self, since: int = 0) -> list[tuple[str, int]]:
        """What was asked since that place of the log, each with its number among its like: for `fail`."""
        asked = self.log[since:]
        return [(words, asked[: at + 1].count(words)) for at, words in enumerate(asked)]

    # ---- for tests: what others do ------------------------------------------------------------------------------
    def put(self, collection: str, item: Json) -> Json:
        """Add an object, or replace it."""
        with self._changed:
            path = f"{collection}/{item['metadata']['name']}"
            metadata = {"namespace": "ns", "uid": _uid(), "creationTimestamp": STARTED, "generation": 1}
            new = copy.deepcopy(item)
            new["metadata"] = {**metadata, **new["metadata"]}
            self._store(path, new)
            self._control()
            return copy.deepcopy(self.objects[path])

    def change(self, path: str, patch: Json) -> None:
        """Change an object as somebody else does: whatever it is now."""
        with self._changed:
            self._patch(path, patch)
            self._control()

    def remove(self, path: str) -> None:
        with self._changed:
            self._delete(path)
            self._control()

    def get(self, path: str) -> Json | None:
        with self._changed:
            return copy.deepcopy(self.objects.get(path))

    def of_session(self) -> list[str]:
        """The paths of what sessions have made and not removed."""
        with self._changed:
            return [path for path, item in self.objects.items() if SESSION_LABEL in _labels(item)]

    def asked(self, *verbs: str) -> list[str]:
        """Return what was asked that begins so."""
        return [line for line in self.log if line.startswith(verbs)]

    # ---- requests ---------------------------------------------------------------------------------------------------
    def __call__(self, handler: Handler) -> None:
        parts = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = unquote(parts.path)
        if path in EVERYWHERE:
            path = EVERYWHERE[path]  # there is one namespace
        if "watch" in query:
            right = f"WATCH {_short(path)}"
            (status(403, "Forbidden", right)(handler) if right in self.forbidden else self._watch(handler, path, query))
            return
        body = handler.seen.body
        with self._changed:
            words = f"{handler.command} {_short(unquote(parts.path))}"
            self.log.append(words)
            done = self._fail.pop((words, self.log.count(words)), None)
            first = next((each for each in self._before if words.startswith(each[0])), None)
            if first:
                self._before.remove(first)
        if first:
            first[1]()
        right = _right(words)
        verb, _, resource = right.partition(" ")
        if done is False:
            answer = status(400, "BadRequest", "a fault of the test")
        elif {right, f"LIST {resource}" if handler.command == "GET" and right == words else right} & self.forbidden or (
            self.refuse(words)
        ):
            answer = status(403, "Forbidden", f'User "ann" cannot {verb.lower()} resource "{resource}" in API group ""')
        else:
            with self._changed:
                answer = self._answered(handler.command, path, query, body)
                self._control()
        (reset if done else answer)(handler)

    def _answered(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        if path.startswith(REVIEWS):
            return self._review(body)
        if method == "POST":
            return self._create(path, body, dry_run="dryRun" in query)
        if path not in self.objects:
            return self._list(path, query) if method == "GET" and _is_collection(path) else _not_found(path)
        item = self.objects[path]
        if method == "GET":
            return reply(item)
        preconditions = body["preconditions"] if method == "DELETE" and "preconditions" in body else {}
        if method == "PATCH":
            preconditions = body.get("metadata", {})
        for key in ("uid", "resourceVersion"):
            if preconditions.get(key, item["metadata"][key]) != item["metadata"][key]:
                return status(409, "Conflict", f"the object has been modified: {key}")
        if method == "PATCH":
            return reply(self._patch(path, body))
        self._delete(path)
        return reply({"kind": "Status", "status": "Success"})

    def _review(self, body: Json) -> Any:
        """Say of a right that is asked for whether it is not ``forbidden``, and nothing else."""
        asked = body.get("spec", {}).get("resourceAttributes")
        if asked is None:
            return reply({**body, "status": {}}, 201)
        verbs = {"GET", "LIST"} if asked["verb"] == "list" else {VERBS[asked["verb"]]}
        allowed = not {f"{verb} {asked['resource']}" for verb in verbs} & self.forbidden
        return reply({**body, "status": {"allowed": allowed}}, 201)

    def _create(self, path: str, body: Json, *, dry_run: bool) -> Any:
        own = f"{path}/{body['metadata']['name']}"
        if own in self.objects:
            return status(409, "AlreadyExists", "already exists")
        item = copy.deepcopy(body)
        stamps = {"uid": _uid(), "creationTimestamp": STARTED, "generation": 1, "resourceVersion": "0"}
        item["metadata"] |= stamps
        if not dry_run:
            self._store(own, item)
        return reply(item, 201)

    def _list(self, path: str, query: dict[str, str]) -> Any:
        items = [item for own, item in self.objects.items() if _collection(own) == path and _selected(item, query)]
        kinds = {"pods": "PodList", "deployments": "DeploymentList", "statefulsets": "StatefulSetList"}
        kinds |= {"replicasets": "ReplicaSetList", "services": "ServiceList", "leases": "LeaseList"}
        kind = kinds.get(path.rpartition("/")[2], "List")
        return reply({"kind": kind, "metadata": {"resourceVersion": str(self._version)}, "items": items})

    def _watch(self, handler: Handler, path: str, query: dict[str, str]) -> None:
        after = int(query.get("resourceVersion") or 0)

        def there() -> list[Json]:
            return [
                {"type": kind, "object": item}
                for version, own, kind, item in self._events
                if version > after and _collection(own) == path and _selected(item, query)
            ]

        def to_come() -> Iterator[Json]:
            with self._changed:
                until = time.monotonic() + int(query.get("timeoutSeconds", 1))
                while not there() and time.monotonic() < until and not handler.api.released.is_set():
                    self._changed.wait(0.05)  # nobody tells that the server ends
                events = there()
            yield from events

        stream(to_come())(handler)

    # ---- objects ----------------------------------------------------------------------------------------------------
    def _store(self, path: str, item: Json) -> None:
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        kind = "MODIFIED" if path in self.objects else "ADDED"
        self.objects[path] = item
        self._happened(path, kind, item)

    def _happened(self, path: str, kind: str, item: Json) -> None:
        self._events.append((self._version, path, kind, copy.deepcopy(item)))
        self._changed.notify_all()

    def _patch(self, path: str, patch: Json) -> Json:
        before = self.objects[path]
        after = merged(before, patch)
        if after.get("spec") != before.get("spec"):
            after["metadata"]["generation"] = before["metadata"].get("generation", 1) + 1
        self._store(path, after)
        return after

    def _delete(self, path: str) -> None:
        item = self.objects.pop(path)
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        self._happened(path, "DELETED", item)
        uid = item["metadata"]["uid"]
        for own, other in list(self.objects.items()):
            owners = other["metadata"].get("ownerReferences") or []
            if own in self.objects and any(owner.get("uid") == uid for owner in owners):
                self._delete(own)

    # ---- controllers ------------------------------------------------------------------------------------------------
    def _control(self) -> None:
        for path, item in list(self.objects.items()):
            if _collection(path) in (DEPLOYMENTS, REPLICA_SETS):
                self._run_pods(path, item)
        for path, item in list(self.objects.items()):
            if _collection(path) == SERVICES and self.endpoints_follow:
                self._endpoints(item)

    def _run_pods(self, path: str, item: Json) -> None:
        name, wanted = item["metadata"]["name"], item["spec"].get("replicas", 1)
        ready = self.proxies_get_ready or SESSION_LABEL not in _labels(item)
        there = [
            own for own in self.objects if _collection(own) == PODS and own.rpartition("/")[2].startswith(f"{name}-")
        ]
        mine = [
            own
            for own in there
            if self.objects[own]["metadata"]["ownerReferences"][0]["uid"] == item["metadata"]["uid"]
        ]
        for own in mine[wanted:]:
            self._delete(own)
        for number in range(len(mine), wanted):
            self._store(f"{PODS}/{name}-{number}", _pod(f"{name}-{number}", item, ready=ready))
        state = {"readyReplicas": wanted if ready else 0, "observedGeneration": item["metadata"].get("generation", 1)}
        if item.get("status") != state:
            self._store(path, {**item, "status": state})

    def _endpoints(self, service: Json) -> None:
        name, selector = service["metadata"]["name"], service["spec"].get("selector") or {}
        pods = [item for own, item in self.objects.items() if _collection(own) == PODS]
        endpoints = [
            {"targetRef": {"kind": "Pod", "name": pod["metadata"]["name"]}, "conditions": {"ready": _is_ready(pod)}}
            for pod in pods
            if selector.items() <= _labels(pod).items()
        ]
        path = f"{SLICES}/{name}-1"
        if path not in self.objects or self.objects[path]["endpoints"] != endpoints:
            metadata = {"name": f"{name}-1", "uid": f"uid-{name}-1", "labels": {"kubernetes.io/service-name": name}}
            self._store(path, {"metadata": metadata, "endpoints": endpoints})


def _uid() -> str:
    """As in a real cluster, no object has that of another, not of another `Kube` either."""
    return str(uuid4())


def _pod(name: str, owner: Json, *, ready: bool) -> Json:
    template = owner["spec"]["template"]
    reference = {"kind": owner.get("kind"), "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
    return {
        "metadata": {
            "name": name, "namespace": "ns", "uid": _uid(), "creationTimestamp": STARTED,
            "labels": dict(template["metadata"].get("labels") or {}),
            "ownerReferences": [{**reference, "controller": True}],
        },
        "spec": {**copy.deepcopy(template["spec"]), "nodeName": "node"},
        "status": {
            "phase": "Running", "podIP": "10.0.0.9",
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }  # fmt: skip


def _is_ready(pod: Json) -> bool:
    return pod["status"]["conditions"][0]["status"] == "True"


def _labels(item: Json) -> dict[str, str]:
    return item["metadata"].get("labels") or {}


def _collection(path: str) -> str:
    return path.rpartition("/")[0]


def _is_collection(path: str) -> bool:
    return path.count("/") == (5 if path.startswith("/api/") else 6)


def _short(path: str) -> str:
    """``deployments/web`` of a path."""
    parts = path.split("/namespaces/ns/")
    return parts[1] if len(parts) == 2 else path


def _right(words: str) -> str:
    """``POST roles`` of ``POST roles/x``."""
    return words.split("/", maxsplit=1)[0]


def _not_found(path: str) -> Any:
    return status(404, "NotFound", f"{path} not found")


def _selected(item: Json, query: dict[str, str]) -> bool:
    name = query.get("fieldSelector", "").removeprefix("metadata.name=")
    labels = _labels(item)
    return (not name or item["metadata"]["name"] == name) and all(
        _matches(labels, part) for part in _parts(query.get("labelSelector", ""))
    )


def _parts(selector: str) -> list[str]:
    """Split at commas that are not in parentheses."""
    parts, depth = [""], 0
    for character in selector:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part]


def _matches(labels: dict[str, str], part: str) -> bool:
    key, among, values = part.partition(" in ")
    if among:
        return labels.get(key) in values.strip("()").split(",")
    key, equals, value = part.partition("=")
    return labels.get(key) == value if equals else key in labels


def dumped(kube: Kube) -> str:
    """Write what is there, for the message of a failed test."""
    return json.dumps(kube.objects, indent=1)

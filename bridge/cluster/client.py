"""The cluster, as the session sees it: read, create, patch, delete and watch objects, all of them plain JSON.

Paths are the API's own: ``/apis/apps/v1/namespaces/x/deployments/web`` (a leading slash may be left out).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

from bridge.cluster.calls import JSON_PATCH, MERGE_PATCH, Call
from bridge.cluster.credentials import Credentials
from bridge.cluster.errors import Answer, ApiError, Conflict, Expired, NotFound, Unreachable, refusal
from bridge.cluster.kubeconfig import load_access
from bridge.cluster.parallel import gather
from bridge.cluster.transport import Patience, Transport, nothing
from bridge.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from types import TracebackType

    from bridge.plan.objects import Object

DEFAULT_TIMEOUT = 10.0
TICK = 1
"""Seconds that a watch lasts before it is asked for anew (the API server takes whole ones)."""

SHORT = 0.2
DECISIONS = 8
"""How often a patch is decided again because the object changed in between."""

Propagation = Literal["Background", "Foreground", "Orphan"]


def connect(
    *,
    kubeconfig: str | None = None,
    context: str | None = None,
    namespace: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    between: Callable[[], object] = nothing,
) -> Cluster:
    """Read the kubeconfig and return the cluster that it means; nothing is asked of it yet.

    ``timeout``: seconds for each request. ``between`` is called before each of them, by who asks: what it raises ends
    what is being done, or waited for. Raise UsageError for a kubeconfig or context that isn't there.
    """
    access = load_access(kubeconfig=kubeconfig, context=context, namespace=namespace)
    reload = partial(load_access, kubeconfig=kubeconfig, context=access.context, namespace=namespace)
    return Cluster(Transport(access, Credentials(access, reload), timeout, between), None)


class Cluster:
    """One API server, asked as one user, in one namespace. Safe for several threads. Close it at the end."""

    def __init__(self, transport: Transport, patience: Patience | None, namespace: str | None = None) -> None:
        self.transport = transport
        self._patience = patience
        self._namespace = namespace

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()

    @property
    def context(self) -> str:
        """The kubeconfig's context."""
        return self.transport.access.context

    @property
    def namespace(self) -> str:
        """The namespace to work in."""
        return self._namespace or self.transport.access.namespace

    @property
    def user(self) -> str:
        """The user, as the kubeconfig calls it."""
        return self.transport.access.user_name

    @property
    def server(self) -> str:
        """The API server's url, without a slash at its end."""
        return self.transport.access.server

    @property
    def timeout(self) -> float:
        """Seconds for one request."""
        return self.transport.timeout

    def patient(self, seconds: float) -> Cluster:
        """Return the same cluster, but one that repeats what may be repeated for so many seconds.

        For what must succeed although the API server restarts: restoring.
        """
        return Cluster(self.transport, Patience(1_000_000, seconds), self._namespace)

    def anew(self, *, timeout: float) -> Cluster:
        """Return the same cluster over connections of its own, with another time limit; close it, too.

        For after the network has changed: connections that were open may lead nowhere.
        """
        before = self.transport
        transport = Transport(before.access, before.credentials, timeout, before.between)
        return Cluster(transport, self._patience, self._namespace)

    def within(self, namespace: str) -> Cluster:
        """Return the same cluster, over the same connections, in another namespace."""
        return Cluster(self.transport, self._patience, namespace)

    def now(self) -> datetime:
        """Return the API server's time (to a second): the laptop's clock may be wrong."""
        if self.transport.now is None:
            self.get("/version")
        now = self.transport.now
        if now is None:
            raise ClusterError(f"{self.server} does not tell the time", hint="Is it an API server? Is a proxy between?")
        return now

    # -- objects ---------------------------------------------------------------------------------------------------

    def get(self, path: str, *, query: Mapping[str, str] | None = None) -> Object:
        """Return an object. Raise NotFound, MissingRight or another ClusterError."""
        return self._json(Call(method="GET", path=path, query=query or {}))

    def list_(self, path: str, *, label_selector: str | None = None, field_selector: str | None = None) -> list[Object]:
        """Return the objects of a collection, each with the kind that the API server leaves out of lists."""
        return _items(self._list(path, label_selector, field_selector))

    def text(self, path: str, *, query: Mapping[str, str] | None = None) -> str:
        """Return what is no JSON: a log."""
        answer = self.transport.send(Call(method="GET", path=path, query=query or {}), self._patience)
        return answer.body.decode(errors="replace")

    def create(self, path: str, body: Object, *, dry_run: bool = False) -> Object:
        """Create an object in a collection; ``dry_run``: ask admission only. Return it as the API server made it."""
        query = {"dryRun": "All"} if dry_run else {}
        return self._json(Call(method="POST", path=path, query=query, body=body))

    def patch(self, path: str, patch: Any, *, kind: Literal["merge", "json"] = "merge") -> Object:
        """Patch an object, by RFC 7386 or RFC 6902. Raise Conflict if it changed since the patch's resourceVersion."""
        content_type = MERGE_PATCH if kind == "merge" else JSON_PATCH
        return self._json(Call(method="PATCH", path=path, body=patch, content_type=content_type))

    def find(self, path: str) -> Object | None:
        """Return an object, None if there is none. Raise MissingRight or another ClusterError."""
        try:
            return self.get(path)
        except NotFound:
            return None

    def revise(self, path: str, decide: Callable[[Object], Any | None], *, what: str) -> Object:
        """Read an object, patch it as ``decide`` says (None: not at all), and return it as it is then.

        The patch must carry the resourceVersion that was read: it is decided again when the object changed in between.
        Raise NotFound, or ClusterError, naming ``what``, for one that is being changed all the time.
        """
        for _ in range(DECISIONS):
            found = self.get(path)
            change = decide(found)
            if change is None:
                return found
            try:
                return self.patch(path, change)
            except Conflict:
                continue
        raise ClusterError(f"{what} is being changed all the time", hint="Try again in a moment.")

    def delete(
        self,
        path: str,
        *,
        propagation: Propagation = "Background",
        grace_seconds: int | None = None,
        uid: str | None = None,
    ) -> bool:
        """Delete an object; False if there is none. ``uid``: only that one, else raise Conflict."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            self.transport.send(Call(method="DELETE", path=path, body=options), self._patience)
        except NotFound:
            return False
        return True

    def gather(self, *questions: Callable[[], Any]) -> list[Any]:
        """Ask several things at once; return the answers in order, or raise the first error."""
        self.transport.credentials.current()  # here, where a signal ends the wait for a plugin: none ends a thread's
        return gather(questions)

    # -- watching --------------------------------------------------------------------------------------------------

    def watch(
        self,
        path: str,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        resource_version: str | None = None,
        timeout: float = 60,
    ) -> Iterator[tuple[str, Object]]:
        """Yield ``(type, object)`` as things change: ADDED, MODIFIED, DELETED, BOOKMARK.

        It ends after ``timeout`` seconds, and where the connection is cut; go on with the resourceVersion of the last
        object. Raise Expired if ``resource_version`` is too old, Unreachable if there is no answer.
        """
        seconds = max(1, round(timeout))
        query = _selecting(label_selector, field_selector) | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
            "resourceVersion": resource_version or "",
        }
        call = Call(method="GET", path=path, query=query)
        for event in _events(self.transport.stream(call, seconds + self.timeout)):
            if event["type"] == "ERROR":
                raise refusal(
                    call, Answer(int(event["object"].get("code") or 500), {}, json.dumps(event["object"]).encode())
                )
            yield event["type"], event["object"]

    def follow(
        self,
        path: str,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        deadline: float,
    ) -> Iterator[dict[str, Object]]:
        """Yield what there is, by name: at once, after each change, and every second when nothing changes.

        So who waits looks at a state and decides purely. It ends at ``deadline`` (of ``time.monotonic``). Once it has
        begun, an API server that goes away is waited for until then; the last error is raised if it stays away. It is
        one dictionary, kept up to date: look at it before asking for the next.
        """
        follower = _Follower(self, path, label_selector, field_selector)
        yield follower.list_()
        while time.monotonic() < deadline:
            began = time.monotonic()
            try:
                yield from follower.changes()
            except Expired:
                yield follower.list_()
            except (Unreachable, ApiError) as error:
                if not _passing(error) or time.monotonic() >= deadline:
                    raise
            else:
                if time.monotonic() - began < SHORT:  # something between cuts each watch at once: don't spin
                    self.transport.pause(SHORT)
                yield follower.state

    # -- inside ----------------------------------------------------------------------------------------------------

    def _list(self, path: str, label_selector: str | None, field_selector: str | None) -> Object:
        return self._json(Call(method="GET", path=path, query=_selecting(label_selector, field_selector)))

    def _json(self, call: Call) -> Object:
        answer = self.transport.send(call, self._patience)
        try:
            content = answer.json()
        except ValueError:
            content = None
        if isinstance(content, dict):
            return content
        kind = answer.headers.get("Content-Type", "nothing it names")
        raise ClusterError(
            f"{self.server} answers, but not as an API server does: with {kind}",
            hint="Is the server's address right? Does a log-in page of the network, or a proxy, lie between?",
        )


def _passing(error: ClusterError) -> bool:
    """Tell a failure that a restarting API server shows from one that stays."""
    return not isinstance(error, ApiError) or error.status in (429, 500, 502, 503, 504)


@dataclass
class _Follower:
    """A collection as it is, kept up to date."""

    cluster: Cluster
    path: str
    label_selector: str | None
    field_selector: str | None
    version: str = ""

    def __post_init__(self) -> None:
        self.state: dict[str, Object] = {}

    def list_(self) -> dict[str, Object]:
        """Read all of it."""
        found = self.cluster._list(self.path, self.label_selector, self.field_selector)  # noqa: SLF001 (one module)
        self.version = found["metadata"]["resourceVersion"]
        self.state = {item["metadata"]["name"]: item for item in _items(found)}
        return self.state

    def changes(self) -> Iterator[dict[str, Object]]:
        """Watch for a second; yield the whole after each change."""
        for kind, item in self.cluster.watch(
            self.path,
            label_selector=self.label_selector,
            field_selector=self.field_selector,
            resource_version=self.version,
            timeout=TICK,
        ):
            self.version = item["metadata"]["resourceVersion"]
            if kind == "DELETED":
                self.state.pop(item["metadata"]["name"], None)
            elif kind != "BOOKMARK":
                self.state[item["metadata"]["name"]] = item
            if kind != "BOOKMARK":
                yield self.state


def _items(found: Object) -> list[Object]:
    kind = str(found.get("kind", "")).removesuffix("List")
    stamp = {"apiVersion": found.get("apiVersion"), "kind": kind}
    return [{**stamp, **item} for item in found.get("items") or []]


def _selecting(label_selector: str | None, field_selector: str | None) -> dict[str, str]:
    return {"labelSelector": label_selector or "", "fieldSelector": field_selector or ""}


def _events(chunks: Iterator[bytes]) -> Iterator[Object]:
    """Split a watch in its events, one line each. A last line without end was cut: it comes again."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield json.loads(line)

"""What is asked of the API server: one call, and what it is about, for requests and for the words of errors. Pure.

/api/v1/namespaces/NS/pods/NAME/log            core group
/apis/apps/v1/namespaces/NS/deployments/NAME   a named group
/api/v1/namespaces/NS                          the namespace itself
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"

_VERBS = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}
_IDEMPOTENT = {"GET", "DELETE"}


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request. ``path`` begins with ``/api`` or ``/apis``; ``body`` is JSON to be."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = field(default=None, repr=False)  # may hold a Secret
    content_type: str = JSON

    @property
    def target(self) -> str:
        """Return path and query as they are sent."""
        path = quote("/" + self.path.lstrip("/"), safe="/:@!$&'()*+,;=~")
        query = urlencode({key: value for key, value in self.query.items() if value})
        return f"{path}?{query}" if query else path

    @property
    def idempotent(self) -> bool:
        """Whether doing it twice is as doing it once: then it may be repeated when the answer got lost."""
        if self.method == "PATCH":
            # A merge patch sets values. With a resourceVersion in it the second one meets a conflict, which is honest.
            return self.content_type == MERGE_PATCH
        return self.method in _IDEMPOTENT or (self.method == "POST" and _is_question(self))

    @property
    def subject(self) -> Subject:
        """Return what it is about."""
        return Subject.of(self)


def _is_question(call: Call) -> bool:
    """Reviews are made by POST and change nothing; nor does a dry run."""
    return call.query.get("dryRun") == "All" or call.path.lstrip("/").startswith("apis/authorization.k8s.io/")


@dataclass(frozen=True)
class Subject:
    """Verb and object of a call, in the words of RBAC."""

    verb: str
    group: str
    resource: str
    namespace: str | None
    name: str | None

    @classmethod
    def of(cls, call: Call) -> Subject:
        """Read it from the path."""
        parts = [part for part in call.path.split("/") if part]
        group = parts[1] if parts[:1] == ["apis"] and len(parts) > 1 else ""
        rest = parts[3:] if group else parts[2:]
        namespace = None
        if len(rest) > 2 and rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        resource, name, subresource = (*rest, "", "", "")[:3]
        verb = _VERBS.get(call.method) or _reading(call, name)
        return cls(verb, group, f"{resource}/{subresource}" if subresource else resource, namespace, name or None)

    def __str__(self) -> str:
        resource, _, subresource = self.resource.partition("/")
        named = f"{resource.removesuffix('s')}/{self.name}" if self.name else resource
        return f"{named} ({subresource})" if subresource else named

    @property
    def where(self) -> str:
        """Say the namespace, if it has one: `` in namespace x``."""
        return f" in namespace {self.namespace}" if self.namespace else ""


def _reading(call: Call, name: str) -> str:
    if call.query.get("watch"):
        return "watch"
    return "get" if name else "list"

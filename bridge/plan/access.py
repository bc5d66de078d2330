"""The rights that a session needs, which of them are missing, and the Role to ask for.

Asked in one request before anything changes: a SelfSubjectRulesReview lists what the user may do in the namespace.
What it does not list may still be allowed (other authorizers, ``incomplete``), so each right that looks missing is
confirmed by a SelfSubjectAccessReview, which is authoritative.

How RBAC matches a rule (``pkg/apis/rbac/v1/evaluation_helpers.go``): ``*`` is any group, verb, or resource, with or
without subresource; ``*/scale`` that subresource of any resource; ``resourceNames`` narrows to those names, so it never
allows what has no name (create, list).

pods/portforward: a WebSocket is opened by GET, so it was authorised as ``get``; since Kubernetes 1.35 ``create`` is
asked for as well (KEP-4006, AuthorizePodWebsocketUpgradeCreatePermission). A session needs both to last.

roles, rolebindings: with them, and a ServiceAccount, the keeper gets rights of its own (``protection``). RBAC's
escalation check lets nobody put into a Role what they don't hold, so a session asks for all that the keeper's has: get
and patch of the target and its Services; get, patch and delete of the Lease; delete of the Secret.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from bridge.plan.objects import Object
from bridge.plan.protection import RBAC_GROUP
from bridge.plan.target import API_GROUP, WorkloadKind
from bridge.wire.lease import LEASE_GROUP


class Purpose(Enum):
    """What is to be done with the cluster."""

    SWAP = "swap"
    JOIN = "join"  # bridge run without --swap
    RESTORE = "restore"


@dataclass(frozen=True)
class Right:
    """One verb on one resource of the namespace.

    ``resource`` may have a subresource (``pods/portforward``); ``name``: on that object only. ``why`` completes
    "needed to ...". An ``optional`` right makes a session better; without it, it says what it does not do.
    """

    verb: str
    group: str
    resource: str
    why: str
    name: str | None = None
    optional: bool = False

    def __str__(self) -> str:
        qualified = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {qualified}" + (f" {self.name}" if self.name else "")


def needed_rights(purpose: Purpose, kind: WorkloadKind | None = None, name: str | None = None) -> tuple[Right, ...]:
    """Return the rights for ``purpose``; ``kind`` and ``name`` are the target's (none for JOIN)."""
    on_target = _on_target(purpose, kind, name) if kind else []
    return (*on_target, *_OF_PURPOSE[purpose], *_CLEARING)


def _on_target(purpose: Purpose, kind: WorkloadKind, name: str | None) -> list[Right]:
    why = "swap the target and put it back" if purpose is Purpose.SWAP else "put the target back"
    return [
        Right("get", API_GROUP, kind.plural, "read the target", name),
        Right("patch", API_GROUP, kind.plural, why, name),
        Right("watch", API_GROUP, kind.plural, "see the target get Ready again", name, optional=True),
        *(
            Right("list", API_GROUP, each.plural, "find a target by its name alone", optional=True)
            for each in WorkloadKind
        ),
    ]


_RUNNING = [
    Right("create", "", "secrets", "hold the session's keys"),
    Right("create", API_GROUP, WorkloadKind.REPLICA_SET.plural, "run the proxy pod"),
    Right("get", "", "pods", "see the proxy pod start"),
    Right("list", "", "pods", "find the proxy pod"),
    Right("watch", "", "pods", "see the proxy pod start"),
    Right("get", "", "pods/portforward", "reach the proxy pod"),
    Right("create", "", "pods/portforward", "reach the proxy pod"),
    Right("create", "", "pods", "ask quota and Pod Security beforehand", optional=True),
    Right("get", "", "pods/exec", "read the variables that the target's image sets", optional=True),
    Right("create", "", "pods/exec", "read the variables that the target's image sets", optional=True),
    Right("list", "", "events", "say why a pod does not start", optional=True),
    Right("get", "", "pods/log", "tell the last words of a container that crashed", optional=True),
]
_LOOKING = [
    Right("list", "", "pods", "see whether a session is alive, and its pod gone"),
    Right("watch", "", "pods", "see the proxy pod gone"),
]
_CLEARING = [
    Right("list", API_GROUP, WorkloadKind.REPLICA_SET.plural, "find the proxy pod's owner"),
    Right("watch", API_GROUP, WorkloadKind.REPLICA_SET.plural, "see it gone"),
    Right("delete", "", "secrets", "remove the session's objects"),
    Right("delete", API_GROUP, WorkloadKind.REPLICA_SET.plural, "remove the proxy pod"),
]

_NARROWING = "take the original out of its Services before it ends"
_WIDENING = "give its Services back to the original"
_SLICES = "see from the Services who gets new connections"
_CLAIM = "hold the target by a claim that ends with the session"
_OLD_CLAIM = "see when a session showed life, and remove its claim"
_GUARD = "let the keeper restore when the laptop is gone"
_TRAFFIC = [
    Right("list", "", "services", "find the ports that the cluster reaches the target at"),
    *(Right(verb, "", "services", _NARROWING, optional=True) for verb in ("get", "watch", "patch")),
    *(Right(verb, "discovery.k8s.io", "endpointslices", _SLICES, optional=True) for verb in ("list", "watch")),
]
_CLAIMING = [
    Right(verb, LEASE_GROUP, "leases", _CLAIM, optional=True) for verb in ("create", "get", "list", "patch", "delete")
]
_GUARDING = [
    Right("get", "", "serviceaccounts", "see whether an administrator prepared the keeper's account", optional=True),
    Right("create", "", "serviceaccounts", _GUARD, optional=True),
    Right("create", RBAC_GROUP, "roles", _GUARD, optional=True),
    Right("create", RBAC_GROUP, "rolebindings", _GUARD, optional=True),
]
_SCALING = Right("list", "autoscaling", "horizontalpodautoscalers", "say that the target is scaled", optional=True)
_UNDOING = [
    *(Right(verb, "", "services", _WIDENING, optional=True) for verb in ("get", "list", "patch")),
    *(Right(verb, LEASE_GROUP, "leases", _OLD_CLAIM, optional=True) for verb in ("get", "list", "delete")),
]
_OF_PURPOSE = {
    Purpose.SWAP: [*_TRAFFIC, *_RUNNING, *_CLAIMING, *_GUARDING, _SCALING],
    Purpose.JOIN: [*_RUNNING, *_GUARDING],
    Purpose.RESTORE: [*_LOOKING, *_UNDOING],
}


def missing_rights(status: Object, needed: Iterable[Right]) -> tuple[Right, ...]:
    """Return those of ``needed`` that the ``status`` of a SelfSubjectRulesReview does not show to be there."""
    rules: list[Object] = status.get("resourceRules") or []
    return tuple(right for right in needed if not any(_allows(rule, right) for rule in rules))


def _allows(rule: Object, right: Right) -> bool:
    names = rule.get("resourceNames") or []
    return (
        _holds(rule.get("verbs") or [], right.verb)
        and _holds(rule.get("apiGroups") or [], right.group)
        and _covers(rule.get("resources") or [], right.resource)
        and (not names or right.name in names)
    )


def _holds(values: list[str], wanted: str) -> bool:
    return "*" in values or wanted in values


def _covers(resources: list[str], wanted: str) -> bool:
    _, slash, subresource = wanted.partition("/")
    return "*" in resources or wanted in resources or (bool(slash) and f"*/{subresource}" in resources)


def rules_review(namespace: str) -> Object:
    """Build the SelfSubjectRulesReview to create: what may this user do in ``namespace``?"""
    return {**_review("SelfSubjectRulesReview"), "spec": {"namespace": namespace}}


def access_review(right: Right, namespace: str) -> Object:
    """Build the SelfSubjectAccessReview to create for one right; its ``status.allowed`` is the answer."""
    resource, _, subresource = right.resource.partition("/")
    attributes = {"namespace": namespace, "verb": right.verb, "group": right.group, "resource": resource}
    optional = {"subresource": subresource, "name": right.name}
    attributes |= {key: value for key, value in optional.items() if value}
    return {**_review("SelfSubjectAccessReview"), "spec": {"resourceAttributes": attributes}}


def _review(kind: str) -> Object:
    return {"apiVersion": "authorization.k8s.io/v1", "kind": kind}


def render_role(rights: Sequence[Right], namespace: str, *, user: str, name: str = "bridge") -> str:
    """Write the Role with ``rights``, and the RoleBinding to ``user``, as the YAML to hand to an administrator.

    A comment says what the optional ones are for: they may be left out.
    """
    rules = "".join(f"  - {{{_flow(_rule(alike))}}}{_comment(alike)}\n" for alike in _alike(rights))
    return _ROLE.format(name=_text(name), namespace=_text(namespace), user=_text(user), rules=rules)


def _alike(rights: Sequence[Right]) -> Iterable[list[Right]]:
    """Gather rights that one rule can grant: the verbs of one resource, then the resources that have the same verbs."""
    of_resource: dict[tuple[str, str, str | None], list[Right]] = {}
    for right in rights:
        of_resource.setdefault((right.group, right.resource, right.name), []).append(right)
    alike: dict[object, list[Right]] = {}
    for (group, _resource, name), there in of_resource.items():
        alike.setdefault((group, *_verbs(there), name, _comment(there)), []).extend(there)
    return alike.values()


def _rule(alike: list[Right]) -> Object:
    resources = list(dict.fromkeys(right.resource for right in alike))
    rule: Object = {"apiGroups": [alike[0].group], "resources": resources, "verbs": _verbs(alike)}
    return rule | ({"resourceNames": [alike[0].name]} if alike[0].name else {})


def _verbs(rights: list[Right]) -> list[str]:
    return list(dict.fromkeys(right.verb for right in rights))


def _comment(alike: list[Right]) -> str:
    reasons = dict.fromkeys(right.why for right in alike)
    return f"  # optional: {'; '.join(reasons)}" if all(right.optional for right in alike) else ""


def _flow(rule: Object) -> str:
    return ", ".join(f"{key}: {_text(value)}" for key, value in rule.items())


def _text(value: object) -> str:
    """Write a value in JSON, which is YAML too: quoted, so that no name can be read as anything else."""
    return json.dumps(value, ensure_ascii=False)


_ROLE = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: {name}, namespace: {namespace}}}
rules:
{rules}---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: {name}, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name}}}
subjects:
  - {{apiGroup: rbac.authorization.k8s.io, kind: User, name: {user}}}
"""

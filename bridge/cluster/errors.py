"""What the API server answers when it says no, in the words of bridge's errors. Pure.

    ApiError                     any answer of 400 and more; has ``status``, ``reason`` and ``subject``
    +- Unauthenticated   401     the credentials are not (any more) accepted
    +- MissingRight      403     RBAC says no; also a ``bridge.errors.Forbidden``, its hint is the Role to ask for
    +- NotFound          404
    +- Conflict          409     changed since it was read: read again, decide again
    +- AlreadyExists     409
    +- Expired           410     a watch from too long ago: list again
    +- Rejected      403, 422..  admission says no; ``by`` tells which part of it
    Unreachable                  no answer at all (``connections``)

An answer is a ``Status`` object (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/). Its
code and reason are coarse: quota, LimitRange, Pod Security, RBAC and a terminating namespace are all 403 Forbidden. So
its message is read as well, by the table below; a message in no row of it is passed on as it is.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from bridge.errors import ClusterError, Forbidden
from bridge.plan.access import Right, render_role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.cluster.calls import Call, Subject
    from bridge.plan.objects import Object


class Rejection(Enum):
    """Which part of admission refused an object."""

    QUOTA = "quota"
    LIMIT_RANGE = "LimitRange"
    POD_SECURITY = "Pod Security"
    WEBHOOK = "webhook"
    POLICY = "policy"
    SERVICE_ACCOUNT = "service account"
    PRIORITY_CLASS = "priority class"
    TERMINATING = "terminating namespace"
    INVALID = "validation"


class ApiError(ClusterError):
    """The API server answered, and it is no."""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        exit_code: int | None = None,
        status: int = 0,
        reason: str = "",
        subject: Subject | None = None,
    ) -> None:
        super().__init__(message, hint=hint, exit_code=exit_code)
        self.status = status
        self.reason = reason
        self.subject = subject


class Unauthenticated(ApiError):
    """The credentials are not accepted."""


class MissingRight(ApiError, Forbidden):
    """RBAC, or another authorizer, says no."""


class NotFound(ApiError):
    """There is no such object, or no such kind."""


class Conflict(ApiError):
    """The object changed since it was read."""


class AlreadyExists(ApiError):
    """An object of that name is there."""


class Expired(ApiError):
    """The resourceVersion is too old to watch from."""


class Rejected(ApiError):
    """Admission refused the object: which part of it is in ``by``."""

    by = Rejection.INVALID


class Unreachable(ClusterError):
    """No answer: the API server, or the way to it, does not work."""


@dataclass(frozen=True)
class Answer:
    """A response in full."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """Return the seconds after which the server wants to be asked again, if it says so."""
        text = self.headers.get("Retry-After", "")
        return float(text) if text.isdigit() else None

    def json(self) -> Any:
        """Read the body. Raise ValueError."""
        return json.loads(self.body)

    def status_object(self) -> Object:
        """Return the body as a ``Status``; one made of the text where it is none (a proxy's page)."""
        try:
            content = self.json()
        except ValueError:
            content = None
        if isinstance(content, dict):
            return content
        return {"message": _plain(self.body), "reason": ""}


def _plain(body: bytes) -> str:
    text = re.sub(r"<(style|script|head)\b.*?</\1>|<[^>]*>", " ", body.decode(errors="replace"), flags=re.S | re.I)
    return " ".join(text.split())[:300]


# -- the translation -----------------------------------------------------------------------------------------------


def refusal(call: Call, answer: Answer) -> ApiError:
    """Return the error for an answer of 400 and more (a 401 is told better by ``refused.unauthenticated``)."""
    status = answer.status_object()
    rejected = rejection(str(status.get("message") or ""), call.subject, answer.status, status)
    if rejected is not None:
        return rejected
    make = _BY_REASON.get(str(status.get("reason") or "")) or _BY_STATUS.get(answer.status, _other)
    return make(_Refusal(call.subject, answer.status, status))


@dataclass(frozen=True)
class _Refusal:
    subject: Subject
    status: int
    body: Object

    @property
    def message(self) -> str:
        return str(self.body.get("message") or f"HTTP {self.status}")

    @property
    def about(self) -> dict[str, Any]:
        return {"status": self.status, "reason": str(self.body.get("reason") or ""), "subject": self.subject}


def _forbidden(refusal: _Refusal) -> ApiError:
    denied = _DENIED.search(refusal.message)
    if denied is None:
        return MissingRight(f"the cluster forbids it: {refusal.message}", **refusal.about)
    user, verb, resource, group = denied["user"], denied["verb"], denied["resource"], denied["group"]
    if user == "system:anonymous":
        return Unauthenticated(
            "the API server does not know who asks: the request had no credentials that it takes",
            hint="Log in, or choose another --context: this one's user has no valid credentials.",
            **refusal.about,
        )
    namespace = refusal.subject.namespace
    where = f" in namespace {namespace}" if namespace else ""
    return MissingRight(
        f"{user} may not {verb} {resource}{f'.{group}' if group else ''}{where}",
        hint=_ask_for(Right(verb, group, resource, ""), namespace, user),
        **refusal.about,
    )


_DENIED = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
)


def _ask_for(right: Right, namespace: str | None, user: str) -> str:
    if namespace is None:
        return f"Ask for a ClusterRole that allows: {right}."
    return f"Ask for this Role:\n{render_role([right], namespace, user=user)}"


def _not_found(refusal: _Refusal) -> ApiError:
    details = refusal.body.get("details") or {}
    if details.get("kind") == "namespaces" and details.get("name"):
        message = f"there is no namespace {details['name']}"
        return NotFound(message, hint="Give another one with --namespace, or --context.", **refusal.about)
    if details.get("name"):
        return NotFound(f"there is no {refusal.subject}{refusal.subject.where}", **refusal.about)
    return NotFound(f"the API server does not know {refusal.subject.resource}: {refusal.message}", **refusal.about)


def _conflict(refusal: _Refusal) -> ApiError:
    changed = f"{refusal.subject} was changed by somebody else meanwhile"
    return Conflict(changed, hint="Try again.", **refusal.about)


def _exists(refusal: _Refusal) -> ApiError:
    return AlreadyExists(
        f"{_named(refusal)} exists already{refusal.subject.where}",
        hint="Remove what an earlier session left: bridge restore.",
        **refusal.about,
    )


def _expired(refusal: _Refusal) -> ApiError:
    return Expired(f"the watch of {refusal.subject.resource} is too far behind", hint="Try again.", **refusal.about)


def _invalid(refusal: _Refusal) -> ApiError:
    return _rejected(
        Rejection.INVALID, f"the API server does not take {_named(refusal)}: {_causes(refusal.body)}", "", refusal
    )


def _causes(body: Object) -> str:
    causes = (body.get("details") or {}).get("causes") or []
    listed = [f"{cause.get('field')}: {cause.get('message')}" for cause in causes]
    return "; ".join(listed) or str(body.get("message"))


def _too_many(refusal: _Refusal) -> ApiError:
    return ApiError(f"the API server is overloaded: {refusal.message}", hint="Try again in a moment.", **refusal.about)


def _other(refusal: _Refusal) -> ApiError:
    return ApiError(
        f"{refusal.subject.verb} {refusal.subject}{refusal.subject.where}: the API server answers {refusal.status}: "
        f"{refusal.message}",
        hint="Try again; if it stays so, ask who runs the cluster." if refusal.status >= 500 else "",
        **refusal.about,
    )


def _named(refusal: _Refusal) -> str:
    details = refusal.body.get("details") or {}
    name = details.get("name") or refusal.subject.name
    kind = refusal.subject.resource.removesuffix("s")
    return f"{kind}/{name}" if name else f"the {kind}"


def _unauthorized(refusal: _Refusal) -> ApiError:
    return Unauthenticated(
        f"the API server does not accept the credentials: {refusal.message}", hint="Log in again.", **refusal.about
    )


_BY_REASON: Mapping[str, Callable[[_Refusal], ApiError]] = {
    "Forbidden": _forbidden,
    "NotFound": _not_found,
    "Conflict": _conflict,
    "AlreadyExists": _exists,
    "Expired": _expired,
    "Gone": _expired,
    "Invalid": _invalid,
    "TooManyRequests": _too_many,
    "Unauthorized": _unauthorized,
}
_BY_STATUS: Mapping[int, Callable[[_Refusal], ApiError]] = {
    401: _unauthorized,
    403: _forbidden,
    404: _not_found,
    409: _conflict,
    410: _expired,
    422: _invalid,
    429: _too_many,
}


# -- admission -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rule:
    """``pattern`` in the message means ``by``; ``says`` and ``hint`` are templates of its groups and of ``{what}``."""

    by: Rejection
    pattern: re.Pattern[str]
    says: str
    hint: str


def _rule(by: Rejection, pattern: str, says: str, hint: str) -> _Rule:
    return _Rule(by, re.compile(pattern, re.S), says, hint)


_RULES = (
    _rule(
        Rejection.QUOTA,
        r"exceeded quota: (?P<quota>[^,]+), requested: (?P<asked>.+?), used: (?P<used>.+?), limited: (?P<limit>.+)$",
        "the quota {quota} has no room for {what}: it asks for {asked}, {used} is used of {limit}",
        "Free some of it (kubectl describe quota {quota}), or ask for a larger quota.",
    ),
    _rule(
        Rejection.QUOTA,
        r"failed quota: (?P<quota>[^:]+): must specify (?P<fields>.+)$",
        "the quota {quota} takes only pods that say {fields}",
        "Set these in the target's pod template, or have a LimitRange set defaults.",
    ),
    _rule(
        Rejection.QUOTA,
        r"(?P<why>insufficient quota to match these scopes: .+|status unknown for quota: .+)$",
        "a quota refuses {what}: {why}",
        "See kubectl describe quota.",
    ),
    _rule(
        Rejection.POD_SECURITY,
        r'violates PodSecurity "(?P<level>[^"]+)": (?P<why>.+)$',
        "Pod Security ({level}) refuses {what}: {why}",
        "The target's own template breaks the namespace's rule, or a sidecar does: mend it, or ask for another level "
        "(label pod-security.kubernetes.io/enforce on the namespace).",
    ),
    _rule(
        Rejection.LIMIT_RANGE,
        r"is forbidden: (?P<why>\[?(?:minimum|maximum) (?:cpu|memory|\S+) (?:usage|limit).+|"
        r"\[?\S+ max limit to request ratio per .+)$",
        "the namespace's LimitRange refuses {what}: {why}",
        "See kubectl describe limitrange; ask for other bounds, or change the target's resources.",
    ),
    _rule(
        Rejection.TERMINATING,
        r"unable to create new content in namespace (?P<namespace>\S+) because it is being terminated",
        "the namespace {namespace} is being deleted",
        "Wait until it is gone and make it anew, or choose another one with --namespace.",
    ),
    _rule(
        Rejection.WEBHOOK,
        r'admission webhook "(?P<webhook>[^"]+)" denied the request:? ?(?P<why>.*)$',
        "the admission webhook {webhook} refuses {what}: {why}",
        "Ask who runs the cluster for an exception for what has the label bridge.internal/session.",
    ),
    _rule(
        Rejection.WEBHOOK,
        r'failed calling webhook "(?P<webhook>[^"]+)": (?P<why>.+)$',
        "the admission webhook {webhook} does not work: {why}",
        "Tell who runs the cluster: nothing of that kind can be created while it is so.",
    ),
    _rule(
        Rejection.POLICY,
        r"ValidatingAdmissionPolicy '(?P<policy>[^']+)' (?:with binding '[^']*' )?denied request: (?P<why>.+)$",
        "the policy {policy} refuses {what}: {why}",
        "Ask who runs the cluster for an exception for what has the label bridge.internal/session.",
    ),
    _rule(
        Rejection.SERVICE_ACCOUNT,
        r"error looking up service account (?P<account>\S+): (?P<why>.+)$",
        "the service account {account} of {what} is not there",
        "Create it, or name another one in the target's template.",
    ),
    _rule(
        Rejection.PRIORITY_CLASS,
        r"no PriorityClass with name (?P<name>\S+) was found",
        "the priority class {name} of {what} is not there",
        "Name another one in the target's template.",
    ),
)


def rejection(message: str, subject: Subject, status: int = 403, body: Object | None = None) -> Rejected | None:
    """Read the message of an admission failure: an answer's, or a ReplicaSet's ReplicaFailure condition."""
    for rule in _RULES:
        match = rule.pattern.search(message)
        if match:
            refusal = _Refusal(subject, status, body or {"message": message})
            words = {**match.groupdict(), "what": _named(refusal)}
            return _rejected(rule.by, rule.says.format(**words), rule.hint.format(**words), refusal)
    return None


def _rejected(by: Rejection, message: str, hint: str, refusal: _Refusal) -> Rejected:
    rejected = Rejected(message.rstrip(": "), hint=hint, **refusal.about)
    rejected.by = by
    return rejected

"""Answers of real API servers, and what is said of them."""

from __future__ import annotations

import json
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import urllib3.exceptions as http

from bridge.cluster.calls import JSON_PATCH, MERGE_PATCH, Call
from bridge.cluster.connections import never_sent, stays, unreachable
from bridge.cluster.credentials import Held, impersonation
from bridge.cluster.errors import (
    AlreadyExists,
    Answer,
    ApiError,
    Conflict,
    Expired,
    MissingRight,
    NotFound,
    Rejected,
    Rejection,
    Unauthenticated,
    refusal,
)
from bridge.cluster.kubeconfig import Access
from bridge.cluster.refused import expiry, unauthenticated
from bridge.errors import Forbidden

CREATE = Call(method="POST", path="/api/v1/namespaces/ns/pods", body={})
GET = Call(method="GET", path="/apis/apps/v1/namespaces/ns/deployments/web")


def said(call: Call, code: int, reason: str, message: str, **details: Any) -> ApiError:
    body = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}
    return refusal(call, Answer(code, {}, json.dumps(body).encode()))


# -- what is asked -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (GET, ("get", "apps", "deployments", "ns", "web", "deployment/web")),
        (CREATE, ("create", "", "pods", "ns", None, "pods")),
        (Call(method="GET", path="api/v1/namespaces/ns"), ("get", "", "namespaces", None, "ns", "namespace/ns")),
        (Call(method="GET", path="/api/v1/namespaces"), ("list", "", "namespaces", None, None, "namespaces")),
        (
            Call(method="GET", path="/api/v1/namespaces/ns/pods/p/log"),
            ("get", "", "pods/log", "ns", "p", "pod/p (log)"),
        ),
        (
            Call(method="GET", path="/api/v1/namespaces/ns/pods", query={"watch": "1"}),
            ("watch", "", "pods", "ns", None, "pods"),
        ),
        (
            Call(method="PATCH", path="/apis/apps/v1/namespaces/ns/replicasets/r"),
            ("patch", "apps", "replicasets", "ns", "r", "replicaset/r"),
        ),
        (Call(method="GET", path="/version"), ("list", "", "", None, None, "")),
    ],
)
def test_a_call_is_put_in_the_words_of_rbac(call: Call, words: tuple[str | None, ...]) -> None:
    subject = call.subject
    assert (
        subject.verb,
        subject.group,
        subject.resource,
        subject.namespace,
        subject.name,
        str(subject),
    ) == words


@pytest.mark.parametrize(
    ("call", "idempotent"),
    [
        (GET, True),
        (CREATE, False),
        (Call(method="POST", path=CREATE.path, query={"dryRun": "All"}), True),
        (Call(method="POST", path="/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"), True),
        (Call(method="DELETE", path=GET.path), True),
        (Call(method="PATCH", path=GET.path, content_type=MERGE_PATCH), True),
        (Call(method="PATCH", path=GET.path, content_type=JSON_PATCH), False),
    ],
)
def test_what_may_be_done_twice(call: Call, idempotent: bool) -> None:
    assert call.idempotent is idempotent


def test_a_path_is_quoted() -> None:
    call = Call(method="GET", path="apis/x/a b", query={"labelSelector": "a in (b,c)", "watch": ""})
    assert call.target == "/apis/x/a%20b?labelSelector=a+in+%28b%2Cc%29"


def test_a_body_is_not_shown() -> None:
    assert "s3cret" not in repr(Call(method="POST", path="/x", body={"data": "s3cret"}))


# -- rights --------------------------------------------------------------------------------------------------------


def test_rbac_says_no() -> None:
    message = (
        'deployments.apps "web" is forbidden: User "ann" cannot patch resource "deployments" in API group "apps" '
        'in the namespace "ns"'
    )
    error = said(GET, 403, "Forbidden", message, name="web", group="apps", kind="deployments")
    assert isinstance(error, MissingRight)
    assert isinstance(error, Forbidden)
    assert error.exit_code == Forbidden.exit_code
    assert error.message == "ann may not patch deployments.apps in namespace ns"
    assert 'resources: ["deployments"]' in error.hint
    assert 'name: "ann"' in error.hint


def test_rbac_says_no_for_the_whole_cluster() -> None:
    message = (
        'namespaces is forbidden: User "ann" cannot list resource "namespaces" in API group "" at the cluster scope'
    )
    error = said(Call(method="GET", path="/api/v1/namespaces"), 403, "Forbidden", message)
    assert error.message == "ann may not list namespaces"
    assert error.hint == "Ask for a ClusterRole that allows: list namespaces."


def test_nobody_is_asked_to_log_in() -> None:
    message = (
        'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" in the namespace "ns"'
    )
    assert isinstance(said(CREATE, 403, "Forbidden", message), Unauthenticated)


def test_another_authorizer_says_no() -> None:
    error = said(GET, 403, "Forbidden", "not before eight")
    assert isinstance(error, MissingRight)
    assert error.message == "the cluster forbids it: not before eight"


# -- objects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "code", "reason", "message", "details", "kind", "expected"),
    [
        (GET, 404, "NotFound", 'deployments.apps "web" not found', {"name": "web", "kind": "deployments"}, NotFound,
         "there is no deployment/web in namespace ns"),
        (CREATE, 404, "NotFound", 'namespaces "ns" not found', {"name": "ns", "kind": "namespaces"}, NotFound,
         "there is no namespace ns"),
        (GET, 404, "NotFound", "the server could not find the requested resource", {}, NotFound,
         "the API server does not know deployments: the server could not find the requested resource"),
        (GET, 409, "Conflict", "the object has been modified", {"name": "web"}, Conflict,
         "deployment/web was changed by somebody else meanwhile"),
        (CREATE, 409, "AlreadyExists", 'pods "p" already exists', {"name": "p", "kind": "pods"}, AlreadyExists,
         "pod/p exists already in namespace ns"),
        (GET, 410, "Expired", "too old resource version", {}, Expired, "the watch of deployments is too far behind"),
        (GET, 500, "InternalError", "etcdserver: request timed out", {}, ApiError,
         "get deployment/web in namespace ns: the API server answers 500: etcdserver: request timed out"),
        (GET, 429, "TooManyRequests", "storage is initializing", {}, ApiError,
         "the API server is overloaded: storage is initializing"),
    ],
)  # fmt: skip
def test_an_object_that_is_not_as_expected(
    call: Call, code: int, reason: str, message: str, details: dict[str, Any], kind: type[ApiError], expected: str
) -> None:
    error = said(call, code, reason, message, **details)
    assert type(error) is kind
    assert error.message == expected
    assert error.status == code


def test_an_error_can_be_made_anew_with_other_words() -> None:
    """As ``session`` does, to say how to finish what failed."""
    for error in (said(GET, 404, "NotFound", "x"), said(CREATE, 422, "Invalid", "x")):
        again = type(error)("other words", hint="h", exit_code=error.exit_code)
        assert (again.message, again.hint, again.exit_code) == ("other words", "h", 4)


# -- admission -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "message", "by", "expected"),
    [
        (403, "Forbidden",
         ('pods "p" is forbidden: exceeded quota: small, requested: limits.memory=1Gi,pods=1, used: limits.memory=0,'
         "pods=2, limited: limits.memory=512Mi,pods=2"),
         Rejection.QUOTA,
         ("the quota small has no room for pod/p: it asks for limits.memory=1Gi,pods=1, limits.memory=0,pods=2 is used "
         "of limits.memory=512Mi,pods=2")),
        (403, "Forbidden",
         'pods "p" is forbidden: failed quota: small: must specify limits.cpu for: app; limits.memory for: app',
         Rejection.QUOTA,
         "the quota small takes only pods that say limits.cpu for: app; limits.memory for: app"),
        (403, "Forbidden",
         ('pods "p" is forbidden: [maximum memory usage per Container is 1Gi, but limit is 2Gi, minimum cpu usage per '
         "Container is 100m, but request is 50m]"),
         Rejection.LIMIT_RANGE,
         ("the namespace's LimitRange refuses pod/p: [maximum memory usage per Container is 1Gi, but limit is 2Gi, "
         "minimum cpu usage per Container is 100m, but request is 50m]")),
        (403, "Forbidden",
         'pods "p" is forbidden: cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000',
         Rejection.LIMIT_RANGE,
         ("the namespace's LimitRange refuses pod/p: cpu max limit to request ratio per Container is 2, but provided "
         "ratio is 4.000000")),
        (403, "Forbidden",
         ('pods "p" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true (pod or container "c" '
         "must set securityContext.runAsNonRoot=true)"),
         Rejection.POD_SECURITY,
         ('Pod Security (restricted:latest) refuses pod/p: runAsNonRoot != true (pod or container "c" must set '
         "securityContext.runAsNonRoot=true)")),
        (403, "Forbidden",
         'pods "p" is forbidden: unable to create new content in namespace ns because it is being terminated',
         Rejection.TERMINATING,
         "the namespace ns is being deleted"),
        (403, "Forbidden",
         'admission webhook "policy.example.com" denied the request: images must come from our registry',
         Rejection.WEBHOOK,
         "the admission webhook policy.example.com refuses pod/p: images must come from our registry"),
        (400, "", 'admission webhook "w" denied the request', Rejection.WEBHOOK,
         "the admission webhook w refuses pod/p"),
        (500, "InternalError",
         ('Internal error occurred: failed calling webhook "w.example.com": failed to call webhook: Post '
         '"https://w.svc:443/": dial tcp 10.96.1.2:443: connect: connection refused'),
         Rejection.WEBHOOK,
         ('the admission webhook w.example.com does not work: failed to call webhook: Post "https://w.svc:443/": dial '
         "tcp 10.96.1.2:443: connect: connection refused")),
        (422, "Invalid",
         "pods \"p\" is forbidden: ValidatingAdmissionPolicy 'no-latest' with binding 'all' denied request: no :latest",
         Rejection.POLICY,
         "the policy no-latest refuses pod/p: no :latest"),
        (403, "Forbidden",
         'pods "p" is forbidden: error looking up service account ns/app: serviceaccount "app" not found',
         Rejection.SERVICE_ACCOUNT,
         "the service account ns/app of pod/p is not there"),
        (403, "Forbidden", 'pods "p" is forbidden: no PriorityClass with name high was found', Rejection.PRIORITY_CLASS,
         "the priority class high of pod/p is not there"),
    ],
)  # fmt: skip
def test_admission_says_no(code: int, reason: str, message: str, by: Rejection, expected: str) -> None:
    error = said(CREATE, code, reason, message, name="p", kind="pods")
    assert isinstance(error, Rejected)
    assert not isinstance(error, Forbidden)
    assert error.by is by
    assert error.message == expected
    assert error.hint


def test_an_invalid_object_is_told_by_its_fields() -> None:
    causes = [
        {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.containers[0].image"},
        {"reason": "FieldValueInvalid", "message": 'Invalid value: "x"', "field": "metadata.name"},
    ]
    error = said(CREATE, 422, "Invalid", "Pod is invalid", name="p", kind="Pod", causes=causes)
    assert error.message == (
        "the API server does not take pod/p: spec.containers[0].image: Required value; "
        'metadata.name: Invalid value: "x"'
    )


# -- credentials ---------------------------------------------------------------------------------------------------

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("held", "message", "hint"),
    [
        (Held("token", "Bearer opaque"), "it was revoked, or is for another cluster", "kubectl create token"),
        (
            Held("plugin aws", "Bearer x", expires=datetime(2026, 1, 1, tzinfo=UTC)),
            "the plugin aws of ann: it expired at 2026-01-01 00:00 UTC, 24 h ago",
            "Log in again",
        ),
        (Held("no credentials"), "the API server asks for credentials, and ann has none", "--context"),
    ],
)
def test_refused_credentials(held: Held, message: str, hint: str) -> None:
    error = unauthenticated(GET, held, who="ann", now=NOW)
    assert message in error.message
    assert hint in error.hint
    assert "opaque" not in error.message


@pytest.mark.parametrize(
    "token", ["Bearer x", "Bearer a.b.c", "Bearer a.e30.c", "Bearer a.eyJleHAiOiJ4In0.c", "Basic x"]
)
def test_what_has_no_readable_end(token: str) -> None:
    assert expiry(Held("token", token)) is None


def test_impersonation_is_nothing_without_a_user() -> None:
    assert impersonation({"as-groups": ["a"]}) == []
    assert impersonation({"as": "eve", "as-uid": "1"}) == [("Impersonate-User", "eve"), ("Impersonate-Uid", "1")]


# -- connections ---------------------------------------------------------------------------------------------------

ACCESS = Access(
    context="dev",
    namespace="ns",
    server="https://api:6443",
    user_name="ann",
    user={},
    directory=Path(),
    proxy="http://proxy:1",
)


def verification(code: int, text: str = "") -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, text)
    error.verify_code, error.verify_message = code, text
    return error


def other_tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (http.SSLError(verification(20)), "of an unknown authority"),
        (http.SSLError(verification(10)), "has expired"),
        (http.SSLError(verification(9)), "is not valid yet"),
        (http.SSLError(verification(62, "Hostname mismatch")), "for another name (Hostname mismatch)"),
        (http.SSLError(other_tls("WRONG_VERSION_NUMBER")), "does not speak TLS"),
        (http.SSLError(other_tls("TLSV13_ALERT_CERTIFICATE_REQUIRED")), "ended the TLS handshake (tlsv13 alert"),
        (http.SSLError(ssl.SSLEOFError(8, "EOF")), "the connection was cut"),
        (
            http.ProxyError("Unable to connect", OSError("Tunnel failed: 407")),
            "the proxy http://proxy:1 on the way says",
        ),
        (OSError(113, "No route to host"), "there is no way to it (No route to host)"),
        (
            http.ProtocolError("Connection aborted.", ConnectionResetError(104, "reset")),
            "the connection was cut (reset)",
        ),
        (TimeoutError("timed out"), "no answer within 10 s"),
        (OSError("odd"), "can't be reached: odd"),
    ],
)
def test_no_answer(error: Exception, message: str) -> None:
    told = unreachable(error, ACCESS, 10)
    assert told.message.startswith("the API server https://api:6443 (context dev) can't be reached: ")
    assert message in told.message
    assert told.hint


def test_what_is_worth_another_try() -> None:
    assert stays(http.SSLError(verification(20)))
    assert not stays(http.SSLError(ssl.SSLEOFError(8, "EOF")))
    assert not stays(ConnectionRefusedError())
    assert not never_sent(http.ProtocolError("x"))

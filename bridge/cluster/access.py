"""Which rights are missing, asked before anything changes.

One SelfSubjectRulesReview lists what the user may do; ``plan.access`` compares. What the list does not show may still
be allowed (a webhook authorizer, a list that is ``incomplete``), so each of those is asked for by itself, in parallel.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bridge.cluster.errors import ApiError
from bridge.errors import Forbidden
from bridge.plan.access import access_review, missing_rights, render_role, rules_review

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.cluster.client import Cluster
    from bridge.plan.access import Right

REVIEWS = "/apis/authorization.k8s.io/v1"


def require_rights(cluster: Cluster, needed: Sequence[Right]) -> tuple[Right, ...]:
    """Raise Forbidden, with the Role to ask for, if a needed right is missing; return the optional ones that are."""
    missing = rights(cluster, needed)
    required = [right for right in missing if not right.optional]
    if not required:
        return missing
    listed = "\n".join(f"  {right}{f'  (to {right.why})' if right.why else ''}" for right in required)
    # All of them, not only what is missing: a Role of that name may be there from the last time.
    role = render_role(list(needed), cluster.namespace, user=whoami(cluster))
    raise Forbidden(
        f"{cluster.user or 'you'} lacks rights in namespace {cluster.namespace}:\n{listed}",
        hint=f"Ask who runs the cluster for this Role:\n{role}",
    )


def rights(cluster: Cluster, needed: Sequence[Right]) -> tuple[Right, ...]:
    """Return those of ``needed`` that the user does not have in the cluster's namespace."""
    suspects = missing_rights(_rules(cluster), needed)
    allowed = cluster.gather(*(partial(_allowed, cluster, right) for right in suspects))
    return tuple(right for right, there in zip(suspects, allowed, strict=True) if not there)


def _rules(cluster: Cluster) -> dict[str, object]:
    review = cluster.create(f"{REVIEWS}/selfsubjectrulesreviews", rules_review(cluster.namespace))
    status: dict[str, object] = review.get("status") or {}
    return status


def _allowed(cluster: Cluster, right: Right) -> bool:
    review = cluster.create(f"{REVIEWS}/selfsubjectaccessreviews", access_review(right, cluster.namespace))
    return bool((review.get("status") or {}).get("allowed"))


def whoami(cluster: Cluster) -> str:
    """Return the user's name as the cluster knows it, which is what a RoleBinding must say."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        answer = cluster.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
        return str(answer["status"]["userInfo"]["username"])
    except (ApiError, KeyError):  # since Kubernetes 1.28; may be forbidden
        return cluster.user

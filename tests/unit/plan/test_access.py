import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bridge.plan.access import (
    Purpose,
    Right,
    access_review,
    missing_rights,
    needed_rights,
    render_role,
    rules_review,
)
from bridge.plan.target import WorkloadKind
from tests.unit.plan.worlds import names

SWAP = needed_rights(Purpose.SWAP, WorkloadKind.DEPLOYMENT, "web")


def rule(groups: str, resources: str, verbs: str, **more: list[str]) -> dict:
    return {"apiGroups": groups.split(","), "resources": resources.split(","), "verbs": verbs.split(",")} | more


def missing(*rules: dict, of: tuple[Right, ...] = SWAP) -> list[str]:
    return [str(right) for right in missing_rights({"resourceRules": list(rules)}, of)]


def test_an_administrator_misses_nothing() -> None:
    assert missing(rule("*", "*", "*")) == []


def test_nobody_misses_everything() -> None:
    assert missing_rights({}, SWAP) == SWAP


# As Kubernetes defines the ClusterRole (plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go), where it matters.
EDIT = [
    rule("", "pods,secrets,services,pods/portforward,pods/exec,serviceaccounts", "get,list,watch,create,delete,patch"),
    rule("", "pods/log", "get,list,watch"),
    rule("autoscaling", "horizontalpodautoscalers", "get,list,watch,create,delete,patch"),
    rule("", "events", "get,list,watch"),
    rule("apps", "deployments,replicasets,statefulsets", "get,list,watch,create,delete,patch"),
    rule("discovery.k8s.io", "endpointslices", "get,list,watch"),
    rule("coordination.k8s.io", "leases", "get,list,watch,create,delete,patch"),
]


def test_the_usual_edit_role_suffices_but_for_rights_of_the_keepers_own() -> None:
    assert missing(*EDIT) == [
        "create roles.rbac.authorization.k8s.io", "create rolebindings.rbac.authorization.k8s.io",
    ]  # fmt: skip
    assert missing(*EDIT, of=needed_rights(Purpose.RESTORE, WorkloadKind.DEPLOYMENT, "web")) == []
    assert all(right.optional for right in SWAP if right.group == "rbac.authorization.k8s.io")


def test_a_resource_does_not_cover_its_subresource() -> None:
    assert "create pods/portforward" in missing(rule("", "pods", "*"), rule("apps", "*", "*"))


def test_a_wildcard_may_stand_for_the_resource_of_a_subresource() -> None:
    right = (Right("create", "", "pods/portforward", "x"),)
    assert missing(rule("", "*/portforward", "create"), of=right) == []
    assert missing(rule("", "*/exec", "create"), of=right) == ["create pods/portforward"]
    assert missing(rule("", "*/pods", "create"), of=(Right("create", "", "pods", "x"),)) == ["create pods"]


def test_resource_names_allow_the_named_only() -> None:
    patch = Right("patch", "apps", "deployments", "x", "web")
    create = Right("create", "apps", "deployments", "x")
    on_web = rule("apps", "deployments", "*", resourceNames=["web"])
    assert missing(on_web, of=(patch, create)) == ["create deployments.apps"]
    assert missing(rule("apps", "deployments", "*", resourceNames=["db"]), of=(patch,)) == [
        "patch deployments.apps web"
    ]


def test_get_alone_is_not_enough_for_a_port_forward_since_1_35() -> None:
    verbs = {right.verb for right in SWAP if right.resource == "pods/portforward"}
    assert verbs == {"get", "create"}


def test_only_what_a_session_can_do_without_is_optional() -> None:
    assert {str(right) for right in SWAP if not right.optional} == {
        "get deployments.apps web", "patch deployments.apps web", "list services", "create secrets", "delete secrets",
        "create replicasets.apps", "delete replicasets.apps", "get pods", "list pods", "watch pods",
        "get pods/portforward", "create pods/portforward", "list replicasets.apps", "watch replicasets.apps",
    }  # fmt: skip


def test_joining_touches_no_workload_and_claims_none() -> None:
    rights = needed_rights(Purpose.JOIN)
    assert not {"patch", "update"} & {right.verb for right in rights}
    assert not {"services", "leases", "endpointslices"} & {right.resource for right in rights}


def optional(rights: tuple[Right, ...], *groups_and_resources: str) -> dict[str, list[str]]:
    return {
        resource: [right.verb for right in rights if right.resource == resource and right.optional]
        for resource in groups_and_resources
    }


def test_without_these_a_session_works_but_less_safely() -> None:
    resources = ("services", "endpointslices", "leases", "serviceaccounts", "roles", "rolebindings")
    assert optional(SWAP, *resources) == {
        "services": ["get", "watch", "patch"],
        "endpointslices": ["list", "watch"],
        "leases": ["create", "get", "list", "patch", "delete"],
        "serviceaccounts": ["get", "create"],
        "roles": ["create"],
        "rolebindings": ["create"],
    }


def test_without_these_a_restore_leaves_its_services_and_claim_to_others() -> None:
    rights = needed_rights(Purpose.RESTORE, WorkloadKind.DEPLOYMENT, "web")
    assert optional(rights, "services", "leases", "roles") == {
        "services": ["get", "list", "patch"],
        "leases": ["get", "list", "delete"],
        "roles": [],
    }


def test_restoring_reads_patches_and_removes() -> None:
    rights = needed_rights(Purpose.RESTORE, WorkloadKind.STATEFUL_SET, "db")
    assert [str(right) for right in rights if not right.optional] == [
        "get statefulsets.apps db", "patch statefulsets.apps db", "list pods", "watch pods", "list replicasets.apps",
        "watch replicasets.apps", "delete secrets", "delete replicasets.apps",
    ]  # fmt: skip


def test_reviews_ask_what_is_meant() -> None:
    asked = access_review(Right("get", "", "pods/portforward", "x"), "shop")["spec"]["resourceAttributes"]
    assert asked == {"namespace": "shop", "verb": "get", "group": "", "resource": "pods", "subresource": "portforward"}
    assert access_review(SWAP[1], "shop")["spec"]["resourceAttributes"]["name"] == "web"
    assert rules_review("shop")["spec"] == {"namespace": "shop"}


rights = st.builds(
    Right,
    verb=st.sampled_from(["get", "list", "create"]),
    group=st.sampled_from(["", "apps"]),
    resource=st.sampled_from(["pods", "pods/portforward", "secrets"]),
    why=st.sampled_from(["x", "y"]),
    name=st.one_of(st.none(), names),
    optional=st.booleans(),
)


printable = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "))


@given(st.lists(rights, max_size=5), printable, names)
def test_the_role_to_ask_for_grants_what_is_missing_and_no_more(wanted: list[Right], user: str, namespace: str) -> None:
    role, binding = yaml.safe_load_all(render_role(wanted, namespace, user=user))
    rules = role["rules"] or []
    assert missing_rights({"resourceRules": rules}, wanted) == ()
    granted = {
        (verb, group, resource, tuple(one.get("resourceNames", ())))
        for one in rules
        for verb in one["verbs"]
        for group in one["apiGroups"]
        for resource in one["resources"]
    }
    assert granted == {(one.verb, one.group, one.resource, (one.name,) if one.name else ()) for one in wanted}
    assert binding["subjects"][0]["name"] == user
    assert role["metadata"] == binding["metadata"] == {"name": "bridge", "namespace": namespace}


def test_the_role_of_a_swap_is_short() -> None:
    text = render_role(SWAP, "shop", user="ann")
    assert 'resources: ["deployments"], verbs: ["get", "patch", "watch"], resourceNames: ["web"]}' in text
    assert json.dumps("ann") in text
    assert len(text.splitlines()) < 30


def test_the_role_says_which_rules_are_optional_and_why() -> None:
    wanted = (
        Right("create", "", "secrets", "hold keys"),
        Right("create", "g", "roles", "guard", optional=True),
        Right("create", "g", "rolebindings", "guard", optional=True),
        Right("create", "g", "others", "look", optional=True),
        Right("list", "", "services", "find"),
        Right("patch", "", "services", "narrow", optional=True),
    )
    lines = [line for line in render_role(wanted, "shop", user="ann").splitlines() if line.startswith("  - {apiGroups")]
    assert lines[:4] == [
        '  - {apiGroups: [""], resources: ["secrets"], verbs: ["create"]}',
        '  - {apiGroups: ["g"], resources: ["roles", "rolebindings"], verbs: ["create"]}  # optional: guard',
        '  - {apiGroups: ["g"], resources: ["others"], verbs: ["create"]}  # optional: look',
        '  - {apiGroups: [""], resources: ["services"], verbs: ["list", "patch"]}',
    ]


@pytest.mark.parametrize("right", SWAP)
def test_every_right_says_why(right: Right) -> None:
    assert right.why

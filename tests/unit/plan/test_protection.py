import dataclasses
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bridge.plan.access import Purpose, Right, missing_rights, needed_rights
from bridge.plan.lease import lease_name
from bridge.plan.names import secret_name
from bridge.plan.protection import (
    PREPARED_ACCOUNT,
    Guard,
    Protection,
    build_guard,
    choose_protection,
    guard_account_name,
    guard_token_name,
    install_manifest,
    render_manifest,
)
from bridge.plan.target import WorkloadKind
from bridge.wire.undo import UndoRecord
from tests.unit.plan.test_access import EDIT
from tests.unit.plan.worlds import Json, names

RECORD = UndoRecord(
    session="abcdefgh", kind="Deployment", namespace="shop", name="web", uid="uid-web", replicas=2,
    holder="ann@laptop", since="2026-01-01T00:00:00Z", services=("web", "web-canary"),
)  # fmt: skip


def guard(**changed: Any) -> Guard:
    wanted: Json = {
        "session": "abcdefgh", "namespace": "shop", "holder": "ann@laptop", "target": "deployment/web",
        "record": RECORD, "root": "bridge-abcdefgh", "lease": "bridge-deployment-web", "prepared": False,
    }  # fmt: skip
    return build_guard(**wanted | changed)


def objects_of(made: Guard) -> list[Json]:
    return [item for item in (made.account, made.role, made.binding, made.token) if item]


def granted(role: Json) -> set[tuple[str, str, str, str]]:
    """Every verb on every object that a Role allows: (group, resource, name, verb); any name is ``*``."""
    return {
        (group, resource, name, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", ["*"])
        for verb in rule["verbs"]
    }


# ---- which -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("may_create_roles", "prepared", "chosen"),
    [
        (True, False, Protection.KEEPER),
        (True, True, Protection.KEEPER),  # rights to this target alone are better than those to all
        (False, True, Protection.PREPARED),
        (False, False, Protection.WATCHDOG),
    ],
)
def test_the_strongest_with_the_least_rights_is_chosen(
    may_create_roles: bool, prepared: bool, chosen: Protection
) -> None:
    assert choose_protection(may_create_roles=may_create_roles, prepared=prepared) is chosen


def test_protections_are_said_in_these_words() -> None:
    assert [protection.value for protection in Protection] == ["keeper", "prepared", "watchdog"]


# ---- the keeper's rights ---------------------------------------------------------------------------------------------


def test_the_keeper_may_do_what_a_restore_takes_to_these_objects_and_no_more() -> None:
    role = guard().role
    assert role
    assert granted(role) == {
        ("apps", "deployments", "web", "get"), ("apps", "deployments", "web", "patch"),
        ("", "services", "web", "get"), ("", "services", "web", "patch"),
        ("", "services", "web-canary", "get"), ("", "services", "web-canary", "patch"),
        ("coordination.k8s.io", "leases", "bridge-deployment-web", "get"),
        ("coordination.k8s.io", "leases", "bridge-deployment-web", "patch"),
        ("coordination.k8s.io", "leases", "bridge-deployment-web", "delete"),
        ("", "secrets", "bridge-abcdefgh", "delete"),
    }  # fmt: skip


def test_a_session_without_target_may_only_be_removed() -> None:
    role = guard(record=None, lease="", target="").role
    assert role
    assert granted(role) == {("", "secrets", "bridge-abcdefgh", "delete")}
    assert "bridge.internal/target" not in role["metadata"]["annotations"]


records = st.builds(
    dataclasses.replace, st.just(RECORD), kind=st.sampled_from([kind.kind for kind in WorkloadKind]), name=names,
    services=st.lists(names, unique=True, max_size=3).map(tuple),
)  # fmt: skip


@given(records, names | st.just(""))
def test_no_right_is_without_the_name_of_its_object(record: UndoRecord, lease: str) -> None:
    """An empty list of resourceNames would mean every object."""
    role = guard(record=record, lease=lease).role
    assert role
    assert all(rule["resourceNames"] for rule in role["rules"])
    assert {name for *_, name, _ in granted(role)} == {record.name, *record.services, "bridge-abcdefgh"} | (
        {lease} if lease else set()
    )


@given(records)
def test_who_has_the_rights_of_a_session_may_hand_out_those_of_the_keeper(record: UndoRecord) -> None:
    """RBAC's escalation check: nobody puts into a Role what they don't hold."""
    kind = next(kind for kind in WorkloadKind if kind.kind == record.kind)
    held = [
        {"apiGroups": [right.group], "resources": [right.resource], "verbs": [right.verb]}
        | ({"resourceNames": [right.name]} if right.name else {})
        for right in needed_rights(Purpose.SWAP, kind, record.name)
    ]
    role = guard(record=record, lease=lease_name(record.kind, record.name)).role
    assert role
    keepers = [Right(verb, group, resource, "", name) for group, resource, name, verb in granted(role)]
    assert missing_rights({"resourceRules": held}, keepers) == ()


# ---- its objects -----------------------------------------------------------------------------------------------------


def test_account_role_binding_and_token_belong_together() -> None:
    made = guard()
    assert [item["kind"] for item in objects_of(made)] == ["ServiceAccount", "Role", "RoleBinding", "Secret"]
    assert {item["metadata"]["name"] for item in objects_of(made)} == {"bridge-abcdefgh-keeper"}
    assert guard_account_name("abcdefgh") == guard_token_name("abcdefgh") == "bridge-abcdefgh-keeper"
    assert guard_token_name("abcdefgh") != secret_name("abcdefgh")
    account, binding = made.account, made.binding
    assert account
    assert binding
    assert account["automountServiceAccountToken"] is False
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "bridge-abcdefgh-keeper",
    }  # fmt: skip
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "bridge-abcdefgh-keeper", "namespace": "shop"}]


def test_all_of_it_is_found_by_its_session() -> None:
    for item in objects_of(guard()):
        assert item["metadata"]["namespace"] == "shop"
        assert item["metadata"]["labels"] == {
            "bridge.internal/session": "abcdefgh", "app.kubernetes.io/managed-by": "bridge",
        }  # fmt: skip
        assert item["metadata"]["annotations"]["bridge.internal/holder"] == "ann@laptop"
        assert item["metadata"]["annotations"]["bridge.internal/target"] == "deployment/web"


@pytest.mark.parametrize(("prepared", "account"), [(False, "bridge-abcdefgh-keeper"), (True, PREPARED_ACCOUNT)])
def test_the_token_is_one_that_the_cluster_fills_in_for_the_account(prepared: bool, account: str) -> None:
    token = guard(prepared=prepared).token
    assert token["type"] == "kubernetes.io/service-account-token"
    assert token["metadata"]["annotations"]["kubernetes.io/service-account.name"] == account
    assert "data" not in token


def test_only_the_tokens_annotations_name_the_account() -> None:
    role = guard().role
    assert role
    assert "kubernetes.io/service-account.name" not in role["metadata"]["annotations"]


def test_a_prepared_account_needs_a_token_alone() -> None:
    made = guard(prepared=True)
    assert (made.account, made.role, made.binding) == (None, None, None)
    assert made.token["metadata"]["name"] == "bridge-abcdefgh-keeper"


# ---- what an administrator prepares ----------------------------------------------------------------------------------


def test_the_prepared_account_can_restore_any_target_of_its_namespace() -> None:
    account, role, binding = install_manifest("shop")
    assert [item["kind"] for item in (account, role, binding)] == ["ServiceAccount", "Role", "RoleBinding"]
    assert {item["metadata"]["name"] for item in (account, role, binding)} == {"bridge-keeper"}
    assert {item["metadata"]["namespace"] for item in (account, role, binding)} == {"shop"}
    assert account["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "bridge"}
    for kind in WorkloadKind:
        sessions = guard(record=dataclasses.replace(RECORD, kind=kind.kind)).role
        assert sessions
        rights = [Right(verb, group, resource, "", name) for group, resource, name, verb in granted(sessions)]
        assert missing_rights({"resourceRules": role["rules"]}, rights) == ()


def test_the_prepared_account_holds_nothing_that_edit_has_not() -> None:
    role = install_manifest("shop")[1]
    rights = [Right(verb, group, resource, "") for group, resource, _, verb in granted(role)]
    assert missing_rights({"resourceRules": EDIT}, rights) == ()


@given(names)
def test_the_manifest_is_yaml_that_reads_back(namespace: str) -> None:
    made = install_manifest(namespace)
    text = render_manifest(made)
    assert list(yaml.safe_load_all(text)) == made
    assert text.count("\n---\n") == len(made) - 1
    assert "&id" not in text  # no anchors: a person reads it

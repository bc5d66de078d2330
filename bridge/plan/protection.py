"""What restores a target when its laptop is gone, and what that takes in the cluster.

    protection   who restores               survives        takes
    -----------  -------------------------  --------------  -----------------------------------------------------------
    keeper       the keeper in the proxy    the laptop      a ServiceAccount, Role and RoleBinding of the session: the
                 pod, with rights to what                   user may create Roles
                 the session changes
    prepared     the same, with rights to   the laptop      an account that an administrator prepared
                 any target of the                          (``bridge install``)
                 namespace
    watchdog     a process beside bridge    bridge's death  nothing

The keeper's token is in a Secret of its own, which only the proxy's container mounts: the pod keeps the account of the
target, and other containers and the process don't get this one's. All of it is owned by the session's Secret.

RBAC lets nobody hand out what they don't hold (escalation check): who creates the keeper's Role needs each right in it,
too. Those are among ``access.needed_rights``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from bridge.plan.names import secret_name
from bridge.plan.objects import (
    HOLDER_ANNOTATION,
    MANAGED_BY_LABEL,
    MANAGER,
    TARGET_ANNOTATION,
    Object,
    session_labels,
)
from bridge.plan.target import API_GROUP, WorkloadKind
from bridge.wire.lease import LEASE_GROUP
from bridge.wire.undo import PLURALS, UndoRecord

PREPARED_ACCOUNT = "bridge-keeper"
RBAC_GROUP = "rbac.authorization.k8s.io"
RBAC_VERSION = f"{RBAC_GROUP}/v1"


class Protection(Enum):
    """See the module's docstring."""

    KEEPER = "keeper"
    PREPARED = "prepared"
    WATCHDOG = "watchdog"


def choose_protection(*, may_create_roles: bool, prepared: bool) -> Protection:
    """Choose the strongest with the least rights. ``prepared``: there is the account that ``bridge install`` makes."""
    if may_create_roles:
        return Protection.KEEPER
    return Protection.PREPARED if prepared else Protection.WATCHDOG


def guard_account_name(session: str) -> str:
    """Return the name of the session's ServiceAccount, Role and RoleBinding."""
    return f"{secret_name(session)}-keeper"


def guard_token_name(session: str) -> str:
    """Return the name of the Secret with the keeper's token."""
    return f"{secret_name(session)}-keeper"


@dataclass(frozen=True)
class Guard:
    """The objects to create so that the keeper can restore, in this order; None: not needed."""

    account: Object | None
    role: Object | None
    binding: Object | None
    token: Object


def build_guard(
    *,
    session: str,
    namespace: str,
    holder: str,
    target: str,
    record: UndoRecord | None,
    root: str,
    lease: str,
    prepared: bool,
) -> Guard:
    """Build the keeper's account, with rights to what ``record`` lists, the ``lease`` and the ``root`` Secret alone.

    ``record`` None, ``lease`` empty: the session has none. ``prepared``: only a token, for the account that is there.
    """
    annotations = {HOLDER_ANNOTATION: holder} | ({TARGET_ANNOTATION: target} if target else {})
    metadata = {"namespace": namespace, "labels": session_labels(session), "annotations": annotations}
    token = _token(
        {**metadata, "name": guard_token_name(session)},
        account=PREPARED_ACCOUNT if prepared else guard_account_name(session),
    )
    if prepared:
        return Guard(None, None, None, token)
    rules = _session_rules(record, root, lease)
    return Guard(*_account({**metadata, "name": guard_account_name(session)}, rules), token)


def _session_rules(record: UndoRecord | None, root: str, lease: str) -> list[Object]:
    """Return the least that a restore takes, each object by its name."""
    rules = [_rule("", ["secrets"], ["delete"], [root])]
    if lease:
        rules.insert(0, _rule(LEASE_GROUP, ["leases"], ["get", "patch", "delete"], [lease]))
    if record and record.services:
        rules.insert(0, _rule("", ["services"], ["get", "patch"], list(record.services)))
    if record:
        rules.insert(0, _rule(API_GROUP, [PLURALS[record.kind]], ["get", "patch"], [record.name]))
    return rules


def install_manifest(namespace: str) -> list[Object]:
    """Build the account that an administrator prepares in ``namespace``, for developers who may not create Roles.

    Which targets it will restore is not known yet, so its rights name no objects. It holds nothing that the ClusterRole
    ``edit`` has not: whoever has that role in the namespace could use its token, and gains nothing by it.
    """
    rules = [
        _rule(API_GROUP, [kind.plural for kind in WorkloadKind], ["get", "patch"]),
        _rule("", ["services"], ["get", "patch"]),
        _rule(LEASE_GROUP, ["leases"], ["get", "patch", "delete"]),
        _rule("", ["secrets"], ["delete"]),
    ]
    metadata = {"name": PREPARED_ACCOUNT, "namespace": namespace, "labels": {MANAGED_BY_LABEL: MANAGER}}
    return [*_account(metadata, rules)]


def render_manifest(objects: Sequence[Object]) -> str:
    """Write objects as YAML, for ``kubectl apply``."""
    import yaml

    text: str = yaml.safe_dump_all(objects, sort_keys=False)
    return text


def _account(metadata: Object, rules: Iterable[Object]) -> tuple[Object, Object, Object]:
    """Return a ServiceAccount, its Role and the RoleBinding, all of the name that ``metadata`` has."""
    name = metadata["name"]
    subject = {"kind": "ServiceAccount", "name": name, "namespace": metadata["namespace"]}
    account = _object("v1", "ServiceAccount", metadata) | {"automountServiceAccountToken": False}
    role = _object(RBAC_VERSION, "Role", metadata) | {"rules": list(rules)}
    binding = _object(RBAC_VERSION, "RoleBinding", metadata) | {
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "Role", "name": name},
        "subjects": [subject],
    }
    return account, role, binding


def _token(metadata: Object, *, account: str) -> Object:
    """Build the Secret that the token controller fills in: ``token``, ``ca.crt``, ``namespace``."""
    annotations = {**metadata["annotations"], "kubernetes.io/service-account.name": account}
    item = _object("v1", "Secret", {**metadata, "annotations": annotations})
    return item | {"type": "kubernetes.io/service-account-token"}


def _object(version: str, kind: str, metadata: Object) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": dict(metadata)}


def _rule(group: str, resources: list[str], verbs: list[str], names: list[str] | None = None) -> Object:
    rule: Object = {"apiGroups": [group], "resources": resources, "verbs": verbs}
    return rule | ({"resourceNames": names} if names else {})

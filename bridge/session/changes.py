"""What a session changes on its target, and the objects that it makes, each with its way back.

    claim       the undo record is written on the target
    create      the session's objects, all owned by its Secret
    take out    the original's replicas are set to what is left of them; the true count is in the record before
    put back    the replicas as they were, the record gone (one patch: both or neither)
    remove      the session's objects, waited for

Its Services are in ``traffic``, its Lease in ``claims``.

Somebody else may change the target at any time: read, decide purely (``plan.undo``), patch what was read, and again
when the API server says that it has changed.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from bridge.cluster.errors import MissingRight, NotFound
from bridge.cluster.pods import wait_for_rollout, wait_gone
from bridge.cluster.trouble import is_ready
from bridge.cluster.workloads import pods_of, selector_of
from bridge.errors import ClusterError, TargetError
from bridge.plan.manifest import owned_by
from bridge.plan.names import secret_name
from bridge.plan.objects import Object, is_ending, name_of
from bridge.plan.pods import is_original
from bridge.plan.target import API_VERSION, WorkloadKind, describe
from bridge.plan.undo import record_of, record_patch, restore_patch, swap_patch
from bridge.session.signals import SignalReceived
from bridge.wire.marks import SESSION_LABEL
from bridge.wire.undo import UndoRecord, lost_record_patch, narrowed_to, patch_of, replicas_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bridge.cluster import Cluster
    from bridge.plan.protection import Guard
    from bridge.session.narrator import Narrator
    from bridge.session.signals import Signals

RBAC = "/apis/rbac.authorization.k8s.io/v1"
PATIENCE = 20.0
"""Seconds that a restore goes on asking an API server that does not answer: a restart of it takes less."""
GONE_WITHIN = 40.0
"""Seconds that a proxy pod may take to go: its grace period is 15."""


class Target:
    """The workload that a session swaps."""

    def __init__(self, cluster: Cluster, record: UndoRecord) -> None:
        self.record = record
        self._cluster = cluster

    def claim(self, *, replacing: str = "") -> None:
        """Write the undo record on the target. TargetError when somebody else's is there by now.

        ``replacing``: the dead session whose record may be there.
        """

        def patch(workload: Object) -> Object:
            if workload["metadata"]["uid"] != self.record.uid:
                raise TargetError(f"{self.record.target} was deleted and made anew", hint="Run the command again.")
            return record_patch(workload, self.record, replacing=replacing or None)

        self._patched(patch)

    def take_out(self, left: int | None, keep: Callable[[UndoRecord], None]) -> Object:
        """Leave just ``left`` replicas (None: all, untouched), and return the target as it is then.

        ``keep`` gets the record, with the replicas of that moment, before it happens.
        """

        def patch(workload: Object) -> Object:
            change, self.record = swap_patch(workload, self.record, left=left)
            keep(self.record)
            return change

        return self._patched(patch)

    def record_again(self) -> None:
        """Write the record to a target that has none."""
        self._patched(lambda workload: None if record_of(workload) else patch_of(workload, self.record.render()))

    def put_back(self, *, lost: UndoRecord | None = None) -> Object | None:
        """Undo what is still ours to undo, and the claim; return the target as it is then.

        None where nothing of it is ours any more, or it was deleted. ``lost``: the record that counts where the
        target has none, though its session was not ended.
        """
        patient, changed = Target(self._cluster.patient(PATIENCE), self.record), False

        def patch(workload: Object) -> Object | None:
            nonlocal changed
            change = restore_patch(workload, self.record.session)
            if change is None and lost is not None:
                change = lost_record_patch(workload, lost)
            changed = changed or change is not None  # a lost answer is repeated, and finds nothing more to do
            return change

        try:
            workload = patient._patched(patch)
        except NotFound:
            return None
        return workload if changed else None

    def current(self) -> Object | None:
        """Return the target as it is now, None if it was deleted."""
        found = self._cluster.find(self.record.path)
        return self._stamp(found) if found else None

    def _stamp(self, item: Object) -> Object:
        return {**item, "apiVersion": API_VERSION, "kind": self.record.kind}

    def _patched(self, patch: Callable[[Object], Object | None]) -> Object:
        revised = self._cluster.revise(
            self.record.path, lambda workload: patch(self._stamp(workload)), what=self.record.target
        )
        return self._stamp(revised)


def create_root(cluster: Cluster, secret: Object) -> Object:
    """Create the Secret that owns all other objects of the session; return it as an owner."""
    made = cluster.create(f"/api/v1/namespaces/{cluster.namespace}/secrets", secret)
    return {"apiVersion": "v1", "kind": "Secret", **made}


def create_account(cluster: Cluster, root: Object, guard: Guard | None) -> str:
    """Create the keeper's account and Role, which its token and its binding must find there.

    Return why the Role may not be created, if so: nobody may hand out more than they have.
    """
    if guard is None or guard.account is None or guard.role is None:
        return ""
    account, role = owned_by(guard.account, root), owned_by(guard.role, root)
    _, refusal = cluster.gather(
        lambda: cluster.create(f"/api/v1/namespaces/{cluster.namespace}/serviceaccounts", account),
        lambda: _refused(cluster, f"{RBAC}/namespaces/{cluster.namespace}/roles", role),
    )
    return str(refusal)


def create_proxy(cluster: Cluster, root: Object, replica_set: Object, guard: Guard | None) -> None:
    """Create the proxy pod's ReplicaSet, and what its keeper is to find: its token, and the rights that go with it."""
    wanted = [(WorkloadKind.REPLICA_SET.path(cluster.namespace), replica_set)]
    if guard:
        wanted.append((f"/api/v1/namespaces/{cluster.namespace}/secrets", guard.token))
    if guard and guard.binding:
        wanted.append((f"{RBAC}/namespaces/{cluster.namespace}/rolebindings", guard.binding))
    cluster.gather(*(partial(cluster.create, path, owned_by(item, root)) for path, item in wanted))


def _refused(cluster: Cluster, path: str, item: Object) -> str:
    """Create an object; return why it may not be, if so."""
    try:
        cluster.create(path, item)
    except MissingRight as error:
        return error.message
    return ""


def remove_objects(cluster: Cluster, session: str, narrator: Narrator) -> None:
    """Delete the session's objects, and wait until its pod is gone."""
    delete_objects(cluster.patient(PATIENCE), session)
    wait_until_removed(cluster, session, narrator)


def wait_until_removed(cluster: Cluster, session: str, narrator: Narrator) -> None:
    """Wait until the proxy pod and its ReplicaSet, which were deleted, are gone.

    A second or two, so no signal ends the wait: who mashes Ctrl-C finds nothing left, either. What else the Secret owns
    the garbage collector removes.
    """
    cluster = cluster.patient(PATIENCE)
    namespace, selector = cluster.namespace, f"{SESSION_LABEL}={session}"
    for path in (f"/api/v1/namespaces/{namespace}/pods", WorkloadKind.REPLICA_SET.path(namespace)):
        deadline = time.monotonic() + GONE_WITHIN
        wait_gone(cluster, path, label_selector=selector, deadline=deadline, on_progress=narrator.doing)


def delete_objects(cluster: Cluster, session: str) -> None:
    """Delete the session's objects, and do not wait.

    The Secret first, which owns them all: as long as it is there, the ReplicaSet tells others that there is something
    to remove. That one is not left to the garbage collector, which takes its time.
    """
    replica_sets = WorkloadKind.REPLICA_SET.path(cluster.namespace)
    there = cluster.list_(replica_sets, label_selector=f"{SESSION_LABEL}={session}")
    cluster.delete(f"/api/v1/namespaces/{cluster.namespace}/secrets/{secret_name(session)}")
    for item in there:
        cluster.delete(f"{replica_sets}/{name_of(item)}", propagation="Foreground")


def wait_until_out(cluster: Cluster, workload: Object, narrator: Narrator) -> None:
    """Wait until each pod of the original is at least on its way out: from then on Services send it nothing new."""
    pods, selector = f"/api/v1/namespaces/{cluster.namespace}/pods", selector_of(workload)
    for there in cluster.follow(pods, label_selector=selector, deadline=time.monotonic() + GONE_WITHIN):
        staying = [name for name, pod in there.items() if is_original(workload, pod)]
        if not staying:
            return
        narrator.doing(f"waiting for {', '.join(staying)} to leave")
    narrator.warn("pods of the original are still there: they share the traffic with this laptop")


def wait_until_back(
    cluster: Cluster, workload: Object, narrator: Narrator, signals: Signals, *, timeout: float
) -> bool:
    """Wait until the original has its replicas Ready again; say whether it has.

    What keeps it is told; a signal ends the wait.
    """
    name, replicas = describe(workload), replicas_of(workload)
    try:
        with signals.interruptible():
            wait_for_rollout(
                cluster,
                workload,
                replicas,
                deadline=time.monotonic() + timeout,
                on_progress=lambda text: narrator.doing(f"waiting for {name}: {text}"),
            )
    except SignalReceived:
        narrator.note(f"{name} is put back; not waiting until it is Ready")
    except (ClusterError, TargetError) as error:  # TargetError: it was deleted
        narrator.warn(f"{error.message}. {error.hint}")
    else:
        narrator.done(f"{name} is back: {replicas} of {replicas} Ready")
        return True
    return False


def addresses_of_others(cluster: Cluster, services: Sequence[str], session: str) -> list[str]:
    """Return the addresses of the proxy pods of other sessions that the Services are narrowed to by now.

    Nodes follow a Service with a delay: what still comes to this session's pod is theirs to answer. Theirs was Ready
    before the Services were narrowed to it. One that just now is not (a busy node answers probes late) holds what comes
    to it, as ours does, and that is better than to refuse it here; so Ready ones are only preferred.
    """
    namespace = f"/api/v1/namespaces/{cluster.namespace}"
    there = [found for name in services if (found := cluster.find(f"{namespace}/services/{name}"))]
    others = sorted({narrowed_to(service) for service in there} - {"", session})
    pods = [
        pod for other in others for pod in cluster.list_(f"{namespace}/pods", label_selector=f"{SESSION_LABEL}={other}")
    ]
    return _addresses(filter(is_ready, pods)) or _addresses(pod for pod in pods if not is_ending(pod))


def addresses_of_original(cluster: Cluster, workload: Object) -> list[str]:
    """Return the addresses of the Ready pods of the original."""
    return _addresses(pod for pod in pods_of(cluster, workload) if is_original(workload, pod) and is_ready(pod))


def _addresses(pods: Iterable[Object]) -> list[str]:
    return [str(address) for pod in pods if (address := pod["status"].get("podIP"))]

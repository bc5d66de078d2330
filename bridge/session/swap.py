"""A swap: what one claim changes in the cluster, step by step, and its way back.

    begin      undo record on disk -> Secret, the root of all objects -> Lease, the keeper's account and Role
               -> undo record on the target, proxy pod, the keeper's token and binding
    take       Services narrowed to the proxy pod -> the original scaled down to what is left of it
    undo       the original up again and Ready -> Services widened -> proxy pod and all other objects gone -> Lease

A session has one swap after another, should the cluster end one of them while the laptop is away. Whatever of it is
there, `undo` undoes; it may be called at any step, and again.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from bridge.cluster.errors import ApiError
from bridge.errors import BridgeError
from bridge.plan.objects import name_of
from bridge.plan.undo import is_anothers, takes_out
from bridge.session import traffic
from bridge.session.changes import (
    PATIENCE,
    Target,
    addresses_of_original,
    addresses_of_others,
    create_account,
    create_proxy,
    create_root,
    delete_objects,
    wait_until_back,
    wait_until_out,
    wait_until_removed,
)
from bridge.session.claims import claim_lease, claim_of, release_lease
from bridge.session.reach import proxy_pod
from bridge.session.steps import reached
from bridge.session.store import LocalSession, Store, process_start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bridge.cluster import Cluster
    from bridge.plan.objects import Object
    from bridge.session.intend import Plan
    from bridge.session.narrator import Narrator
    from bridge.session.request import RunRequest
    from bridge.session.signals import Signals
    from bridge.tunnel.keys import SessionKeys
    from bridge.wire.undo import UndoRecord


@dataclass(frozen=True, kw_only=True)
class Means:
    """What a swap works with."""

    request: RunRequest
    cluster: Cluster
    narrator: Narrator
    signals: Signals
    store: Store
    kept: str = ""
    """For which command the session is kept (``kept.key_of``); empty: for none."""


class Parting(Protocol):
    """What still hangs on the proxy pod when the session ends."""

    def hold(self) -> None:
        """Have what comes to the proxy pod wait for the original."""

    def hand_over(self, originals: Sequence[str]) -> None:
        """Have the original at these addresses answer what still comes to the proxy pod."""

    def begin(self) -> None:
        """Expect the proxy pod to end."""

    def finish(self) -> None:
        """Let what is open come to its end, for some seconds, and let go of the proxy pod."""


class Swap:
    """See the module's docstring. ``keys`` and ``token`` are those of its proxy pod."""

    def __init__(self, means: Means, plan: Plan, keys: SessionKeys, token: str) -> None:
        self._request = means.request
        self._cluster = means.cluster
        self._narrator = means.narrator
        self._signals = means.signals
        self._store = means.store
        self._kept = means.kept
        self.plan = plan
        self.keys = keys
        self.token = token
        self._target = Target(means.cluster, plan.record) if plan.record else None
        self._begun = False
        """Whether there may be something of it in the cluster."""
        self.taken = False
        """Whether the cluster's traffic was, or is being, led here."""
        self._undone = False
        self._was_ours = False
        """Whether the target was put back: another try finds nothing of ours on it."""
        self._is_guarded = plan.guard is not None
        self._replaced = plan.replacing
        """The dead session whose traces are still to be removed; empty for none."""
        self._ending = threading.Lock()
        """Held while Services are narrowed or it is decided that they are no more: upkeep works in another thread."""
        self.ended = False
        """Whether its end has begun."""

    # ---- in -------------------------------------------------------------------------------------------------------
    def begin(self) -> None:
        """Make the target ours, and the proxy pod. TargetError when the target is somebody else's by now.

        Both at once: the sooner there is a keeper, the less can be left behind by a laptop that dies now.
        """
        plan, cluster = self.plan, self._cluster
        self._record()
        reached("recorded")
        self._begun = True  # before it is: the answer may get lost
        try:
            root = create_root(cluster, plan.secret)
        except ApiError as error:
            self._begun = error.status >= 500  # else it was refused: there is nothing
            raise
        reached("rooted")
        guard = plan.guard
        _, refusal = cluster.gather(lambda: self._lease(root), lambda: create_account(cluster, root, guard))
        if refusal and guard:
            self._narrator.warn(f"the keeper gets no rights of its own: {refusal}")
            guard, self._is_guarded = replace(guard, binding=None), False
        reached("leased")
        cluster.gather(self._claim, lambda: create_proxy(cluster, root, plan.proxy.replica_set, guard))
        reached("created")

    def _lease(self, root: Object) -> None:
        if self.plan.lease:
            claim_lease(self._cluster, self.plan.lease, root, replacing=self.plan.replacing)

    def _claim(self) -> None:
        if self._target:
            self._target.claim(replacing=self.plan.replacing)

    def take(self, pod: str) -> None:
        """Have the cluster send to the proxy pod, which is Ready or about to be, and take the original out.

        What ends its waits (see ``signals``) leaves it as it is then: `undo` undoes that.
        """
        if self._target is None:
            return
        self.taken = True
        self._narrow(pod)
        reached("narrowed")
        self._take_out()
        self._forget_replaced(self._cluster)

    def _take_out(self) -> None:
        if self._target is None:
            return
        with self._signals.interruptible():
            self._signals.look()  # once more: from here on the original ends
        left = self._request.left
        workload = self._target.take_out(left, lambda record: self._record(record.render()))
        reached("scaled")
        if left == 0:
            with self._signals.interruptible():
                wait_until_out(self._cluster, workload, self._narrator)

    def _narrow(self, pod: str) -> None:
        services, cluster = self.plan.services, self._cluster
        selecting = (*services, *self.plan.unnarrowed)
        with self._signals.interruptible():
            # Services that are narrowed to a session that is replaced do not select our pod yet.
            listed = not self._replaced and traffic.wait_until_sent_to(cluster, selecting, [pod], self._narrator)
            # It may be slow to get Ready (a sidecar, a readiness gate), and endpoints may not be looked at. Where no
            # Service is narrowed they do not tell enough: there may be none, or they list pods that are not Ready, too.
            if not (listed and services):
                self._wait_until_ready()
        reached("listed")
        traffic.narrow(cluster, services, self.plan.session)
        with self._signals.interruptible():
            alone = traffic.wait_until_sent_to(cluster, services, [pod], self._narrator, alone=True)
        reached("alone")
        if selecting and (alone or not listed) and self._request.left is not None:
            traffic.settle(cluster)

    def _wait_until_ready(self) -> None:
        """Wait until the proxy pod is Ready. ClusterError says what keeps it from that; nothing was narrowed yet."""
        deadline = time.monotonic() + self._request.timeout
        proxy_pod(self._cluster, self.plan).wait_ready(deadline=deadline, on_progress=self._narrator.doing)

    def narrow_again(self, cluster: Cluster, services: Sequence[str]) -> None:
        """Narrow Services that somebody has widened; not any more once the end has begun. From any thread."""
        with self._ending:
            if not self.ended:
                traffic.narrow(cluster, services, self.plan.session)

    def record_again(self, cluster: Cluster) -> None:
        """Write the undo record that somebody took off the target; not any more once the end has begun."""
        with self._ending:
            if not self.ended and self._target:
                Target(cluster, self._target.record).record_again()

    @property
    def record(self) -> UndoRecord | None:
        """The undo record, as it should be on the target now."""
        return self._target.record if self._target else None

    def _forget_replaced(self, cluster: Cluster) -> None:
        """Remove what the session that was replaced had. Its record is ours by now, so nobody else finds it all."""
        if self._replaced:
            for_it = traffic.narrowed_services(cluster, self._replaced)
            traffic.widen(cluster, for_it, self._replaced)
            delete_objects(cluster, self._replaced)
            self._store.remove(self._replaced)
            self._replaced = ""

    def stand_ins(self) -> list[str]:
        """Return the addresses of the replicas of the original that are Ready."""
        workload = self._target.current() if self._target else None
        return addresses_of_original(self._cluster, workload) if workload else []

    # ---- out and in again, of a session that is kept ---------------------------------------------------------------
    def give_back(self, parting: Parting, *, meanwhile: Callable[[], object]) -> bool:
        """Have the original answer again, by way of the proxy pod; all else stays. Say whether it does.

        ``meanwhile`` is called while it starts.
        """
        if self._target is None or not self.taken:
            meanwhile()
            return True
        parting.hold()
        workload = self._target.take_out(None, lambda record: self._record(record.render()))
        meanwhile()
        reached("given back")
        back = wait_until_back(self._cluster, workload, self._narrator, self._signals, timeout=self._request.timeout)
        if back:
            parting.hand_over(addresses_of_original(self._cluster, workload))
        return back

    def take_again(self) -> None:
        """Take out the original that was given back: what comes goes to a process again, since just now."""
        self._take_out()

    # ---- and out --------------------------------------------------------------------------------------------------
    def undo(self, parting: Parting | None = None) -> None:
        """Undo all of it; once done, doing it again does nothing.

        ``parting``: what still hangs on the proxy pod. BridgeError when the cluster can't be reached; it says what will
        happen then.
        """
        if self._undone:
            return
        with self._ending:
            self.ended = True
        with self._saying_how_to_finish():
            if self._target and self._begun:
                self._put_back(self._target, parting)
            if self._begun:
                self._remove(parting)
            if self.plan.lease:
                release_lease(self._cluster.patient(PATIENCE), name_of(self.plan.lease), self.plan.session)
        self._store.remove(self.plan.session)
        self._undone = True

    def _put_back(self, target: Target, parting: Parting | None) -> None:
        self._signals.forget()
        patient = self._cluster.patient(PATIENCE)
        if self.taken:
            self._narrator.doing(f"putting {self.plan.target} back")
            if parting:
                parting.hold()
        ours = target.put_back(lost=self._lost_record())
        self._was_ours = self._was_ours or ours is not None
        reached("put back")
        workload = ours or (target.current() if self.taken else None)  # as somebody else has left it
        back = False
        if workload and is_anothers(workload, self.plan.session):
            if parting:
                parting.hand_over(addresses_of_others(patient, self.plan.services, self.plan.session))
        elif workload and (self.taken or self._replaced):  # that one may have left it swapped
            back = wait_until_back(
                self._cluster, workload, self._narrator, self._signals, timeout=self._request.timeout
            )
            if back and parting:
                parting.hand_over(addresses_of_original(self._cluster, workload))
        traffic.widen(patient, self.plan.services, self.plan.session)
        if self._was_ours:
            self._forget_replaced(patient)
        if back:
            proxies = name_of(self.plan.proxy.replica_set)
            traffic.wait_until_sent_to_others(self._cluster, self.plan.services, proxies, self._narrator)
        reached("widened")

    def _lost_record(self) -> UndoRecord | None:
        """Return the record that goes for the one on the target, should that be gone though the claim is ours."""
        return self.record if self.taken and self.is_claimed(self._cluster.patient(PATIENCE)) else None

    def is_claimed(self, cluster: Cluster) -> bool:
        """Tell whether something beside the record on the target says that nobody has ended this swap.

        Its Lease does. Where replicas were taken out, which who ends it puts back first, so does a Service that is
        narrowed to it; and where it has neither Lease nor Services, its ReplicaSet.
        """
        plan = self.plan
        claim = claim_of(cluster, name_of(plan.lease)) if plan.lease else None
        if claim and claim.session == plan.session:
            return True
        if self.record is None or not takes_out(self.record):
            return False
        if plan.lease or plan.services:
            return bool(traffic.narrowed_services(cluster, plan.session))
        return proxy_pod(cluster, plan).is_wanted()

    def _remove(self, parting: Parting | None) -> None:
        """Remove the objects. The proxy pod stays until we have let go of it: nothing of what comes is refused."""
        if parting:
            parting.begin()
        delete_objects(self._cluster.patient(PATIENCE), self.plan.session)
        if parting:
            parting.finish()
        wait_until_removed(self._cluster, self.plan.session, self._narrator)
        self._narrator.done("everything of this session is removed from the cluster")

    # ---- the record on disk ---------------------------------------------------------------------------------------
    def _record(self, undo: str | None = None) -> None:
        """Write what undoes this session to the disk."""
        self._store.write(self._local(undo))

    def _local(self, undo: str | None = None) -> LocalSession:
        plan = self.plan
        return LocalSession(
            session=plan.session,
            context=self._cluster.context,
            server=self._cluster.server,
            namespace=plan.namespace,
            target=plan.target or None,
            pid=os.getpid(),
            started=process_start(os.getpid()) or "",
            undo=undo or (plan.record.render() if plan.record else None),
            kubeconfig=self._request.where.kubeconfig,
            kept=self._kept,
        )

    @contextmanager
    def _saying_how_to_finish(self) -> Iterator[None]:
        """A restore that fails (the cluster is out of reach) ends with what finishes it."""
        try:
            yield
        except BridgeError as error:
            if isinstance(error, ApiError) and error.status == 404:
                return  # the namespace is gone, and all of it
            target = f" {self.plan.target}" if self.plan.target else ""
            raise type(error)(
                f"not everything could be put back: {error.message}",
                hint=f"{self._who_finishes()} from any machine: bridge restore{target} {self._local().where}",
                exit_code=error.exit_code,
            ) from error

    def _who_finishes(self) -> str:
        if self._is_guarded:
            return f"The keeper in the cluster does it after {self._request.grace:g} s; or,"
        return "When the cluster answers again,"

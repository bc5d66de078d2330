"""The Services of a target: narrowed to the proxy pod while it is swapped, and widened again.

    pod Ready in the endpoints -> Services narrowed -> nobody else in the endpoints -> nodes have followed -> (scale)

So the original gets no new connection before it is told to end: an application that dies at once on SIGTERM loses
nothing. Each arrow is waited for by looking at the EndpointSlices, which is what the nodes' kube-proxies follow.
Whether a node has followed nobody tells; ``SETTLE`` is for them, and costs the user nothing: the process answers
already.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.cluster.errors import ApiError, MissingRight, NotFound
from bridge.plan.services import narrow_patch, ready_pods
from bridge.wire.undo import narrowed_to, widen_patch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.cluster import Cluster
    from bridge.plan.objects import Object
    from bridge.session.narrator import Narrator

SLICES = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"
SEEN_WITHIN = 20.0
"""Seconds that the cluster may take to follow a change in its EndpointSlices."""
SETTLE = 2.0
"""Seconds for the nodes to follow the EndpointSlices: kube-proxy does so once a second at least (minSyncPeriod)."""


def narrow(cluster: Cluster, services: Sequence[str], session: str) -> None:
    """Have the Services select the session's proxy pod alone.

    A Service that is narrowed already was so by an earlier session of the target, which is ours now: that one is over.
    """

    def decide(service: Object) -> Object | None:
        return narrow_patch(service, session, replacing=narrowed_to(service))

    for name in services:
        _patched(cluster, name, decide)


def widen(cluster: Cluster, services: Sequence[str], session: str) -> None:
    """Have the Services select as before the session; what somebody else changed in them stays."""
    for name in services:
        _patched(cluster, name, lambda service: widen_patch(service, session))


def narrowed_services(cluster: Cluster, session: str) -> list[str]:
    """Return the Services that are narrowed to the session, whatever any record says."""
    return [
        str(service["metadata"]["name"])
        for service in cluster.list_(f"/api/v1/namespaces/{cluster.namespace}/services")
        if narrowed_to(service) == session
    ]


def wait_until_sent_to(
    cluster: Cluster, services: Sequence[str], pods: Sequence[str], narrator: Narrator, *, alone: bool = False
) -> bool:
    """Wait until each Service sends to these pods, ``alone`` or beside others; say whether it does by now."""
    wanted = frozenset(pods)

    def arrived(ready: frozenset[str]) -> bool:
        return ready == wanted if alone else wanted <= ready

    return _wait_for_endpoints(cluster, services, arrived, narrator)


def wait_until_sent_to_others(cluster: Cluster, services: Sequence[str], proxies: str, narrator: Narrator) -> bool:
    """Wait until each Service sends to others than the pods of the ReplicaSet ``proxies``; say whether it does by now.

    By its name, not the pod's: that one may have been replaced meanwhile.
    """

    def arrived(ready: frozenset[str]) -> bool:
        return any(not pod.startswith(f"{proxies}-") for pod in ready)

    return _wait_for_endpoints(cluster, services, arrived, narrator)


def settle(cluster: Cluster) -> None:
    """Give the nodes the time to follow."""
    cluster.transport.pause(SETTLE)


def _wait_for_endpoints(
    cluster: Cluster, services: Sequence[str], arrived: Callable[[frozenset[str]], bool], narrator: Narrator
) -> bool:
    if not services:
        return True
    waiting = f"waiting for the endpoints of {', '.join(services)}"
    selector = f"kubernetes.io/service-name in ({','.join(services)})"
    path = SLICES.format(cluster.namespace)
    try:
        for slices in cluster.follow(path, label_selector=selector, deadline=time.monotonic() + SEEN_WITHIN):
            if all(arrived(ready_pods(_of(name, slices))) for name in services):
                return True
            narrator.doing(waiting)
    except (MissingRight, ApiError):  # who may not look goes by the pod's own readiness
        return False
    return False


def _of(service: str, slices: dict[str, Object]) -> list[Object]:
    label = "kubernetes.io/service-name"
    return [item for item in slices.values() if (item["metadata"].get("labels") or {}).get(label) == service]


def _patched(cluster: Cluster, name: str, decide: Callable[[Object], Object | None]) -> None:
    with suppress(NotFound):  # a Service that is gone sends nobody anywhere
        cluster.revise(f"/api/v1/namespaces/{cluster.namespace}/services/{name}", decide, what=f"service/{name}")

"""From "the proxy pod was created" to "the tunnel stands", and there again when it was lost.

The first time: sshd answers before the pod's status says that it runs. So, once the pod has a node, the stream is tried
again and again, while the main thread looks now and then whether the cluster says why it can't come to be.

Again: one try, with short times and connections of its own (those of before may lead into a black hole); who calls
tries it again. The pod may be another one by now, made by the session's ReplicaSet.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bridge.cluster.pods import ProxyPod
from bridge.cluster.portforward import portforward_endpoint
from bridge.errors import ClusterError, TunnelError
from bridge.plan.objects import name_of
from bridge.session.lifeline import Over
from bridge.session.steps import reached
from bridge.session.tie import tie
from bridge.tunnel.ssh import Connection, connect
from bridge.tunnel.stream import StreamError

if TYPE_CHECKING:
    from bridge.cluster import Cluster
    from bridge.plan.endpoint import Endpoint
    from bridge.plan.objects import Object
    from bridge.session.intend import Plan
    from bridge.session.narrator import Narrator
    from bridge.session.tie import Ends, Tie
    from bridge.tunnel.keys import SessionKeys
    from bridge.tunnel.loop import EventLoop

TRY_EVERY = 0.05
"""Seconds between two tries: each is one small request to the API server, for about the second that a pod takes."""
LOOK_EVERY = 1.0
AGAIN_WITHIN = 3.0
"""Seconds for each step of a try to connect again: the next try may find the network back."""


def proxy_pod(cluster: Cluster, plan: Plan) -> ProxyPod:
    """Return what finds the session's proxy pod and waits for it."""
    replica_set = name_of(plan.proxy.replica_set)
    return ProxyPod(cluster, session=plan.session, replica_set=replica_set, container=plan.container)


def reach(
    cluster: Cluster, loop: EventLoop, plan: Plan, keys: SessionKeys, narrator: Narrator, *, deadline: float
) -> tuple[Object, Connection]:
    """Return the pod, as it got its node, and the connection. Raise ClusterError with what keeps the pod from running.

    ``deadline``: of time.monotonic().
    """
    proxy = proxy_pod(cluster, plan)
    pod = proxy.wait_for_node(deadline=deadline, on_progress=narrator.doing)
    reached("placed")
    attempt = loop.submit(_until_connected(portforward_endpoint(cluster, name_of(pod), plan.internal.ssh), keys))
    try:
        while time.monotonic() < deadline:
            try:
                connection = attempt.result(LOOK_EVERY)
            except TimeoutError:
                narrator.doing(proxy.look())
            else:
                reached("tunnelled")
                return pod, connection
        raise ClusterError("the proxy pod did not get to run in time", hint="Give it longer with --timeout.")
    finally:
        attempt.cancel()


async def _until_connected(endpoint: Endpoint, keys: SessionKeys) -> Connection:
    while True:
        try:
            return await connect(endpoint, keys)
        except TunnelError as error:
            if not (isinstance(error, StreamError) and error.passing):
                raise
        await asyncio.sleep(TRY_EVERY)


async def another_tie(cluster: Cluster, plan: Plan, ends: Ends, *, not_to: str = "") -> Tie:
    """Tie up to the session's pod again, or to its successor; ``not_to``: the name of one that is on its way out.

    Over when the session's objects are gone. BridgeError says why it can't be done now.
    """
    with cluster.anew(timeout=AGAIN_WITHIN) as fresh:
        pod, endpoint = await asyncio.to_thread(_where_now, fresh, plan, not_to)
        return await tie(pod, endpoint, ends, within=AGAIN_WITHIN)


async def another_connection(cluster: Cluster, plan: Plan, keys: SessionKeys, pod: str) -> Connection:
    """Connect once more to the pod that the session is tied to. BridgeError says why it can't be done now."""
    with cluster.anew(timeout=AGAIN_WITHIN) as fresh:
        endpoint = await asyncio.to_thread(portforward_endpoint, fresh, pod, plan.internal.ssh)
        return await connect(endpoint, keys, within=AGAIN_WITHIN)


def _where_now(cluster: Cluster, plan: Plan, not_to: str) -> tuple[str, Endpoint]:
    proxy = proxy_pod(cluster, plan)
    pod = proxy.current(besides=not_to)
    if pod is None and not proxy.is_wanted():
        raise Over("its objects are gone")
    if pod is None or not pod["spec"].get("nodeName"):
        raise ClusterError("the proxy pod is being made anew")
    return name_of(pod), portforward_endpoint(cluster, name_of(pod), plan.internal.ssh)

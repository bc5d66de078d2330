"""``bridge run``, told in order.

    examine     what is there, what is allowed, what is in the way      nothing is changed
    intend      the objects to create, the undo record                  pure
    act         record -> proxy pod -> tunnel -> sandbox -> process -> proxy Ready -> original out
    supervise   until the process ends
    put back    original in and Ready -> proxy pod gone -> record gone  on every way out

The sandbox and the event loop start first, and get ready while the cluster answers.
"""

from __future__ import annotations

import os
import secrets
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.cluster import connect
from bridge.cluster.errors import Rejected, Rejection
from bridge.cluster.pods import ask_admission
from bridge.laptop.process import check_command
from bridge.laptop.sandbox import sandbox
from bridge.logs import register_secret
from bridge.plan.names import ID_BYTES, session_id
from bridge.session.examine import examine, original_environment
from bridge.session.intend import Credentials, intend
from bridge.session.signals import Signals
from bridge.session.store import this_laptops_store
from bridge.tunnel.loop import EventLoop

if TYPE_CHECKING:
    from bridge.cluster import Cluster
    from bridge.session.act import Around
    from bridge.session.intend import Plan, Situation
    from bridge.session.narrator import Narrator
    from bridge.session.request import RunRequest
    from bridge.tunnel.keys import SessionKeys


def run(request: RunRequest, narrator: Narrator) -> int:
    """Run the command in the cluster's place; return its exit code."""
    check_command(request.command, os.environ, str(Path.cwd()))
    where, store = request.where, this_laptops_store()
    with Signals() as signals, sandbox() as box, EventLoop() as loop:
        loop.call(_import_action)
        with connect(kubeconfig=where.kubeconfig, context=where.context, namespace=where.namespace) as cluster:
            with signals.interruptible():
                situation = examine(cluster, request, narrator)
            box.ready()  # it had the time; a laptop that can't have one is told before anything changes
            from bridge.session.act import Around

            around = Around(request=request, narrator=narrator, signals=signals, box=box, loop=loop, store=store)
            return _session(around, cluster, situation)


def _import_action() -> None:
    """Import what the tunnel needs, in the loop's thread, while the main thread waits for the API server."""
    import bridge.session.act
    import bridge.tunnel.keys  # noqa: F401


def _session(around: Around, cluster: Cluster, situation: Situation) -> int:
    from bridge.session.act import Action
    from bridge.tunnel.keys import make_session_keys

    keys, token = make_session_keys(), secrets.token_urlsafe(32)
    register_secret(token, keys.host_private, keys.client_private)
    plan = _plan(around, cluster, situation, keys, token)
    for note in plan.notes:
        around.narrator.note(note)
    action = Action(around, cluster, plan, keys, token)
    with action.claimed(), action.proxied():
        of_image = _of_image(around, cluster, situation, plan)  # while the proxy pod starts
        with action.connected() as (connection, keeper), action.joined(connection, keeper):
            return action.run(keeper.report, of_image)


def _plan(around: Around, cluster: Cluster, situation: Situation, keys: SessionKeys, token: str) -> Plan:
    """Return the plan that the cluster's admission agrees with; raise what it says to that, before anything changes."""
    credentials = Credentials(host_key=keys.host_private, authorized_keys=keys.client_public, token=token)
    decide = partial(
        intend, around.request, situation, session=session_id(secrets.token_bytes(ID_BYTES)), credentials=credentials
    )
    plan = decide()
    if not situation.may("create", "pods"):
        return plan
    with around.signals.interruptible():
        try:
            ask_admission(cluster, plan.proxy.replica_set)
        except Rejected as error:
            if error.by is not Rejection.LIMIT_RANGE or situation.workload is None:
                raise
            plan = decide(keep_resources=True)
            ask_admission(cluster, plan.proxy.replica_set)
    return plan


def _of_image(around: Around, cluster: Cluster, situation: Situation, plan: Plan) -> bytes | None:
    """Return the running original's environment: only there is what its image sets."""
    if situation.workload is None:
        return None
    if not situation.may("create", "pods/exec"):
        around.narrator.note("what the image sets in the environment is not known: pods/exec is not allowed")
        return None
    with around.signals.interruptible():
        return original_environment(cluster, situation.workload, plan.container, around.narrator)

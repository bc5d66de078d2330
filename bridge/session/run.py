"""``bridge run``, told in order.

    examine     what is there, what is allowed, what is in the way      nothing is changed
    intend      the objects to create, the undo record                  pure
    act         record -> proxy pod -> tunnel -> sandbox -> process -> proxy Ready -> Services narrowed -> original out
    supervise   until the process ends; the tunnel is mended, and the swap begun anew, as often as it takes
    put back    original in and Ready -> Services widened -> proxy pod gone         on every way out

The sandbox and the event loop start first, and get ready while the cluster answers.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from bridge.cluster import connect
from bridge.cluster.errors import Rejected, Rejection
from bridge.cluster.pods import ask_admission
from bridge.laptop.command import check_command, working_directory
from bridge.laptop.sandbox import sandbox
from bridge.logs import register_secret
from bridge.plan.names import ID_BYTES, session_id
from bridge.plan.protection import Protection
from bridge.session.examine import examine, original_environment
from bridge.session.housekeeping import clear_up
from bridge.session.intend import Credentials, intend
from bridge.session.kept import make_way
from bridge.session.outside import clear_up as clear_up_outside
from bridge.session.outside import outside
from bridge.session.signals import Signals
from bridge.session.steps import reached
from bridge.session.store import this_laptops_store
from bridge.session.watching import watched
from bridge.tunnel.loop import EventLoop

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.session.act import Action, Around
    from bridge.session.facing import Facing
    from bridge.session.intend import Plan, Situation
    from bridge.session.narrator import Narrator
    from bridge.session.request import RunRequest
    from bridge.session.swap import Means, Swap
    from bridge.tunnel.keys import SessionKeys


def run(request: RunRequest, narrator: Narrator, facing: Facing | None = None) -> int:
    """Run the command in the cluster's place; return its exit code. Without a command: until it is told to end.

    ``facing``: the bridge at the terminal, of a session that is kept after the command has ended (see ``keeping``).
    """
    reached("called")
    cwd = working_directory()
    if request.command:
        check_command(request.command, os.environ, cwd)
    where = request.where
    clear_up_outside()
    with Signals() as signals, outside(request.mount_at) as at, sandbox() as box, EventLoop() as loop:
        loop.call(_import_action)
        if facing:
            loop.call(facing.listen)
        with connect(
            kubeconfig=where.kubeconfig, context=where.context, namespace=where.namespace, between=signals.look
        ) as cluster:
            with signals.interruptible():
                make_way(cluster, request, narrator)
                situation = examine(cluster, request, narrator)
                clear_up(cluster)
            reached("examined")
            box.ready()  # it had the time; a laptop that can't have one is told before anything changes
            reached("boxed")
            from bridge.session.act import Around
            from bridge.session.swap import Means

            around = Around(request=request, narrator=narrator, signals=signals, box=box, loop=loop, outside=at)
            means = Means(
                request=request,
                cluster=cluster,
                narrator=narrator,
                signals=signals,
                store=this_laptops_store(),
                kept=facing.key if facing else "",
            )
            return _session(around, means, situation, facing)


def _import_action() -> None:
    """Import what the tunnel needs, in the loop's thread, while the main thread waits for the API server."""
    import bridge.session.act
    import bridge.tunnel.keys  # noqa: F401


def _session(around: Around, means: Means, situation: Situation, facing: Facing | None) -> int:
    from bridge.session.act import Action

    first = [situation]  # a later swap looks for itself

    def new_swap() -> Swap:
        # --takeover was for the first: two that may both take would take the target from each other for ever.
        if first:
            return _new_swap(means, first.pop())
        with means.signals.interruptible():
            there = examine(means.cluster, replace(means.request, takeover=False), means.narrator)
        return _new_swap(means, there)

    action = Action(around, means, new_swap) if facing is None else _kept(around, means, new_swap, facing)
    reached("planned")
    with watched(means.narrator), action.swapped():
        of_image = _of_image(means, situation, action.container)  # while the proxy pod starts
        reached("imaged")
        with action.tied() as report:
            return action.run(report, of_image)


def _kept(around: Around, means: Means, new_swap: Callable[[], Swap], facing: Facing) -> Action:
    from bridge.session.keeping import Kept

    return Kept(around, means, new_swap, facing)


def _new_swap(means: Means, situation: Situation) -> Swap:
    """Decide on a swap; say what is to be known about it."""
    from bridge.session.swap import Swap
    from bridge.tunnel.keys import make_session_keys

    keys, token = make_session_keys(), secrets.token_urlsafe(32)
    register_secret(token, keys.host_private, keys.client_private)
    plan = _plan(means, situation, keys, token)
    for note in plan.notes:
        means.narrator.note(note)
    if plan.protection is Protection.WATCHDOG:
        means.narrator.note(
            "protection: watchdog (puts the original back if bridge is killed). You may not create roles here, so if "
            "this laptop is gone nobody does: then run `bridge restore`, or have `bridge install` run beforehand"
        )
    return Swap(means, plan, keys, token)


def _plan(means: Means, situation: Situation, keys: SessionKeys, token: str) -> Plan:
    """Return the plan that the cluster's admission agrees with; raise what it says to that, before anything changes."""
    credentials = Credentials(host_key=keys.host_private, authorized_keys=keys.client_public, token=token)
    decide = partial(
        intend, means.request, situation, session=session_id(secrets.token_bytes(ID_BYTES)), credentials=credentials
    )
    plan = decide()
    if not situation.may("create", "pods"):
        return plan
    with means.signals.interruptible():
        try:
            ask_admission(means.cluster, plan.proxy.replica_set)
        except Rejected as error:
            if error.by is not Rejection.LIMIT_RANGE or situation.workload is None:
                raise
            plan = decide(keep_resources=True)
            ask_admission(means.cluster, plan.proxy.replica_set)
    return plan


def _of_image(means: Means, situation: Situation, container: str) -> bytes | None:
    """Return the running original's environment: only there is what its image sets."""
    if situation.workload is None:
        return None
    if not situation.may("create", "pods/exec"):
        means.narrator.note("what the image sets in the environment is not known: pods/exec is not allowed")
        return None
    with means.signals.interruptible():
        return original_environment(means.cluster, situation.workload, container, means.narrator)

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
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.cluster import connect
from bridge.cluster.pods import ask_admission
from bridge.errors import BridgeError
from bridge.laptop.process import check_command
from bridge.laptop.sandbox import sandbox
from bridge.laptop.settings import NetworkSettings
from bridge.logs import register_secret
from bridge.paths import state_directory
from bridge.plan.environment import SessionIdentity, cluster_environment, process_environment
from bridge.plan.names import ID_BYTES, session_id
from bridge.session.changes import Target, create_objects, remove_objects, wait_until_back, wait_until_out
from bridge.session.envfiles import write_environment
from bridge.session.examine import examine, original_environment
from bridge.session.inbox import Exited, Inbox, SignalCame
from bridge.session.intend import Credentials, intend
from bridge.session.readiness import Readiness
from bridge.session.signals import Signals
from bridge.session.store import LocalSession, Store, process_start
from bridge.session.supervise import supervise, wait_until_ready
from bridge.tunnel.loop import EventLoop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.cluster import Cluster
    from bridge.laptop.process import Process
    from bridge.laptop.sandbox import Sandbox
    from bridge.session.intend import Plan, Situation
    from bridge.session.narrator import Narrator
    from bridge.session.request import RunRequest
    from bridge.tunnel.keeper import Keeper
    from bridge.tunnel.keys import SessionKeys
    from bridge.tunnel.ssh import Connection
    from bridge.wire.messages import Report

KEEPER_ANSWERS = 10.0
"""Seconds that the keeper may take to its first answer: it was up before sshd was."""
SLOW_TO_ACCEPT = 10.0
"""Seconds after which a process that does not accept is remarked on."""


def run(request: RunRequest, narrator: Narrator) -> int:
    """Run the command in the cluster's place; return its exit code."""
    check_command(request.command, os.environ, str(Path.cwd()))
    with Signals() as signals, sandbox() as box, EventLoop() as loop:
        loop.call(_import_tunnel)
        return Session(request, narrator, signals, box, loop).run()


def _import_tunnel() -> None:
    """Import what the tunnel needs, in the loop's thread, while the main thread waits for the API server."""
    import bridge.session.joined
    import bridge.session.reach  # noqa: F401


class Session:
    """One session, from its first look at the cluster to the last object removed."""

    def __init__(
        self, request: RunRequest, narrator: Narrator, signals: Signals, box: Sandbox, loop: EventLoop
    ) -> None:
        self._request = request
        self._narrator = narrator
        self._signals = signals
        self._box = box
        self._loop = loop
        self._inbox = Inbox()
        self._store = Store(state_directory(os.environ) / "sessions")

    def run(self) -> int:
        """Tell the whole story; return the process's exit code."""
        where = self._request.where
        cluster = connect(kubeconfig=where.kubeconfig, context=where.context, namespace=where.namespace)
        with self._signals.interruptible():
            situation = examine(cluster, self._request, self._narrator)
        from bridge.tunnel.keys import make_session_keys

        keys, token = make_session_keys(), secrets.token_urlsafe(32)
        register_secret(token, keys.host_private, keys.client_private)
        plan = intend(
            self._request,
            situation,
            session=session_id(secrets.token_bytes(ID_BYTES)),
            credentials=Credentials(host_key=keys.host_private, authorized_keys=keys.client_public, token=token),
        )
        for note in plan.notes:
            self._narrator.note(note)
        if situation.may("create", "pods"):
            with self._signals.interruptible():
                ask_admission(cluster, plan.proxy.replica_set)
        readiness = Readiness(self._box, plan.ports, self._inbox)
        with self._claimed(cluster, plan) as target, self._proxied(cluster, plan):
            of_image = self._of_image(cluster, situation, plan)  # while the proxy pod starts
            with (
                self._connected(cluster, plan, keys, token, readiness) as (connection, keeper),
                self._joined(plan, connection, keeper),
            ):
                process = self._start(cluster, plan, keeper.report, of_image)
                self._loop.call(readiness.process_started)
                return self._run(cluster, plan, target, process)

    # ---- what is opened, each with its way back -------------------------------------------------------------------
    @contextmanager
    def _claimed(self, cluster: Cluster, plan: Plan) -> Iterator[Target | None]:
        """The undo record, on disk and on the target; at the end the target is back, and the record gone."""
        self._store.write(self._local(cluster, plan))
        target = Target(cluster, plan.record) if plan.record else None
        try:
            if target:
                target.claim(replacing=plan.replacing)
            if plan.replacing:
                remove_objects(cluster, plan.replacing, self._narrator)
                self._store.remove(plan.replacing)
            yield target
        finally:
            with _saying_how_to_finish(cluster, plan):
                if target:
                    target.put_back()
            self._store.remove(plan.session)

    @contextmanager
    def _proxied(self, cluster: Cluster, plan: Plan) -> Iterator[None]:
        """The proxy pod."""
        try:
            create_objects(cluster, plan.secret, plan.proxy.replica_set)
            yield
        finally:
            with _saying_how_to_finish(cluster, plan):
                remove_objects(cluster, plan.session, self._narrator)
            self._narrator.done("everything of this session is removed from the cluster")

    @contextmanager
    def _connected(
        self, cluster: Cluster, plan: Plan, keys: SessionKeys, token: str, readiness: Readiness
    ) -> Iterator[tuple[Connection, Keeper]]:
        """The tunnel to the proxy pod, and the keeper at its end."""
        from bridge.session.reach import reach
        from bridge.tunnel.keeper import open_keeper

        self._narrator.doing(f"starting the proxy pod ({self._request.image})")
        deadline = time.monotonic() + self._request.timeout
        with self._signals.interruptible():
            pod, connection = reach(cluster, self._loop, plan, keys, self._narrator, deadline=deadline)
        try:
            dial = connection.create_connection
            keeper = self._loop.run(
                open_keeper(dial, plan.internal.keeper, token, is_ready=readiness.answer), timeout=KEEPER_ANSWERS
            )
            self._narrator.done(f"connected to the proxy pod {pod}")
            yield connection, keeper
        finally:
            self._loop.run(_closed(connection))

    @contextmanager
    def _joined(self, plan: Plan, connection: Connection, keeper: Keeper) -> Iterator[None]:
        """The relays between laptop and pod."""
        from bridge.session.joined import Joined

        network = self._network(keeper.report)
        self._box.apply(network)
        joined = Joined(self._box, connection, network, ports=plan.ports, inbox=self._inbox, narrator=self._narrator)
        try:
            self._loop.run(joined.open())
            yield
        finally:
            self._loop.run(joined.close())

    @contextmanager
    def _taken_out(self, cluster: Cluster, plan: Plan, target: Target | None) -> Iterator[None]:
        """The original out of the way; at the end back, and waited for until it is Ready."""
        if target is None:
            yield
            return
        try:
            workload = target.take_out(lambda record: self._store.write(self._local(cluster, plan, record.render())))
            wait_until_out(cluster, workload, self._narrator)
            where = f" -> laptop port {', '.join(map(str, plan.ports))}" if plan.ports else ""
            self._narrator.done(f"{plan.target} is now answered by this laptop{where}")
            yield
        finally:
            self._signals.forget()
            self._narrator.doing(f"putting {plan.target} back")
            with _saying_how_to_finish(cluster, plan):
                restored = target.put_back()
            if restored:
                wait_until_back(cluster, restored, self._narrator, self._signals, timeout=self._request.timeout)

    # ---- the process ----------------------------------------------------------------------------------------------
    def _run(self, cluster: Cluster, plan: Plan, target: Target | None, process: Process) -> int:
        at_terminal = _at_terminal()
        with self._signals.delivered_to(lambda number: self._inbox.put(SignalCame(number))):
            ended = wait_until_ready(
                process, self._inbox, self._narrator, at_terminal=at_terminal, patience=SLOW_TO_ACCEPT
            )
        if ended is not None:
            return self._ended(ended)
        with self._taken_out(cluster, plan, target):
            with self._signals.delivered_to(lambda number: self._inbox.put(SignalCame(number))):
                code = supervise(process, self._inbox, self._narrator, at_terminal=at_terminal)
            return self._ended(code)

    def _of_image(self, cluster: Cluster, situation: Situation, plan: Plan) -> bytes | None:
        if situation.workload is None:
            return None
        if not situation.may("create", "pods/exec"):
            self._narrator.note("what the image sets in the environment is not known: pods/exec is not allowed")
            return None
        with self._signals.interruptible():
            return original_environment(cluster, situation.workload, plan.container, self._narrator)

    def _start(self, cluster: Cluster, plan: Plan, report: Report, of_image: bytes | None) -> Process:
        identity = SessionIdentity(
            session=plan.session, namespace=plan.namespace, context=cluster.context, target=plan.target
        )
        variables = cluster_environment(report.environ, of_image, os.environb)
        write_environment(self._request, variables, self._narrator)
        environment = process_environment(os.environb, report.environ, of_image, identity)
        process = self._box.start(self._request.command, environment, str(Path.cwd()))
        self._loop.submit(self._watch(process))
        self._narrator.done(f"started {self._request.command[0]} (pid {process.pid})")
        return process

    async def _watch(self, process: Process) -> None:
        try:
            code = (await process.exited()).exit_code
        except BridgeError as error:
            self._narrator.warn(error.message)
            code = 137
        self._inbox.put(Exited(code))

    def _ended(self, code: int) -> int:
        self._narrator.done(f"the process has ended (exit code {code})")
        return code

    # ---- small things ---------------------------------------------------------------------------------------------
    def _network(self, report: Report) -> NetworkSettings:
        return NetworkSettings.of_pod(
            resolv_conf=report.resolv_conf,
            hosts=report.hosts,
            pod_ips=report.pod_ips,
            pod_ports=report.listening,
            laptop_name=os.uname().nodename,
        )

    def _local(self, cluster: Cluster, plan: Plan, undo: str | None = None) -> LocalSession:
        return LocalSession(
            session=plan.session,
            context=cluster.context,
            server=cluster.server,
            namespace=plan.namespace,
            target=plan.target or None,
            pid=os.getpid(),
            started=process_start(os.getpid()) or "",
            undo=undo or (plan.record.render() if plan.record else None),
        )


async def _closed(connection: Connection) -> None:
    connection.close()
    await connection.closed


@contextmanager
def _saying_how_to_finish(cluster: Cluster, plan: Plan) -> Iterator[None]:
    """A restore that fails (the cluster is out of reach) ends with the command that finishes it."""
    try:
        yield
    except BridgeError as error:
        name = f" {plan.target}" if plan.target else ""
        command = f"bridge restore{name} --namespace {plan.namespace} --context {cluster.context}"
        raise type(error)(
            f"not everything could be put back: {error.message}",
            hint=f"When the cluster answers again, from any machine: {command}",
            exit_code=error.exit_code,
        ) from error


def _at_terminal() -> bool:
    """Whether bridge is in the foreground of a terminal, which then sends Ctrl-C to the process as well."""
    try:
        descriptor = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(descriptor)

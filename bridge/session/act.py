"""The action: what a session opens, each as a context manager that undoes it on every way out.

claimed      the undo record, on disk, then on the target     the target put back, the record gone
proxied      Secret and ReplicaSet: the proxy pod             deleted, and waited for
connected    the tunnel, and the keeper at its end            closed
joined       the relays between laptop and pod                closed; what is open is reset
taken_out    the original's replicas set to 0                 put back, and waited for until Ready
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import BridgeError
from bridge.laptop.settings import NetworkSettings
from bridge.plan.environment import SessionIdentity, cluster_environment, process_environment
from bridge.session.changes import (
    Target,
    address_of_original,
    create_objects,
    remove_objects,
    wait_until_back,
    wait_until_out,
)
from bridge.session.envfiles import write_environment
from bridge.session.inbox import Exited, Inbox, SignalCame
from bridge.session.joined import Joined
from bridge.session.reach import reach
from bridge.session.readiness import Readiness
from bridge.session.store import LocalSession, Store, process_start
from bridge.session.supervise import supervise, wait_until_ready
from bridge.tunnel.keeper import open_keeper

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.cluster import Cluster
    from bridge.laptop.process import Process
    from bridge.laptop.sandbox import Sandbox
    from bridge.plan.objects import Object
    from bridge.session.intend import Plan
    from bridge.session.narrator import Narrator
    from bridge.session.request import RunRequest
    from bridge.session.signals import Signals
    from bridge.tunnel.keeper import Keeper
    from bridge.tunnel.keys import SessionKeys
    from bridge.tunnel.loop import EventLoop
    from bridge.tunnel.ssh import Connection
    from bridge.wire.messages import Report

KEEPER_ANSWERS = 10.0
"""Seconds that the keeper may take to its first answer: it was up before sshd was."""
SLOW_TO_ACCEPT = 10.0
"""Seconds after which a process that does not accept is remarked on."""


@dataclass(frozen=True, kw_only=True)
class Around:
    """What a session has around it from its first moment: the terminal's side, and this laptop's."""

    request: RunRequest
    narrator: Narrator
    signals: Signals
    box: Sandbox
    loop: EventLoop
    store: Store


class Action:
    """One session, from the first change to the last one undone."""

    def __init__(self, around: Around, cluster: Cluster, plan: Plan, keys: SessionKeys, token: str) -> None:
        self._request = around.request
        self._narrator = around.narrator
        self._signals = around.signals
        self._box = around.box
        self._loop = around.loop
        self._store = around.store
        self._cluster = cluster
        self._plan = plan
        self._keys = keys
        self._token = token
        self._target = Target(cluster, plan.record) if plan.record else None
        self._inbox = Inbox()
        self._readiness = Readiness(self._box, plan.ports, self._inbox)
        self._relays: Joined | None = None

    # ---- what is opened, each with its way back -------------------------------------------------------------------
    @contextmanager
    def claimed(self) -> Iterator[None]:
        """The undo record, on disk and on the target; at the end the target is back, and the record gone."""
        self._record()
        try:
            if self._target:
                self._target.claim(replacing=self._plan.replacing)
            if self._plan.replacing:
                remove_objects(self._cluster, self._plan.replacing, self._narrator)
                self._store.remove(self._plan.replacing)
            yield
        finally:
            self._put_back()
            self._store.remove(self._plan.session)

    @contextmanager
    def proxied(self) -> Iterator[None]:
        """The proxy pod."""
        try:
            create_objects(self._cluster, self._plan.secret, self._plan.proxy.replica_set)
            yield
        finally:
            with self._saying_how_to_finish():
                remove_objects(self._cluster, self._plan.session, self._narrator)
            self._narrator.done("everything of this session is removed from the cluster")

    @contextmanager
    def connected(self) -> Iterator[tuple[Connection, Keeper]]:
        """The tunnel to the proxy pod, and the keeper at its end."""
        self._narrator.doing(f"starting the proxy pod ({self._request.image})")
        deadline = time.monotonic() + self._request.timeout
        with self._signals.interruptible():
            pod, connection = reach(
                self._cluster, self._loop, self._plan, self._keys, self._narrator, deadline=deadline
            )
        try:
            keeper = self._loop.run(self._keeper(connection), timeout=KEEPER_ANSWERS)
            self._narrator.done(f"connected to the proxy pod {pod}")
            yield connection, keeper
        finally:
            self._loop.run(_closed(connection))

    @contextmanager
    def joined(self, connection: Connection, keeper: Keeper) -> Iterator[None]:
        """The relays between laptop and pod."""
        network = _network(keeper.report)
        self._box.apply(network)
        joined = Joined(
            self._box, connection, keeper, network, ports=self._plan.ports, inbox=self._inbox, narrator=self._narrator
        )
        self._relays = joined
        try:
            self._loop.run(joined.open())
            yield
        finally:
            self._loop.run(joined.close())

    @contextmanager
    def taken_out(self) -> Iterator[None]:
        """The original out of the way; at the end back, and waited for until it is Ready."""
        if self._target is None:
            yield
            return
        name = self._plan.target
        try:
            workload = self._target.take_out(lambda record: self._record(record.render()))
            wait_until_out(self._cluster, workload, self._narrator)
            where = f" -> laptop port {', '.join(map(str, self._plan.ports))}" if self._plan.ports else ""
            self._narrator.done(f"{name} is now answered by this laptop{where}")
            yield
        finally:
            self._signals.forget()
            self._narrator.doing(f"putting {name} back")
            restored = self._put_back()
            if restored and wait_until_back(
                self._cluster, restored, self._narrator, self._signals, timeout=self._request.timeout
            ):
                self._hand_over(restored)

    def _hand_over(self, workload: Object) -> None:
        """Remove the proxy pod while the tunnel still stands, and what it gets meanwhile goes to the original.

        Services stop sending to a pod only some time after it was deleted: nothing of that may be refused.
        """
        with self._saying_how_to_finish():
            address = address_of_original(self._cluster, workload)
            if address and self._relays:
                self._loop.call(self._relays.hand_over, address)
                remove_objects(self._cluster, self._plan.session, self._narrator)

    # ---- the process ----------------------------------------------------------------------------------------------
    def run(self, report: Report, of_image: bytes | None) -> int:
        """Start the process, take the original out when it accepts, and return its exit code when it has ended."""
        process = self._start(report, of_image)
        at_terminal = _at_terminal()
        with self._signals_delivered():
            ended = wait_until_ready(
                process, self._inbox, self._narrator, at_terminal=at_terminal, patience=SLOW_TO_ACCEPT
            )
        if ended is not None:
            return self._ended(ended)
        with self.taken_out():
            with self._signals_delivered():
                code = supervise(process, self._inbox, self._narrator, at_terminal=at_terminal)
            return self._ended(code)

    def _start(self, report: Report, of_image: bytes | None) -> Process:
        variables = cluster_environment(report.environ, of_image, os.environb)
        write_environment(self._request, variables, self._narrator)
        environment = process_environment(os.environb, report.environ, of_image, self._identity())
        process = self._box.start(self._request.command, environment, str(Path.cwd()))
        self._loop.submit(self._watch(process))
        self._loop.call(self._readiness.process_started)
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
    async def _keeper(self, connection: Connection) -> Keeper:
        return await open_keeper(
            connection.create_connection, self._plan.internal.keeper, self._token, is_ready=self._readiness.answer
        )

    def _put_back(self) -> Object | None:
        """Put the target back, if there is one and it is still ours; safe to do twice."""
        with self._saying_how_to_finish():
            return self._target.put_back() if self._target else None

    def _record(self, undo: str | None = None) -> None:
        """Write what undoes this session to the disk."""
        local = LocalSession(
            session=self._plan.session,
            context=self._cluster.context,
            server=self._cluster.server,
            namespace=self._plan.namespace,
            target=self._plan.target or None,
            pid=os.getpid(),
            started=process_start(os.getpid()) or "",
            undo=undo or (self._plan.record.render() if self._plan.record else None),
        )
        self._store.write(local)

    def _identity(self) -> SessionIdentity:
        plan = self._plan
        return SessionIdentity(
            session=plan.session, namespace=plan.namespace, context=self._cluster.context, target=plan.target
        )

    @contextmanager
    def _signals_delivered(self) -> Iterator[None]:
        with self._signals.delivered_to(lambda number: self._inbox.put(SignalCame(number))):
            yield

    @contextmanager
    def _saying_how_to_finish(self) -> Iterator[None]:
        """A restore that fails (the cluster is out of reach) ends with the command that finishes it."""
        try:
            yield
        except BridgeError as error:
            target = f" {self._plan.target}" if self._plan.target else ""
            where = f"--namespace {self._plan.namespace} --context {self._cluster.context}"
            raise type(error)(
                f"not everything could be put back: {error.message}",
                hint=f"When the cluster answers again, from any machine: bridge restore{target} {where}",
                exit_code=error.exit_code,
            ) from error


def _network(report: Report) -> NetworkSettings:
    return NetworkSettings.of_pod(
        resolv_conf=report.resolv_conf,
        hosts=report.hosts,
        pod_ips=report.pod_ips,
        pod_ports=report.listening,
        laptop_name=os.uname().nodename,
    )


async def _closed(connection: Connection) -> None:
    connection.close()
    await connection.closed


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

"""The action: what a session opens, each as a context manager that undoes it on every way out.

swapped      the claim, the proxy pod, and the original taken out     all undone, see ``swap``
tied         the tunnel, and the relays between laptop and pod        closed; what is open is reset
running      the process                                              ended with the sandbox

The swap may be another one at the end than at the beginning: when the laptop was away for longer than the grace time,
the keeper has put the original back, and the session swaps again, under the same process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bridge.errors import BridgeError
from bridge.laptop.settings import NetworkSettings
from bridge.plan.environment import SessionIdentity, cluster_environment, process_environment
from bridge.plan.mounts import mounts_of
from bridge.plan.objects import name_of
from bridge.session.advice import Advice
from bridge.session.answering import NoProcess, OwnProcess
from bridge.session.door import Door
from bridge.session.envfiles import write_environment
from bridge.session.foreground import in_foreground
from bridge.session.guarding import Guarding
from bridge.session.inbox import Inbox, SessionOver, SignalCame
from bridge.session.joined import Joined
from bridge.session.leaving import Leaving
from bridge.session.lifeline import Lifeline
from bridge.session.local import Status, serving
from bridge.session.reach import another_connection, another_tie, reach
from bridge.session.readiness import Readiness
from bridge.session.reload import Reloaded, Surroundings
from bridge.session.requests import Requests
from bridge.session.steps import reached
from bridge.session.supervise import ProcessEnding, Supervision
from bridge.session.terminal import agrees
from bridge.session.tie import Ends, finish
from bridge.session.upkeep import Upkeep
from bridge.session.volumes import Volumes
from bridge.session.wanted import Wanted
from bridge.tunnel.line import Line
from bridge.tunnel.reading import Pause, Reading

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from bridge.laptop.sandbox import Sandbox
    from bridge.plan.objects import Object
    from bridge.session.answering import Answering
    from bridge.session.narrator import Narrator
    from bridge.session.outside import Outside
    from bridge.session.request import RunRequest
    from bridge.session.signals import Signals
    from bridge.session.swap import Means, Swap
    from bridge.session.tie import Tie
    from bridge.tunnel.keeper import Keeper
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
    outside: Outside | None = None
    """Where the pod's files are for programs outside of the sandbox, if anywhere."""


class Action:
    """One session, from the first change to the last one undone."""

    def __init__(self, around: Around, means: Means, new_swap: Callable[[], Swap]) -> None:
        self._request = around.request
        self._narrator = around.narrator
        self._signals = around.signals
        self._box = around.box
        self._loop = around.loop
        self._cluster = means.cluster
        self._new_swap = new_swap
        self._swap = new_swap()
        self._inbox = Inbox()
        self._door = Door(self._box)
        self._began = time.monotonic()
        self._wanted = Wanted(self._swap.plan.ports)
        self._requests = Requests(self._narrator, always=self._request.log_requests)
        self._pause = Pause()
        self._advice = Advice(
            self._wanted,
            self._narrator,
            who="the process" if self._request.command else "a program",
            may_ask=self._may_ask,
        )
        self._guarding = Guarding(
            self._inbox,
            self._narrator,
            self._request.grace,
            taken=self._is_taken,
            has_target=self._request.target is not None,
        )
        self._guarding.begin(self._swap.plan.session)
        self._line = self._loop.run(_made(Line))
        self._joined = Joined(
            self._box,
            self._line,
            self._wanted,
            self._advice,
            hold=self._request.hold,
            outside=not self._request.command,
            narrator=self._narrator,
            reading=self._reading(),
        )
        self._readiness = Readiness(self._request.probe, self._joined.servers, self._wanted, self._inbox)
        self._lifeline = Lifeline(self._line, self._another, self._is_over, self._narrator)
        self._answering = self._who_answers()
        self._answers = False
        """Whether what comes from the cluster goes to what answers here."""
        self._leaving = Leaving(self._loop, self._line, self._lifeline, self._joined, self._readiness)
        self._volumes = Volumes(
            self._box,
            self._loop,
            self._line,
            self._narrator,
            mode=self._request.mount,
            limit=self._request.copy_limit,
            ask=partial(agrees, enter_agrees=False),
            outside=around.outside,
        )
        self._upkeep = Upkeep(
            self._cluster,
            lambda: self._swap,
            renews=lambda: not self._guarding.armed,
            over=self._is_over,
            looks=self._is_looked_at,
            stands_in=self._stands_in,
            stand_ins=self._joined.use_stand_ins,
            other=self._is_other,
            narrator=self._narrator,
        )

    @property
    def container(self) -> str:
        """The container whose place the process takes."""
        return self._swap.plan.container

    # ---- what is opened, each with its way back -------------------------------------------------------------------
    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The claim and the proxy pod; at the end everything is undone, and the original is Ready."""
        upkeep = self._loop.submit(self._upkeep.run(grace=self._request.grace))
        socket = self._loop.submit(self._served())
        try:
            self._swap.begin()
            yield
        finally:
            upkeep.cancel()
            self._swap.undo()
            socket.cancel()

    @contextmanager
    def tied(self) -> Iterator[Report]:
        """The tunnel, and the relays between laptop and pod."""
        self._narrator.doing(f"starting the proxy pod ({self._request.image})")
        with self._signals.interruptible():
            pod, connection = self._reached(self._swap)
            self._volumes.fetch(mounts_of(pod, self.container), connection)
            tie = self._tie_to(pod, connection, self._swap)
        reached("tied")
        try:
            network = self._use(tie)
            self._loop.run(self._joined.open(network, tie.keeper))
            self._narrator.done(f"connected to the proxy pod {tie.pod}")
            with self._signals.interruptible():
                self._volumes.show(tie.connection)
            reached("connected")
            yield tie.keeper.report
        finally:
            self._loop.run(self._volumes.close())
            self._loop.run(self._lifeline.release())
            self._loop.run(self._joined.close())

    # ---- the process ----------------------------------------------------------------------------------------------
    def run(self, report: Report, of_image: bytes | None) -> int:
        """Begin what answers, take the original out when it accepts, and return its exit code when it has ended."""
        self._start(report, of_image)
        return self._run_to_its_end()

    def _run_to_its_end(self) -> int:
        reached("started")
        process = Supervision(
            self._answering, self._inbox, self._narrator, at_terminal=self._at_terminal(), renew=self._renew
        )
        with self._signals_delivered(process.look):
            ended = process.wait_until_ready(
                patience=SLOW_TO_ACCEPT if self._answering.own else None, remark=self._advice.slow
            )
        if ended is not None:
            return ended
        try:
            with self._signals_delivered(process.look):
                with suppress(ProcessEnding):
                    self._take()
                return process.wait_until_ended()
        finally:
            self._let_go()

    def _at_terminal(self) -> bool:
        return self._answering.own and in_foreground()

    def _let_go(self) -> None:
        """Do what is to be done when what has answered has ended."""
        self._put_back()

    def _put_back(self) -> None:
        """Put the original back while the tunnel is up, so that nothing of what comes is refused.

        What fails here is done once more without the tunnel, by ``swapped``: what that one says is how it has ended.
        """
        with suppress(BridgeError):
            self._swap.undo(self._leaving)

    def _take(self) -> None:
        reached("ready")
        self._answers = True
        tie = self._lifeline.tie
        assert tie is not None
        self._swap.take(tie.pod)
        self._taken()
        self._tell_taken()

    def _taken(self) -> None:
        if self._request.fallback:
            self._loop.call(self._joined.use_stand_ins, self._swap.stand_ins())
        reached("swapped")

    def _tell_taken(self) -> None:
        ports = self._wanted.maps
        where = f" -> laptop port {', '.join(map(str, ports))}" if ports else ""
        if self._swap.plan.target:
            self._narrator.done(
                f"{self._swap.plan.target} is now answered by this laptop{where}",
                event="swapped",
                target=self._swap.plan.target,
                session=self._swap.plan.session,
            )

    def _start(self, report: Report, of_image: bytes | None) -> None:
        variables = cluster_environment(report.environ, of_image, os.environb)
        write_environment(self._request, variables | self._identity().whereabouts(), self._narrator)
        environment = process_environment(os.environb, report.environ, of_image, self._identity())
        self._door.open(report.environ, of_image)
        self._answering.begin(environment)
        self._loop.call(self._readiness.process_started)

    def _who_answers(self) -> Answering:
        if not self._request.command:
            return NoProcess(self._wanted, self._inbox, self._narrator)
        if self._request.reload is not None:
            around = Surroundings(
                inbound=lambda: self._lifeline.tie.inbound if self._lifeline.tie else (),
                pause=self._pause,
                accepting=self._joined.accepting,
                requests=self._requests,
            )
            return Reloaded(
                self._request.command,
                self._request.reload,
                around,
                box=self._box,
                loop=self._loop,
                inbox=self._inbox,
                narrator=self._narrator,
            )
        return OwnProcess(self._request.command, self._box, self._loop, self._inbox, self._narrator)

    def _reading(self) -> Reading | None:
        reloads = self._request.reload is not None
        if not (reloads or self._request.log_requests):
            return None
        return Reading(tell=self._requests.heard, pause=self._pause if reloads else None)

    def _may_ask(self) -> bool:
        """Whether a question can be answered at the terminal, where a process of its own may be reading."""
        return in_foreground() and not (self._answering.own and os.isatty(0))

    # ---- the tie --------------------------------------------------------------------------------------------------
    def _reached(self, swap: Swap) -> tuple[Object, Connection]:
        deadline = time.monotonic() + self._request.timeout
        return reach(self._cluster, self._loop, swap.plan, swap.keys, self._narrator, deadline=deadline)

    def _tie_to(self, pod: Object, connection: Connection, swap: Swap) -> Tie:
        return self._loop.run(finish(name_of(pod), connection, self._ends(swap), within=KEEPER_ANSWERS))

    def _use(self, tie: Tie) -> NetworkSettings:
        """Keep to this tie, and give the sandbox its pod's network; return that."""
        self._loop.run(self._lifeline.hold(tie))
        network = _network(tie.keeper)
        self._box.apply(network)
        return network

    async def _another(self, not_to: str) -> Tie:
        tie = await another_tie(self._cluster, self._swap.plan, self._ends(self._swap), not_to=not_to)
        try:
            network = _network(tie.keeper)
            await asyncio.to_thread(self._box.apply, network)
            await self._volumes.moved(tie.connection)
        except BaseException:
            tie.abort()
            raise
        self._joined.moved(network, tie.keeper)
        self._upkeep.moved()
        return tie

    def _ends(self, swap: Swap) -> Ends:
        return Ends(
            ssh_port=swap.plan.internal.ssh,
            keeper_port=swap.plan.internal.keeper,
            keys=swap.keys,
            token=swap.token,
            is_ready=self._readiness.answer,
            on_guard=partial(self._guarding.said, swap.plan.session),
            inbound=partial(self._joined.inbound, ports=swap.plan.ports),
            another=partial(another_connection, self._cluster, swap.plan, swap.keys),
        )

    # ---- the session is over, and begun anew ----------------------------------------------------------------------
    def _is_over(self, reason: str, *, again: bool | None = None) -> None:
        """Note that the swap has ended; ``again``: begin it anew. None: if we were away so long that the keeper did it.

        What ends while we are there, somebody has ended: they must not find it swapped again.
        """
        away = self._lifeline.away() >= self._request.grace
        self._inbox.put(SessionOver(reason, session=self._swap.plan.session, again=away if again is None else again))

    def _is_taken(self, over: SessionOver) -> None:
        """Note that another session has the target: while Services are led here, nobody else answers (`drift`)."""
        if self._swap.taken and self._swap.plan.services:
            self._upkeep.wake()
        else:
            self._inbox.put(over)

    def _renew(self, over: SessionOver) -> bool:
        """Swap again, under the same process; False where that can't be. ProcessEnding where it ends meanwhile."""
        if over.session != self._swap.plan.session:
            return True  # it is about one that has been replaced
        if self._swap.ended:
            return False  # it was tried
        if not over.again:
            self._narrator.warn(f"the session has ended in the cluster ({over.reason}); ending the process")
            return False
        self._narrator.warn(f"the session has ended in the cluster ({over.reason}); swapping again")
        try:
            self._loop.run(self._lifeline.drop())
            self._swap.undo()
            self._swap = self._new_swap()
            self._loop.call(self._wanted.renew, self._swap.plan.ports)
            self._guarding.begin(self._swap.plan.session)
            self._swap.begin()
            with self._signals.interruptible():
                tie = self._tie_to(*self._reached(self._swap), self._swap)
            self._loop.call(self._joined.moved, self._use(tie), tie.keeper)
            self._volumes.shown_anew(tie.connection)
            if self._answers:  # else the process does not accept yet: `run` takes it when it does
                self._take()
        except BridgeError as error:
            self._narrator.warn(f"it can't be swapped again: {error.message}; ending the process")
            return False
        return True

    # ---- other terminals ------------------------------------------------------------------------------------------
    async def _served(self) -> None:
        """Answer other terminals until this is cancelled; without a place for the socket they can't ask, no more."""
        try:
            async with serving(self._status, self._leave, self._gives()):
                await asyncio.get_running_loop().create_future()
        except (OSError, BridgeError) as error:
            self._narrator.note(f"bridge status and bridge leave will not find this session: {error}")

    def _leave(self) -> None:
        self._inbox.put(SignalCame(signal.SIGTERM))

    def _gives(self) -> dict[str, Callable[[], Awaitable[list[int]]]]:
        """What another terminal may be given descriptors for."""
        return {"enter": partial(self._door.way_in, self._identity)}

    def _is_looked_at(self, swap: Swap) -> bool:
        """Whether there may be something to notice in the cluster."""
        return swap.taken

    def _stands_in(self) -> bool:
        """Whether the original answers by way of the proxy pod."""
        return self._request.fallback

    def _is_other(self) -> None:
        """Take that the target's pods are made otherwise by now: the process goes on as it is."""

    def _status(self) -> Status:
        plan, line, tie = self._swap.plan, self._line.totals, self._lifeline.tie
        guard = self._guarding.latest
        inbound = tie.inbound if tie else ()
        return Status(
            session=plan.session,
            target=plan.target,
            namespace=plan.namespace,
            context=self._cluster.context,
            state=self._lifeline.state,
            pod=tie.pod if tie else "",
            command=self._command(),
            pid=os.getpid(),
            process=self._answering.pid,
            age=time.monotonic() - self._began,
            protection=plan.protection.value,
            guard=guard.state.value if guard else "",
            round_trip=tie.keeper.round_trip if tie else 0.0,
            connections_in=self._joined.taken,
            connections_out=line.channels_opened,
            held=sum(each.held for each in inbound),
            bytes_in=line.bytes_in,
            bytes_out=line.bytes_out,
            reconnects=line.reconnects,
            lingers=self._lingers(),
        )

    def _command(self) -> tuple[str, ...]:
        return self._request.command

    def _lingers(self) -> float | None:
        """For how many seconds the session is still kept without a command; None: it is not."""
        return None

    # ---- small things ---------------------------------------------------------------------------------------------
    def _identity(self) -> SessionIdentity:
        plan = self._swap.plan
        return SessionIdentity(
            session=plan.session,
            namespace=plan.namespace,
            context=self._cluster.context,
            target=plan.target,
            mounts=self._volumes.paths,
            root=self._volumes.root,
        )

    @contextmanager
    def _signals_delivered(self, look: Callable[[], object] = lambda: None) -> Iterator[None]:
        with self._signals.delivered_to(self._signal_came, wake=self._inbox.wake, look=look):
            yield

    def _signal_came(self, number: signal.Signals) -> None:
        self._inbox.put(SignalCame(number))


def _network(keeper: Keeper) -> NetworkSettings:
    report = keeper.report
    return NetworkSettings.of_pod(
        resolv_conf=report.resolv_conf,
        hosts=report.hosts,
        pod_ips=report.pod_ips,
        pod_ports=keeper.listening,
        laptop_name=os.uname().nodename,
    )


async def _made(make: Callable[[], Line]) -> Line:
    """Make what wants a running loop."""
    return make()

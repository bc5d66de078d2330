"""`bridge run --linger`: a session that outlives its command, and is there for the same command again.

It is held by a process of its own (``holder``); the command is started by the bridge at the terminal (``front``), and
enters the sandbox.

    a run        as any session's, but for who starts the command. From the second one on, what comes goes to the
                 process as soon as it accepts: nothing in the cluster has to follow
    given back   the original is in again and Ready; it answers by way of the proxy pod. Claim, undo record, narrowed
                 Services, proxy pod and tunnel stay: to the cluster it is as with --keep-original
    kept         until another run begins, the time is over, somebody ends it (`bridge leave`, SIGTERM), the swap is
                 over in the cluster, or the target's pods are made otherwise by now

Then everything is undone, as at the end of any session.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

from bridge.errors import BridgeError
from bridge.session.act import Action
from bridge.session.entered import Entered
from bridge.session.inbox import Begun, Exited, Ready, SessionOver, SignalCame, Unusable
from bridge.session.supervise import ProcessEnding
from bridge.tunnel.rejoin import relayed, until_parted

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from bridge.session.act import Around
    from bridge.session.facing import Facing
    from bridge.session.swap import Means, Swap
    from bridge.wire.messages import Report

PARTED_WITHIN = 5.0
"""Seconds that the original is left to answer what it has begun with, when another process answers the rest."""


class Kept(Action):
    """See the module's docstring."""

    def __init__(self, around: Around, means: Means, new_swap: Callable[[], Swap], facing: Facing) -> None:
        super().__init__(around, means, new_swap)
        self._facing = facing
        request = around.request
        self._run = Begun(command=request.command, linger=request.linger, at_terminal=facing.at_terminal)
        self._until: float | None = None
        """When the session ends if no other run begins (time.monotonic); None: none can be. On the event loop."""
        self._last = ""
        """Why there can be no other run, empty while there can be one."""
        self._waiting: asyncio.Task[None] | None = None

    def run(self, report: Report, of_image: bytes | None) -> int:
        """Have one run after another; return the exit code of the last one."""
        try:
            while True:
                code = self._one_run(report, of_image)
                if not self._given_back() or not self._begun_again():
                    return code
        finally:
            self._put_back()

    # ---- a run ----------------------------------------------------------------------------------------------------
    def _one_run(self, report: Report, of_image: bytes | None) -> int:
        tie = self._lifeline.tie
        self._door.open(tie.keeper.report.environ if tie else report.environ, of_image)
        entered = Entered(
            self._run.command[0],
            self._facing,
            self._gives()["enter"],
            box=self._box,
            loop=self._loop,
            inbox=self._inbox,
        )
        entered.started = self._process_started
        self._answering = entered
        self._loop.call(self._facing.hear, entered.heard)
        entered.begin({})
        return self._run_to_its_end()

    def _process_started(self) -> None:
        """Wait for the process to accept; on the loop."""
        if self._swap.taken:
            self._waiting = self._loop.loop.create_task(self._answers_again())
        else:
            self._readiness.process_started()

    async def _answers_again(self) -> None:
        """Have what comes go to the process from when it accepts, and what is open as soon as it rests."""
        await self._readiness.again()
        self._joined.process_again()
        tie = self._lifeline.tie
        for each in tie.inbound if tie else ():
            each.part()
        self._inbox.put(Ready())

    async def _original_rests(self) -> None:
        """Wait until what the original has begun to answer is answered."""
        tie = self._lifeline.tie
        await until_parted(relayed(tie.inbound) if tie else (), PARTED_WITHIN)

    def _take(self) -> None:
        if not self._swap.taken:
            try:
                super()._take()
            except ProcessEnding:
                self._last = self._last or "the process has ended before all was swapped"
                raise
            return
        self._answers = True
        self._tell_taken()
        self._loop.run(self._original_rests())
        self._swap.take_again()
        self._loop.call(self._joined.original_left)
        self._taken()

    def _let_go(self) -> None:
        """The original is given back, and all else kept: see `run`."""

    def _renew(self, over: SessionOver) -> bool:
        renewed = False
        try:
            renewed = super()._renew(over)
        finally:
            if not renewed:
                self._last = over.reason
        return renewed

    # ---- given back -----------------------------------------------------------------------------------------------
    def _given_back(self) -> bool:
        """Put the original back in, and keep the rest; say whether that could be."""
        self._answers = False
        self._loop.call(self._no_process)
        if self._last:
            return False
        try:
            return self._swap.give_back(self._leaving, meanwhile=self._box.end)
        except BridgeError as error:  # how the command has ended counts, if all can be put back after this
            self._narrator.warn(f"the session can't be kept: {error.message}")
            return False

    def _no_process(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        if not self._swap.taken:
            self._readiness.process_gone()

    # ---- kept -----------------------------------------------------------------------------------------------------
    def _begun_again(self) -> bool:
        """Wait for another run; False when the session ends instead."""
        if self._last:
            return False
        until = self._loop.run(self._open())
        with self._signals_delivered():
            begun = self._next(until)
        self._loop.run(self._shut())
        if begun is None:
            return False
        self._run = begun
        tie = self._lifeline.tie
        self._narrator.done(f"the session was kept, with the proxy pod {tie.pod if tie else ''}")
        self._loop.submit(self._upkeep.look())  # beside the start: it is not worth a round trip before that
        return True

    async def _open(self) -> float:
        """Let another run begin, after the terminal's side of this one has gone; return until when."""
        name = self._swap.plan.target or self._swap.plan.session
        self._facing.say({"kept": self._run.linger, "name": name})
        self._facing.leave()
        self._until = time.monotonic() + self._run.linger
        return self._until

    async def _shut(self) -> None:
        """Let none begin any more. One whose bridge has come in this moment is told that the session is over."""
        self._until = None

    def _next(self, until: float) -> Begun | None:
        while True:
            happened = self._inbox.get(until)
            match happened:
                case Begun():
                    return happened
                case Exited() | Ready() | SignalCame(signal.SIGQUIT):
                    continue  # of the run before, or for it
                case SessionOver(_, session) if session != self._swap.plan.session:
                    continue
                case None:
                    self._narrator.note("the time for which the session was kept is over")
                case SessionOver(reason) | Unusable(reason):
                    self._narrator.note(f"the session is kept no longer: {reason}")
                case SignalCame():
                    self._narrator.note("the session is kept no longer: it was told to end")
            return None

    async def _accept(self) -> list[int]:
        """Give the line for another run. BridgeError where there can be none now."""
        if self._until is None or self._last or self._facing.is_there:
            raise BridgeError("the session can't be used now", hint="It has a run, or just ends.")
        return [self._facing.accept(self._begins).detach()]

    def _begins(self, message: dict[str, Any] | None) -> None:
        match message:
            case {"begin": dict(told)}:
                self._inbox.put(Begun(**told | {"command": tuple(told["command"])}))

    # ---- what ends it ---------------------------------------------------------------------------------------------
    def _leave(self) -> None:
        self._last = self._last or "it was told to end"
        super()._leave()

    def _signal_came(self, number: signal.Signals) -> None:
        if number is not signal.SIGQUIT:
            self._last = self._last or "it was told to end"
        super()._signal_came(number)

    def _is_other(self) -> None:
        if not self._last:
            self._last = f"{self._swap.plan.target} has other pods by now"
            if self._answering.pid:
                self._narrator.warn(
                    f"{self._swap.plan.target} was changed: its pods are made otherwise by now. This process goes on "
                    "as it is; the next one starts anew"
                )
            self._inbox.put(Unusable(self._last))

    # ---- what is told ---------------------------------------------------------------------------------------------
    def _gives(self) -> dict[str, Callable[[], Awaitable[list[int]]]]:
        return super()._gives() | {"begin": self._accept}

    def _is_looked_at(self, swap: Swap) -> bool:
        return super()._is_looked_at(swap) or self._until is not None

    def _stands_in(self) -> bool:
        return super()._stands_in() or not self._answers

    def _at_terminal(self) -> bool:
        return self._run.at_terminal

    def _lingers(self) -> float | None:
        if self._swap.ended:
            return 0.0
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def _command(self) -> tuple[str, ...]:
        return self._run.command

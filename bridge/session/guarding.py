"""What the keeper's guard says, and what that means for the session: who restores when this laptop is gone.

armed                     said once: from now on the keeper restores after the grace time
unarmed                   said, with the reason: the watchdog on this laptop is all there is
restoring, restored       the session is over: the laptop was silent for too long; it is begun anew
taken                     another session has the target: ``taken`` looks whether this one is over, too
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.session.inbox import SessionOver
from bridge.wire.messages import Guard, GuardState

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.session.inbox import Inbox
    from bridge.session.narrator import Narrator


class Guarding:
    """Takes the guard's word, on the event loop."""

    def __init__(
        self,
        inbox: Inbox,
        narrator: Narrator,
        grace: float,
        *,
        taken: Callable[[SessionOver], object],
        has_target: bool = True,
    ) -> None:
        self._inbox = inbox
        self._taken = taken
        self._narrator = narrator
        does = "puts the original back" if has_target else "removes the proxy pod"
        self._armed = f"protection: keeper ({does} {grace:g} s after this laptop is gone)"
        self.latest: Guard | None = None
        self._session = ""

    def begin(self, session: str) -> None:
        """Expect the guard of this session: a word of the one before may still come."""
        self._session = session
        self.latest = None

    @property
    def armed(self) -> bool:
        """Whether the keeper restores without this laptop, and renews the Lease."""
        return self.latest is not None and self.latest.state is GuardState.ARMED

    def said(self, session: str, guard: Guard) -> None:
        """Take what the guard of this session says."""
        if guard == self.latest or session != self._session:
            return
        self.latest = guard
        match guard.state:
            case GuardState.ARMED:
                self._narrator.done(self._armed)
            case GuardState.UNARMED:
                self._narrator.warn(
                    f"protection: watchdog only ({guard.reason}): if this laptop is gone, run `bridge restore`"
                )
            case GuardState.TAKEN:
                self._taken(SessionOver(guard.reason or guard.state.value, session=session, again=False))
            case _:
                self._inbox.put(SessionOver(guard.reason or guard.state.value, session=session))

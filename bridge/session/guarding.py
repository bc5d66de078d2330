"""What the keeper's guard says, and what that means for the session: who restores when this laptop is gone.

armed                     said once: from now on the keeper restores after the grace time
unarmed                   said, with the reason: the watchdog on this laptop is all there is
restoring, restored       the session is over: the laptop was silent for too long; it is begun anew
taken                     the session is over for good: another one has the target
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.session.inbox import SessionOver
from bridge.wire.messages import Guard, GuardState

if TYPE_CHECKING:
    from bridge.session.inbox import Inbox
    from bridge.session.narrator import Narrator


class Guarding:
    """Takes the guard's word, on the event loop."""

    def __init__(self, inbox: Inbox, narrator: Narrator, grace: float, *, has_target: bool = True) -> None:
        self._inbox = inbox
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
            case _:
                again = guard.state is not GuardState.TAKEN
                self._inbox.put(SessionOver(guard.reason or guard.state.value, session=session, again=again))

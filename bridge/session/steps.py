"""Named steps of a session, at which a test can stop bridge to see what the cluster looks like, or to kill it there.

    recorded  rooted  leased  created  connected  started  ready  narrowed  scaled  swapped
    put back  widened

With ``BRIDGE_STOP_AT=narrowed`` bridge stops itself there (SIGSTOP), as if it had hung at the worst moment; SIGCONT
lets it go on. Nobody else sets that variable, and without it this does nothing.
"""

from __future__ import annotations

import os
import signal

_STOP_AT = os.environ.pop("BRIDGE_STOP_AT", "")  # not for the process that bridge runs


def reached(step: str) -> None:
    """Note that the session has come to this step."""
    if step == _STOP_AT:
        os.kill(os.getpid(), signal.SIGSTOP)

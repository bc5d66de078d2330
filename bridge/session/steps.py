"""Named steps of a session: with ``--verbose`` each is a line of the log, so that it shows where the time goes.

    called      the command line is read
    examined    the cluster was looked at, and what clears up after others is done
    boxed       the sandbox is ready
    planned     keys and plan are made, admission agrees
    recorded    the undo record is on disk
    rooted      the session's Secret is there
    leased      the Lease is ours, the keeper has an account
    created     the undo record is on the target; the proxy pod's ReplicaSet is there
    imaged      the environment that the original's image sets is known
    placed      the proxy pod has a node
    tunnelled   the stream stands, with SSH on it
    tied        the keeper has answered, the pod's ports lead here
    connected   the sandbox has the pod's names and files
    started     what answers here has begun
    ready       it accepts
    listed      the Services' endpoints have the proxy pod, Ready
    alone       the Services are narrowed, and their endpoints follow
    narrowed    the nodes had the time to follow
    scaled      the original's replicas are 0, or what is kept
    swapped     its pods are on their way out
    given back  its replicas are back, the rest is kept (--linger)
    put back    its replicas are back
    widened     it is Ready, and the Services send to it again

A test can have bridge stopped at each, to see what the cluster looks like, or to kill it there: with
``BRIDGE_STOP_AT=narrowed`` bridge stops itself there (SIGSTOP), as if it had hung at the worst moment; SIGCONT lets it
go on. Nobody else sets that variable.
"""

from __future__ import annotations

import logging
import os
import signal

log = logging.getLogger(__name__)

_STOP_AT = os.environ.pop("BRIDGE_STOP_AT", "")  # not for the process that bridge runs


def reached(step: str) -> None:
    """Note that the session has come to this step. From any thread."""
    log.debug("reached %s", step)
    if step == _STOP_AT:
        os.kill(os.getpid(), signal.SIGSTOP)

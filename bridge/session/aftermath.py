"""What the watchdog does when bridge was killed: puts back what the records on this laptop's disk name."""

from __future__ import annotations

import random
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bridge.cluster import connect
from bridge.errors import BridgeError, unexpected
from bridge.session.changes import delete_objects
from bridge.session.restore import put_back
from bridge.session.sessions import find_sessions
from bridge.session.signals import Signals
from bridge.session.store import this_laptops_store
from bridge.wire.backoff import delays

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.session.narrator import Fact
    from bridge.session.store import LocalSession

READY_WITHIN = 300.0
"""Seconds that the original may take until its Services send to it again, Ready or not."""


class Log:
    """The account of what is done, on standard error."""

    def doing(self, text: str) -> None:
        """Leave it out: it is not watched."""

    def done(self, text: str, event: str = "", **facts: Fact) -> None:  # noqa: ARG002  # for programs
        """Write it down."""
        with suppress(OSError, ValueError):  # a full disk must not stop a restore
            sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}\n")
            sys.stderr.flush()

    note = warn = done


def restore_left(left: Sequence[LocalSession], *, give_up_after: float, pauses: tuple[float, float]) -> None:
    """Restore these sessions, each tried again and again, for so many seconds at the most."""
    log, deadline = Log(), time.monotonic() + give_up_after
    with Signals() as signals:
        for session in left:
            log.done(f"bridge was killed: putting back {session.target or session.session}")
            for pause in delays(first=pauses[0], longest=pauses[1], jitter=random.random):
                try:
                    _restore(session, log, signals)
                except BridgeError as error:
                    log.warn(error.message)
                except Exception as error:  # noqa: BLE001  # nor must a bug: another try may not meet it
                    log.warn(unexpected(error))
                else:
                    break
                if time.monotonic() > deadline:
                    return
                _wait(pause)


def _restore(session: LocalSession, log: Log, signals: Signals) -> None:
    with connect(kubeconfig=session.kubeconfig, context=session.context, namespace=session.namespace) as cluster:
        there = [found for found in find_sessions(cluster) if found.session == session.session]
        for found in there:
            put_back(cluster, found, log, signals, timeout=READY_WITHIN)
        if not there:  # but its Secret may be, which can't be seen: the record is all that knows of it
            delete_objects(cluster, session.session)
    this_laptops_store().remove(session.session)


def _wait(seconds: float) -> None:
    import select

    select.select([], [], [], seconds)

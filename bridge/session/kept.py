"""Sessions of this laptop that are kept after their command has ended: which one another command can use, and which
one is in its way.

A session can be used by a command that wants the same of it: the same cluster, target and options. They are told by a
key, in the session's record on the disk, so that the command at the terminal finds out without asking anybody.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bridge import __version__
from bridge.errors import BridgeError
from bridge.paths import kubeconfig_files
from bridge.session.store import this_laptops_store
from bridge.session.visiting import Gone, Visitor

if TYPE_CHECKING:
    from bridge.cluster import Cluster
    from bridge.session.narrator import Narrator
    from bridge.session.request import RunRequest
    from bridge.session.store import LocalSession


def key_of(request: RunRequest) -> str:
    """Return what is the same for two commands, if and only if they can use one session.

    The kubeconfig counts by its content: whether what changed in it matters would take a parser to tell.
    """
    of_the_session = replace(
        request,
        command=(),
        env_file=None,
        env_json=None,
        linger=0.0,
        takeover=False,
        mount_at=request.mount_at and Path.cwd() / request.mount_at,
    )
    digest = hashlib.sha256(f"{__version__} {of_the_session!r}".encode())
    for path in kubeconfig_files(request.where.kubeconfig, os.environ):
        digest.update(os.fsencode(path.absolute()))
        with suppress(OSError):  # one that can't be read: who connects says so
            if path.is_file():
                digest.update(path.read_bytes())
    return digest.hexdigest()


def usable(key: str) -> LocalSession | None:
    """Return the session of this laptop that is kept for such a command, if there is one."""
    sessions = this_laptops_store().sessions()
    return next((each for each in sessions if each.kept == key and each.is_alive()), None)


def make_way(cluster: Cluster, request: RunRequest, narrator: Narrator) -> None:
    """End a session of this laptop that is kept with the target, but can't be used. One that has a run is not touched.

    Raises BridgeError when it does not end.
    """
    target = request.target
    if target is None:
        return
    for each in this_laptops_store().sessions():
        there = (each.server, each.namespace) == (cluster.server, cluster.namespace)
        if there and each.kept and each.target and target.means(each.target, each.session) and each.is_alive():
            _end(each, narrator, timeout=request.timeout)


def _end(session: LocalSession, narrator: Narrator, *, timeout: float) -> None:
    try:
        visitor = Visitor(session.pid)
    except Gone:
        return  # it ends, or has no socket: whether the target is free is looked at next
    try:
        if visitor.ask("status").get("lingers") is None:
            return
        narrator.note(f"ending the session that was kept for {session.target}: this command can't use it")
        visitor.ask("leave")
        if not visitor.wait_until_gone(timeout):
            raise BridgeError(
                f"the session that was kept for {session.target} has not ended within {timeout:g} s",
                hint="It goes on putting things back; see bridge status.",
            )
    except Gone:
        return
    finally:
        visitor.close()

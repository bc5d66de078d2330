"""The second node: there on demand, for tests of what happens to pods between nodes, and when a node is lost.

    with started(settings):          # Ready; pods reach pods and services on both nodes, both ways
        vanish(settings)             # as a machine that lost power: silent at once
        ...                          # the cluster notices (node.NODE_GRACE), evicts its pods, makes others elsewhere
        start(settings)              # back, with what was on its disk

``settings`` are the cluster's; the second node's own are ``settings.of(2)``. What it kept goes when it is stopped.
"""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING, Any

from . import build, certs, cgroups, components, network, node, store, up
from .api import Api, condition
from .lock import exclusive
from .system import HarnessError, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .settings import Settings
    from .system import Process

INDEX = 2
TIMEOUT = 60.0


def running(settings: Settings) -> Process | None:
    """Its PID 1, if it runs."""
    return node.running(settings.of(INDEX))


def start(settings: Settings, say: Callable[[str], None] = lambda _: None) -> None:
    """Start it, with nothing on its disk but images, or after `vanish` with what was there; return when it is Ready."""
    own = settings.of(INDEX)
    if node.running(settings) is None:
        raise HarnessError("the cluster is not up, so there can't be a second node; try: make cluster")
    with exclusive(settings, say):
        archives = build.everything(settings, say)
        if (process := node.running(own)) is None:
            store.refresh(settings, archives, say)
            own.place.mkdir(exist_ok=True)
            store.lend(own)
            network.join(own)
            certs.make_for_node(own)
            process = node.start(own)
        up.load(own, process, archives, say)
        wait_until_ready(own, process)
    say(f"{own.node.name} Ready")


def wait_until_ready(own: Settings, process: Process) -> None:
    """Wait until pods can run on it and reach services. After `vanish` the API may still show that it is Ready."""
    wait_until("its kubelet", lambda: components.answers(own, "kubelet"), timeout=TIMEOUT, alive=process)
    Api(own.kubeconfig).wait_for(f"{own.node.name} is Ready", "/api/v1/nodes", own.node.name, _usable, timeout=TIMEOUT)
    wait_until("cluster DNS answers to it", lambda: up.dns_answers(own), timeout=TIMEOUT, alive=process)


def _usable(thing: Any) -> bool:
    return condition("Ready")(thing) and not thing["spec"].get("taints")


def vanish(settings: Settings) -> None:
    """Let it be gone as a machine that lost power: no connection is closed, nothing is said, everything in it ends."""
    if running(settings) is None:
        raise HarnessError(f"{settings.of(INDEX).node.name} is not running")
    _end(settings.of(INDEX))


def stop(settings: Settings) -> None:
    """End it, and let the cluster forget it: its Node, its pods, its disk."""
    own = settings.of(INDEX)
    _end(own)
    network.leave(own)
    if own.place.exists():
        shutil.rmtree(own.place)
    if up.ready(settings):
        Api(settings.kubeconfig).forget_node(own.node.name)


def _end(own: Settings) -> None:
    """End all that runs in it, its link first. Its cgroups go too: kubelet tries 3 s with each that an old pod left."""
    if process := node.running(own):
        network.silence(own)
        process.end()
    cgroups.end_all(own.node.cgroup)
    cgroups.remove(own.node.cgroup)


@contextlib.contextmanager
def started(settings: Settings) -> Iterator[Settings]:
    """For the time of the block there is a second node; its settings."""
    start(settings)
    try:
        yield settings.of(INDEX)
    finally:
        stop(settings)

"""Faults of a node's components: killed and started again, or held down for a while. The node's PID 1 does it.

    restart(settings, "etcd")                  # killed; returns when its successor, and what needs it, answers
    with held(settings, "kube-apiserver"):     # down for the time of the block
        ...

A component of the second node is one of ``settings.of(2)``.
"""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import ssl
import urllib.request
from typing import TYPE_CHECKING

from . import network, node, system
from .api import Api
from .system import HarnessError, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .settings import Settings

# Where each says that it is well, in its node's network.
HEALTH = {
    "etcd": "http://127.0.0.1:2379/health",
    "kube-apiserver": "https://127.0.0.1:6443/readyz",
    "kube-controller-manager": "https://127.0.0.1:10257/healthz",
    "kube-scheduler": "https://127.0.0.1:10259/healthz",
    "kubelet": "http://127.0.0.1:10248/healthz",
    "kube-proxy": "http://127.0.0.1:10256/healthz",
}
TIMEOUT = 120.0
_READABLE = "/api/v1/namespaces/default"  # an object is read from etcd, whatever the API server's caches hold


def names(settings: Settings) -> list[str]:
    """The components of the node."""
    return list(node.command_lines(settings))


def hold(settings: Settings, name: str) -> None:
    """Kill a component and keep it down; return when it has ended."""
    if name not in names(settings):
        raise HarnessError(f"{settings.node.name} has no {name}, but {', '.join(names(settings))}")
    (settings.control / "hold" / name).touch()
    _look_again(settings)
    pid = settings.control / name
    wait_until(f"{name} has ended", lambda: not pid.exists(), timeout=20)


def release(settings: Settings, name: str) -> None:
    """Let a component that was held start again; return when it answers."""
    (settings.control / "hold" / name).unlink(missing_ok=True)
    _look_again(settings)
    wait_until(f"{name} answers again", lambda: answers(settings, name), timeout=TIMEOUT, alive=node.running(settings))


@contextlib.contextmanager
def held(settings: Settings, name: str) -> Iterator[None]:
    """For the time of the block a component is down; after it, it answers again."""
    hold(settings, name)
    try:
        yield
    finally:
        release(settings, name)


def restart(settings: Settings, name: str) -> None:
    """Kill a component; return when its successor answers."""
    with held(settings, name):
        pass


def answers(settings: Settings, name: str) -> bool:
    """Whether a component says that it is well; and, of those that keep the objects, whether one can be read."""
    with system.in_network(network.namespace(settings.node.namespace)):
        well = _containerd_answers(settings) if name == "containerd" else _says_well(HEALTH[name])
    return well and (name not in {"etcd", "kube-apiserver"} or _readable(settings))


def _says_well(url: str) -> bool:
    trust = ssl._create_unverified_context()  # what listens on the node's loopback is ours
    try:
        with urllib.request.urlopen(url, timeout=2, context=trust) as answer:
            return bool(answer.status == http.HTTPStatus.OK)
    except (OSError, http.client.HTTPException):
        return False


def _containerd_answers(settings: Settings) -> bool:
    process = node.running(settings)
    if process is None:
        return False
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(node.containerd_socket(process)) == 0


def _readable(settings: Settings) -> bool:
    try:
        status, _ = Api(settings.kubeconfig).request("GET", _READABLE, timeout=2)
    except (OSError, http.client.HTTPException):
        return False
    return status == http.HTTPStatus.OK


def _look_again(settings: Settings) -> None:
    if process := node.running(settings):
        process.send(signal.SIGHUP)
    else:
        raise HarnessError(f"{settings.node.name} is not running")

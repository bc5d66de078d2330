"""The ways from the laptop to the cluster that are compared, each opened as its user would, on the same stage.

    direct         pod to pod, no laptop: the floor
    port-forward   `kubectl port-forward` alone; outbound only
    ssh            `kubectl port-forward`, and through it OpenSSH with -L and -R: Telepresence 1's transport
    bridge         `bridge run --swap`

A peer's tool is one more: a function like these, named to the run as ``WAYS="bridge ssh my_module:telepresence"``. It
is a context manager that takes a `Stage` and yields a `Way`.
"""

from __future__ import annotations

import importlib
import re
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import psutil

from bridge import __version__
from bridge.tunnel.keys import SessionKeys, make_session_keys
from tests.e2e.running import PROGRAM
from tests.e2e.workloads import RESOURCES

from . import agents, meter
from .agents import TaskError
from .stage import PORT, WEB_PORT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from .agents import Agent
    from .stage import Stage

SSHD_PORT = 2222
USER = "65532"
PROXY_IMAGE = f"docker.io/library/bridge-proxy:{__version__}"


@dataclass(frozen=True)
class End:
    """One direction of a way: whose client connects, and to which address, to reach the other side."""

    agent: Agent
    address: str


@dataclass(frozen=True)
class Way:
    """An open way. What it can't do is None; ``laptop`` gives its processes there, ``pods`` the ids of its pods."""

    name: str
    outbound: End | None = None
    inbound: End | None = None
    dns: Agent | None = None
    laptop: Callable[[], list[int]] = list
    pods: list[str] = field(default_factory=list)

    def in_pods(self) -> list[int]:
        """Its processes in the cluster."""
        return meter.pids_of_pods(self.pods)


def opener(name: str) -> Callable[[Stage], AbstractContextManager[Way]]:
    """How the way of that name is opened: one of ours, or ``module:function``."""
    if name in OWN:
        return OWN[name]
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]


@contextmanager
def opened(stage: Stage, names: list[str]) -> Iterator[list[Way]]:
    """All of these, in their order."""
    with ExitStack() as stack:
        yield [stack.enter_context(opener(name)(stage)) for name in names]


# -- the floor ---------------------------------------------------------------------------------------------------------
@contextmanager
def direct(stage: Stage) -> Iterator[Way]:
    """Nothing between: the client's pod speaks to the target's."""
    with stage.agent_in_pod() as agent:
        end = End(agent, stage.target)
        yield Way("direct", outbound=end, inbound=end, dns=agent)


# -- kubectl port-forward ----------------------------------------------------------------------------------------------
@contextmanager
def port_forward(stage: Stage) -> Iterator[Way]:
    """To the target's pod itself."""
    with _forwarding(stage, "target", PORT) as (port, pid), stage.agent_on_laptop() as agent:
        end = End(agent, f"127.0.0.1:{port}")
        yield Way("port-forward", outbound=end, laptop=lambda: [pid])


@contextmanager
def _forwarding(stage: Stage, pod: str, port: int) -> Iterator[tuple[int, int]]:
    """`kubectl port-forward` to a pod: the port on the laptop, and the process."""
    command = ["kubectl", "-n", stage.namespace, "port-forward", f"pod/{pod}", f":{port}"]
    process = stage.start(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        line = process.stdout.readline()
        match = re.match(r"Forwarding from 127.0.0.1:(\d+)", line)
        if match is None:
            raise TaskError(f"kubectl port-forward: {line}")
        # It says a line for each connection: somebody has to read them, and cat costs less than a thread here.
        drain = subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)
        try:
            yield int(match[1]), process.pid
        finally:
            process.terminate()
            drain.wait(10)
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


# -- the same, and OpenSSH ---------------------------------------------------------------------------------------------
@contextmanager
def ssh(stage: Stage) -> Iterator[Way]:
    """OpenSSH on both ends, with its defaults but for the cipher: the fastest, which bridge takes, too."""
    keys = make_session_keys()
    with ExitStack() as stack:
        uid, address = stack.enter_context(_sshd(stage, keys))
        forward, kubectl = stack.enter_context(_forwarding(stage, "sshd", SSHD_PORT))
        served, entry = stage.free_port(), stage.free_port()
        agent = stack.enter_context(stage.agent_on_laptop(str(served)))
        client = stack.enter_context(_ssh_client(stage, keys, forward, f"{entry}:{stage.target}", served))
        inside = stack.enter_context(stage.agent_in_pod())
        outbound, inbound = End(agent, f"127.0.0.1:{entry}"), End(inside, f"{address}:{WEB_PORT}")
        for end in (outbound, inbound):
            end.agent.wait_for_answer(end.address)
        yield Way("ssh", outbound=outbound, inbound=inbound, laptop=lambda: [kubectl, client], pods=[uid])


@contextmanager
def _sshd(stage: Stage, keys: SessionKeys) -> Iterator[tuple[str, str]]:
    """A pod with nothing but sshd: its id and address."""
    stage.kubectl.apply(_sshd_settings(keys), sshd_pod())
    try:
        stage.kubectl("wait", "--for=condition=Ready", "pod/sshd", "--timeout=60s")
        pod = stage.kubectl.json("get", "pod", "sshd")
        yield pod["metadata"]["uid"], pod["status"]["podIP"]
    finally:
        stage.kubectl("delete", "pod/sshd", "secret/sshd", "--wait", "--grace-period=0", "--ignore-not-found")


_SSHD_CONFIG = f"""\
Port {SSHD_PORT}
HostKey /settings/host_key
AuthorizedKeysFile /settings/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
GatewayPorts clientspecified
Ciphers aes128-gcm@openssh.com
"""


def _sshd_settings(keys: SessionKeys) -> dict[str, Any]:
    files = {
        "host_key": keys.host_private,
        "authorized_keys": keys.client_public + "\n",
        "sshd_config": _SSHD_CONFIG,
        "passwd": f"user:x:{USER}:{USER}::/:/usr/sbin/sshd\n",  # it wants a shell that exists, and never runs it
        "group": f"user:x:{USER}:\n",
    }
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sshd"}, "stringData": files}


def sshd_pod() -> dict[str, Any]:
    """The proxy image, because it has an sshd that needs no root; without anything else of ours."""
    wrapper = {
        "LD_PRELOAD": "libnss_wrapper.so",
        "NSS_WRAPPER_PASSWD": "/settings/passwd",
        "NSS_WRAPPER_GROUP": "/settings/group",
    }
    container = {
        "name": "sshd",
        "image": PROXY_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "resources": RESOURCES,
        "command": ["/usr/sbin/sshd", "-D", "-e", "-f", "/settings/sshd_config"],
        "env": [{"name": name, "value": value} for name, value in wrapper.items()],
        "readinessProbe": {"tcpSocket": {"port": SSHD_PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "settings", "mountPath": "/settings", "readOnly": True}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "sshd"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsUser": int(USER), "runAsGroup": int(USER), "fsGroup": int(USER)},
            "containers": [container],
            "volumes": [{"name": "settings", "secret": {"secretName": "sshd", "defaultMode": 0o440}}],
        },
    }


@contextmanager
def _ssh_client(stage: Stage, keys: SessionKeys, port: int, outbound: str, served: int) -> Iterator[int]:
    """The ssh command; its process. It ends by itself where a forward can't be had."""
    home = stage.settings.home
    key, known = f"{home}/.ssh/bench-{stage.namespace}", f"{home}/.ssh/bench-{stage.namespace}.known"
    stage.laptop.write(key, keys.client_private, mode=0o600)
    stage.laptop.write(known, f"[127.0.0.1]:{port} {keys.host_public}\n")
    options = {
        "UserKnownHostsFile": known,
        "ExitOnForwardFailure": "yes",
        "Ciphers": "aes128-gcm@openssh.com",
        "LogLevel": "ERROR",
    }
    command = ["ssh", "-N", "-F", "none", "-i", key, "-p", str(port)]
    command += [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    command += ["-L", outbound, "-R", f"0.0.0.0:{WEB_PORT}:127.0.0.1:{served}", "user@127.0.0.1"]
    process = stage.start(*command, stdin=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)
        for path in (key, known):
            stage.laptop.path(path).unlink()


# -- bridge ------------------------------------------------------------------------------------------------------------
@contextmanager
def bridge(stage: Stage) -> Iterator[Way]:
    """The agent takes the place of the workload ``web``; open when the original has gone."""
    swap = [PROGRAM, "run", "-n", stage.namespace, "--swap", "web", stage.bencher, "agent", str(WEB_PORT)]
    with agents.running(partial(stage.start, *swap)) as agent, stage.agent_in_pod() as inside:
        pod = _proxy_pod(stage)
        inbound = End(inside, f"{pod['status']['podIP']}:{WEB_PORT}")
        inbound.agent.wait_for_answer(inbound.address)
        yield Way(
            "bridge",
            outbound=End(agent, stage.target),
            inbound=inbound,
            dns=agent,
            laptop=partial(_processes, agent.process.pid, stage.bencher),
            pods=[pod["metadata"]["uid"]],
        )


def _proxy_pod(stage: Stage) -> Any:
    selected = ("pods", "--selector", "bridge.internal/session")
    stage.kubectl("wait", "--for=condition=Ready", "--timeout=30s", *selected)
    stage.kubectl("wait", "--for=jsonpath={.spec.replicas}=0", "--timeout=30s", "deployment/web")
    original = ("pods", "--selector", "app=web,!bridge.internal/session")
    stage.kubectl("wait", "--for=delete", "--timeout=30s", *original)
    pods = stage.kubectl.json("get", *selected)["items"]
    return next(pod for pod in pods if "deletionTimestamp" not in pod["metadata"])


def _processes(pid: int, worker: str) -> list[int]:
    """bridge and all that it has started, but for the process that it runs for its user."""
    top = psutil.Process(pid)
    return [one.pid for one in [top, *top.children(recursive=True)] if worker not in _words(one)[:1]]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


OWN: dict[str, Callable[[Stage], AbstractContextManager[Way]]] = {
    "direct": direct,
    "port-forward": port_forward,
    "ssh": ssh,
    "bridge": bridge,
}

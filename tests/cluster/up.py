"""Brings the cluster up: each part is made if it is not there, so `up` helps also after something was killed.

packages, programs, images -> namespaces -> node -> (images into it | API server) -> CoreDNS -> Ready -> laptop
"""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from . import build, certs, cgroups, checks, components, down, network, node, recipes, store, system
from .api import Api, condition
from .laptop import Laptop
from .lock import exclusive
from .settings import COREDNS_VERSION, HERE, KUBERNETES_VERSION, Settings
from .system import HarnessError, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .system import Process

PRIVATE_FILES = """
Files that only root may read?       chmod -R a+rX .
A Python in somebody's home folder?  make clean; make PYTHON=/usr/bin/python3 cluster"""
START_TIMEOUT = 120.0
RECENT = 3600 * 24


@dataclass
class Steps:
    """Says what is done, with the seconds since the start, on stderr."""

    started: float = field(default_factory=time.monotonic)

    def __call__(self, text: str) -> None:
        """One line."""
        print(f"{time.monotonic() - self.started:7.1f}s  {text}", file=sys.stderr, flush=True)


def up(settings: Settings, say: Callable[[str], None]) -> None:
    """Make sure that the cluster is there."""
    checks.root()
    down.give_way(settings)
    with exclusive(settings, say):
        archives = build.everything(settings, say)
        running = already_up(settings)
        if not running:
            checks.kernel()
            store.refresh(settings, archives, say)
            start(settings, say)
        process = running_node(settings)
        load(settings, process, archives, say)
        if not running:
            wait_until_ready(settings, process, say)
        ensure_laptop(settings, say)


def already_up(settings: Settings) -> bool:
    """Whether the node runs, in its network, with its API server kept up."""
    process = node.running(settings)
    return process is not None and network.exists(settings) and settings.kubeconfig.exists() and ready(settings)


def ready(settings: Settings) -> bool:
    """Whether the API server says that it is ready."""
    ensure_hop(settings)
    return Api(settings.kubeconfig).ready()


def start(settings: Settings, say: Callable[[str], None]) -> None:
    """Start the node from what the state has, or from nothing."""
    down.stop(settings)
    discard_foreign_state(settings, say)
    for folder in (settings.state, settings.certificates, settings.run):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    (settings.run / "clone").write_text(str(settings.clone))
    (settings.state / "origin").write_text(origin(settings))
    store.lend(settings)
    network.create(settings)
    certs.make(settings)
    node.start(settings)
    ensure_hop(settings)
    say("networks, certificates and the node's first process")


def origin(settings: Settings) -> str:
    """What a state is of. One from another machine, a copied clone or another version can't be used again."""
    try:
        folder, machine = settings.state.stat().st_ino, Path("/etc/machine-id").read_text()
    except FileNotFoundError:
        folder, machine = settings.state.stat().st_ino, ""
    sources = [(HERE / name).read_text() for name in ("certs.py", "settings.py", "node.py")]
    facts = (str(settings), folder, machine, KUBERNETES_VERSION, COREDNS_VERSION, *sources)
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def discard_foreign_state(settings: Settings, say: Callable[[str], None]) -> None:
    """Start from nothing unless the state is this cluster's own, and its certificates hold another day."""
    if not settings.state.exists():
        return
    marker = settings.state / "origin"
    if marker.exists() and marker.read_text() == origin(settings) and _certificates_hold(settings):
        return
    if any(settings.state.iterdir()):
        say("the state is another cluster's or an old one's: starting from nothing")
        down.remove_state(settings)


def _certificates_hold(settings: Settings) -> bool:
    certificate = settings.certificates / "apiserver.crt"
    command = ["openssl", "x509", "-checkend", str(RECENT), "-noout", "-in", str(certificate)]
    return settings.kubeconfig.exists() and subprocess.run(command, check=False, capture_output=True).returncode == 0


def running_node(settings: Settings) -> Process:
    """The node's PID 1; an error if it ended."""
    if process := node.running(settings):
        return process
    log = settings.logs / f"{settings.node.label}.log"
    raise HarnessError(f"{settings.node.name} ended; its log is {log}")


def ensure_hop(settings: Settings) -> None:
    """Let the root namespace reach the API server: a listener made here, served in the node's namespace."""
    record = settings.run / "hop"
    if system.load(record) or not network.exists(settings):
        return
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", settings.root_port))
        except OSError as error:
            raise HarnessError(f"port {settings.root_port} of 127.0.0.1 is taken: another clone's cluster?") from error
        listener.listen(256)
        enter = ["nsenter", f"--net={network.namespace(settings.node.namespace)}"]
        program = [str(settings.binaries / "hop"), str(listener.fileno()), f"127.0.0.1:{settings.api_port}"]
        with (settings.logs / "hop.log").open("ab") as log:
            process = subprocess.Popen(
                cgroups.entering(settings.node.cgroup, [*enter, *program]),
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    system.save(record, process.pid)
    process.returncode = 0  # it outlives us; nobody here waits for it


# -- images --------------------------------------------------------------------------------------------------------
def load(settings: Settings, process: Process, archives: Iterable[Path], say: Callable[[str], None]) -> None:
    """Put archives into the node that it does not have yet."""
    record = settings.place / "loaded.json"
    if missing := store.missing(record, archives):
        address = Path(node.containerd_socket(process))
        wait_until("containerd's socket", address.exists, timeout=30, alive=process)
        store.load(address, record, missing, snapshotter=checks.snapshotter(settings.build))
        say(f"{len(missing)} images loaded")


# -- ready ---------------------------------------------------------------------------------------------------------
def wait_until_ready(settings: Settings, process: Process, say: Callable[[str], None]) -> None:
    """Wait for the API server, then for what tests take for granted."""
    api = Api(settings.kubeconfig)
    wait_until("the API server is ready", api.ready, timeout=START_TIMEOUT, alive=process)
    say("API server ready")
    for further in settings.nodes[1:]:  # one that was there when a kept state was last up
        api.forget_node(further.name)
    apply_manifests(settings)
    nodes, deployments = "/api/v1/nodes", "/apis/apps/v1/namespaces/kube-system/deployments"
    api.wait_for("the node is Ready", nodes, settings.node.name, condition("Ready"), timeout=START_TIMEOUT)
    api.wait_for("CoreDNS is available", deployments, "coredns", condition("Available"), timeout=START_TIMEOUT)
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    api.wait_for("the default ServiceAccount", accounts, "default", lambda _: True, timeout=START_TIMEOUT)
    # On a warm start the API may still show yesterday's Ready: what counts is an answer through kube-proxy and a
    # running pod.
    wait_until("cluster DNS answers", lambda: dns_answers(settings), timeout=START_TIMEOUT, alive=process)
    say("node Ready, cluster DNS answers")


def apply_manifests(settings: Settings) -> None:
    """Create or update what is in ``manifests``."""
    values = {"IMAGE": recipes.COREDNS, "ADDRESS": settings.dns_service, "DOMAIN": settings.cluster_domain}
    kubectl: list[str | Path] = [settings.binaries / "kubectl", "--kubeconfig", settings.kubeconfig]
    for path in sorted((HERE / "manifests").glob("*.yaml")):
        text = Template(path.read_text()).substitute(values)
        system.run([*kubectl, "apply", "--server-side", "--force-conflicts", "-f", "-"], text=text)


def dns_answers(settings: Settings) -> bool:
    """Whether the service address of DNS gives kubernetes.default's address to the node."""
    with system.in_network(network.namespace(settings.node.namespace)):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with client:
        client.settimeout(0.3)
        try:
            client.sendto(dns_query(settings), (settings.dns_service, 53))
            return socket.inet_aton(settings.api_service) in client.recv(512)
        except OSError:
            return False


def dns_query(settings: Settings) -> bytes:
    """A query for the address of kubernetes.default (RFC 1035, section 4.1)."""
    labels = f"kubernetes.default.svc.{settings.cluster_domain}".split(".")
    name = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"
    return b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + name + b"\x00\x01\x00\x01"


# -- the laptop ----------------------------------------------------------------------------------------------------
def ensure_laptop(settings: Settings, say: Callable[[str], None]) -> None:
    """Make the laptop, if it is not there."""
    prepare_clone(settings)
    laptop = Laptop(settings)
    if laptop.holder() is None:
        laptop.start()
        check_laptop(settings, laptop)
        say("laptop ready")


def check_laptop(settings: Settings, laptop: Laptop) -> None:
    """Make sure that its user can run what is in the clone."""
    if not (settings.clone / ".venv" / "bin" / "python").exists():
        return
    tried = laptop.run(["python", "-c", "import bridge"])
    if tried.returncode:
        laptop.stop()
        said = " ".join(tried.stderr.strip().splitlines()[-1:])
        raise HarnessError(f"the laptop's ordinary user can't run the clone's Python ({said}).{PRIVATE_FILES}")


def prepare_clone(settings: Settings) -> None:
    """Make bridge importable wherever the clone is mounted, and compiled: the laptop's user may not write there."""
    python = settings.clone / ".venv" / "bin" / "python"
    if not python.exists():
        return
    for site in (settings.clone / ".venv" / "lib").glob("python3*/site-packages"):
        here = site / "bridge_here.pth"
        if not here.exists():
            here.write_text("../../../..\n")
    subprocess.run(
        [python, "-m", "compileall", "-q", "bridge"], cwd=settings.clone, check=False, stdout=subprocess.DEVNULL
    )


# -- the control plane, from outside -------------------------------------------------------------------------------
def restart_apiserver(settings: Settings) -> None:
    """Kill the API server; return when its successor is ready."""
    components.restart(settings, "kube-apiserver")

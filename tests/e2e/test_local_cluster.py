"""The local cluster is what the other tests take it for."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import socket
import statistics
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster import components, down, network, node, second_node, system, up
from tests.cluster.access import Kubectl
from tests.cluster.api import Api
from tests.cluster.laptop import Laptop
from tests.cluster.link import Link
from tests.cluster.settings import Settings
from tests.e2e.faults.traffic import traffic
from tests.e2e.running import eventually
from tests.e2e.workloads import client, deployment, manifest, service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.access import Cluster

pytestmark = pytest.mark.local_cluster


def say_nothing(_: str) -> None:
    """Progress that nobody reads."""


@pytest.fixture(scope="module")
def named() -> Iterator[Settings]:
    """Names for a second cluster, which is down in the end."""
    settings = Settings(name="bridge-check", root_port=16444)
    yield settings
    down.down(settings)


@pytest.fixture
def second(named: Settings) -> Settings:
    """A second cluster, up; tests may break it."""
    up.up(named, say_nothing)
    return named


@pytest.fixture
def second_laptop(second: Settings) -> Laptop:
    """The second cluster's laptop, whose link tests may break."""
    return Laptop(second)


@pytest.fixture
def second_kubectl(second: Settings) -> Iterator[Kubectl]:
    """Kubectl in a namespace of the second cluster."""
    kubectl = Kubectl(str(second.binaries / "kubectl"), second.kubeconfig)
    name = f"e2e-{secrets.token_hex(4)}"
    kubectl("create", "namespace", name)
    kubectl("--namespace", name, "wait", "--for=create", "serviceaccount/default", "--timeout=30s")
    yield kubectl.within(name)
    kubectl("delete", "namespace", name, "--wait=false", check=False)


# -- what the laptop reaches ---------------------------------------------------------------------------------------
def connects(laptop: Laptop, address: str, port: int, *, timeout: float = 0.5) -> bool:
    """Whether a TCP connection from the laptop is accepted."""
    with laptop.in_network():
        client = socket.socket()
    with client:
        client.settimeout(timeout)
        return client.connect_ex((address, port)) == 0


def an_address_of_a_pod(settings: Settings) -> str:
    pods = Api(settings.kubeconfig).get("/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dkube-dns")
    return str(pods["items"][0]["status"]["podIP"])


def forbidden(settings: Settings) -> dict[str, tuple[str, int]]:
    return {
        "a pod": (an_address_of_a_pod(settings), 53),
        "a service": (settings.api_service, 443),
        "the DNS service": (settings.dns_service, 53),
        "the kubelet": (settings.node.address, 10250),
        "etcd": (settings.node.address, 2379),
        "kube-proxy": (settings.node.address, 10256),
    }


@contextmanager
def routes_by_hand(settings: Settings) -> Iterator[None]:
    """Routes to pods and services, as root adds them who tries to get there."""
    ranges = (settings.pod_range, settings.service_range, "default")
    for one in ranges:
        network.ip(settings.laptop_namespace, f"route add {one} via {settings.node.address}")
    yield
    for one in ranges:
        network.ip(settings.laptop_namespace, f"route del {one}")


def test_the_laptop_reaches_the_api_server(local_laptop: Laptop, settings: Settings) -> None:
    assert connects(local_laptop, settings.node.address, settings.api_port, timeout=5)
    assert local_laptop.run(["kubectl", "get", "--raw=/readyz"]).stdout == "ok"


def test_the_laptop_reaches_nothing_else(local_laptop: Laptop, settings: Settings) -> None:
    reached = [what for what, where in forbidden(settings).items() if connects(local_laptop, *where)]
    assert not reached


def test_the_laptop_reaches_nothing_else_by_routes_added_by_hand(local_laptop: Laptop, settings: Settings) -> None:
    with routes_by_hand(settings):
        reached = [what for what, where in forbidden(settings).items() if connects(local_laptop, *where)]
    assert not reached


def test_the_laptop_gets_no_answer_from_cluster_dns_over_udp(local_laptop: Laptop, settings: Settings) -> None:
    with routes_by_hand(settings):
        with local_laptop.in_network():
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with client:
            client.settimeout(0.5)
            client.sendto(up.dns_query(settings), (settings.dns_service, 53))
            with pytest.raises(TimeoutError):
                client.recv(512)


# -- who is on it --------------------------------------------------------------------------------------------------
def test_the_user_is_an_ordinary_one(local_laptop: Laptop, settings: Settings) -> None:
    status = local_laptop.run(["cat", "/proc/self/status"]).stdout
    fields = dict(re.findall(r"^(\w+):\t(.*)$", status, re.MULTILINE))
    number = str(settings.user_id)
    assert fields["Uid"].split() == [number] * 4
    assert fields["Gid"].split() == [number] * 4
    assert not fields["Groups"].strip()
    assert all(int(fields[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"))
    assert fields["NoNewPrivs"] == "0"
    assert local_laptop.run(["id", "-un"]).stdout == f"{settings.user}\n"


@pytest.mark.parametrize(
    "attempt",
    [
        "cat /home/dev/bridge/.cluster/kubeconfig",
        "touch /etc/anything",
        "touch /home/dev/bridge/anything",
        "mount -t tmpfs none /mnt",
        "ip link add x type dummy",
        "nft list ruleset",
        "kill -0 1",
    ],
)
def test_the_user_may_not(local_laptop: Laptop, attempt: str) -> None:
    assert local_laptop.run(["sh", "-c", attempt]).returncode != 0


def test_the_user_may_make_namespaces_with_nft_in_them(local_laptop: Laptop) -> None:
    inside = "nft add table inet t && nft list tables && mount -t tmpfs none /mnt && id -u"
    result = local_laptop.run(["unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-ec", inside])
    assert result.stdout.split() == ["table", "inet", "t", "0"], result.stderr


def test_the_user_may_open_devices_as_on_any_distribution(local_laptop: Laptop) -> None:
    for device in ("/dev/fuse", "/dev/net/tun"):
        result = local_laptop.run(["sh", "-c", f"! test -e {device} || : <> {device}"])
        assert result.returncode == 0, result.stderr


def test_the_user_has_a_home_a_clone_and_the_commands(local_laptop: Laptop) -> None:
    writable = "test -w ~ && test -w /tmp && test -w $XDG_RUNTIME_DIR"
    script = f"pwd; {writable} && python -c 'import bridge; print(bridge.__file__)'"
    result = local_laptop.run(["sh", "-ec", script])
    assert result.stdout.split() == ["/home/dev/bridge", "/home/dev/bridge/bridge/__init__.py"], result.stderr
    assert local_laptop.run(["bridge", "--help"]).returncode == 0


def test_a_command_keeps_its_process_id_and_exit_code(local_laptop: Laptop) -> None:
    with local_laptop.popen(["sh", "-c", "echo $$; exit 7"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.read()) == process.pid
    assert process.returncode == 7


def test_a_command_gets_the_environment_byte_for_byte(local_laptop: Laptop) -> None:
    value = "a\nb 'c' \"d\" $E " + "x" * 100_000
    result = local_laptop.run(["python", "-c", "import os; print(os.environ['V'], end='')"], env={"V": value})
    assert result.stdout == value


def test_the_laptop_knows_its_processes(local_laptop: Laptop) -> None:
    with local_laptop.popen(["sleep", "100"]) as process:
        system.wait_until("it is listed", lambda: process.pid in local_laptop.processes(), timeout=5)
        process.kill()
    assert process.pid not in local_laptop.processes()


def test_a_kubeconfig_of_a_service_account_has_only_its_rights(
    local_laptop: Laptop, kubectl: Kubectl, namespace: str
) -> None:
    kubectl("create", "serviceaccount", "someone")
    kubectl("create", "role", "look", "--verb=get,list", "--resource=pods")
    kubectl("create", "rolebinding", "look", "--role=look", f"--serviceaccount={namespace}:someone")
    path = local_laptop.make_kubeconfig("someone", namespace)
    asked = [["get", "pods"], ["get", "secrets"], ["get", "pods", "--namespace=kube-system"]]
    answers = [local_laptop.run(["kubectl", "--kubeconfig", path, *words]) for words in asked]
    assert [answer.returncode for answer in answers] == [0, 1, 1]
    assert "Forbidden" in answers[1].stderr


# -- the link ------------------------------------------------------------------------------------------------------
@pytest.fixture
def link(second: Settings) -> Iterator[Link]:
    """The link, plain again afterwards."""
    link = Link(second)
    yield link
    link.restore()
    assert link.describe() == "plain"


def handshakes(laptop: Laptop, settings: Settings, count: int = 5) -> list[float]:
    """How long TCP handshakes with the API server take, in milliseconds."""
    times = []
    for _ in range(count):
        began = time.monotonic()
        assert connects(laptop, settings.node.address, settings.api_port, timeout=10)
        times.append((time.monotonic() - began) * 1000)
    return times


@contextmanager
def open_connection(laptop: Laptop, settings: Settings) -> Iterator[socket.socket]:
    with laptop.in_network():
        client = socket.socket()
    with client:
        client.settimeout(5)
        client.connect((settings.node.address, settings.api_port))
        yield client


def answered(client: socket.socket, *, timeout: float) -> bool:
    """Whether the API server answers something (here: that this is no TLS)."""
    client.settimeout(timeout)
    try:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"400" in client.recv(100)
    except TimeoutError:
        return False


def test_delay_is_added_each_way(link: Link, second_laptop: Laptop, second: Settings) -> None:
    assert min(handshakes(second_laptop, second)) < 10
    link.slow(delay=25)
    assert link.describe() == "delay 25 ms, loss 0 % each way"
    assert 50 <= statistics.median(handshakes(second_laptop, second)) < 70
    link.restore()
    assert min(handshakes(second_laptop, second)) < 10


def retransmitted(settings: Settings) -> int:
    """TCP segments that the node, which sends the answers, sent again, ever."""
    node = f"--net={network.namespace(settings.first.namespace)}"
    names, values = (
        line.split() for line in system.run(["nsenter", node, "grep", "^Tcp:", "/proc/net/snmp"]).splitlines()
    )
    return int(values[names.index("RetransSegs")])


def test_lost_frames_are_sent_again(link: Link, second_laptop: Laptop, second: Settings) -> None:
    before = retransmitted(second)
    link.slow(loss=3)  # some dozens of the answer's 2000 packets; with 20 kubectl gives up its handshake at times
    result = second_laptop.run(["kubectl", "get", "--raw=/openapi/v2"], timeout=100)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["swagger"] == "2.0"
    assert retransmitted(second) > before


def test_a_cut_link_is_noticed_at_once_and_mends(link: Link, second_laptop: Laptop, second: Settings) -> None:
    with open_connection(second_laptop, second) as client:
        with link.is_cut():
            with second_laptop.in_network():
                other = socket.socket()
            with other:
                assert other.connect_ex((second.node.address, second.api_port)) == errno.ENETUNREACH
        assert answered(client, timeout=10)


@pytest.mark.parametrize("delay", [0, 5])
def test_a_black_hole_says_nothing_and_mends(link: Link, second_laptop: Laptop, second: Settings, delay: float) -> None:
    link.slow(delay=delay)
    with open_connection(second_laptop, second) as client:
        with link.is_black_hole():
            assert not connects(second_laptop, second.node.address, second.api_port, timeout=0.5)
            assert not answered(client, timeout=0.5)
        client.settimeout(10)
        assert b"400" in client.recv(100)


def test_a_connection_outlives_a_change_of_the_delay(link: Link, second_laptop: Laptop, second: Settings) -> None:
    with open_connection(second_laptop, second) as client:
        link.slow(delay=10)
        link.slow(delay=20)
        link.slow()
        assert answered(client, timeout=10)


# -- the control plane ---------------------------------------------------------------------------------------------
def test_the_usual_admission_plugins_are_on(cluster: Cluster, kubectl: Kubectl, namespace: str) -> None:
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}
    container = {"name": "x", "image": "bridge.local/debug:1"}
    with pytest.raises(system.HarnessError, match='violates PodSecurity "restricted'):
        kubectl.apply({**pod, "spec": {"containers": [container]}})
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce-")
    limit = {"type": "Container", "max": {"memory": "64Mi"}}
    named = {"metadata": {"name": "limits"}}
    kubectl.apply({"apiVersion": "v1", "kind": "LimitRange", **named, "spec": {"limits": [limit]}})
    greedy = {**container, "resources": {"limits": {"memory": "1Gi"}}}
    with pytest.raises(system.HarnessError, match="maximum memory usage per Container is 64Mi"):
        kubectl.apply({**pod, "spec": {"containers": [greedy]}})
    kubectl("create", "quota", "none", "--hard=pods=0")
    with pytest.raises(system.HarnessError, match="exceeded quota: none"):
        kubectl.apply({**pod, "spec": {"containers": [container]}})


@pytest.mark.parametrize("name", ["etcd", "kube-apiserver", "kube-controller-manager", "containerd", "kubelet"])
def test_a_restart_of_a_component_leaves_the_cluster_healthy(
    second: Settings, second_kubectl: Kubectl, name: str
) -> None:
    second_kubectl("create", "deployment", "web", "--image=bridge.local/web:1")
    second_kubectl.rollout("deployment/web")
    before = (second.control / name).read_text()
    components.restart(second, name)
    assert (second.control / name).read_text() != before
    second_kubectl("scale", "deployment/web", "--replicas=2")
    second_kubectl.rollout("deployment/web")
    pods = second_kubectl.json("get", "pods")["items"]
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods] == [0, 0]


def test_a_component_that_is_held_is_down_until_it_is_let_go(second: Settings) -> None:
    api = Api(second.kubeconfig)
    with components.held(second, "etcd"):
        assert not components.answers(second, "etcd")
    assert api.get("/api/v1/namespaces/default")
    with components.held(second, "kube-apiserver"):
        assert not api.ready()
    assert api.ready()


def test_a_component_that_is_not_there_can_not_be_held(second: Settings) -> None:
    with pytest.raises(system.HarnessError, match="node1 has no cubelet, but etcd, "):
        components.hold(second, "cubelet")


# -- the second node -----------------------------------------------------------------------------------------------
@pytest.fixture
def two_nodes(second: Settings) -> Iterator[Settings]:
    """The second cluster, with its second node for the time of the test."""
    with second_node.started(second):
        yield second
    assert second_node.running(second) is None


def on(name: str, thing: dict[str, Any]) -> dict[str, Any]:
    """A pod or a Deployment whose pods run on that node."""
    pod = thing["spec"].get("template", thing)["spec"]
    pod["nodeSelector"] = {"kubernetes.io/hostname": name}
    return thing


def one_on_each_node(kubectl: Kubectl) -> dict[str, str]:
    """Run a workload with a Service and a client on each of the nodes; the addresses of the workloads' pods."""
    names = ("node1", "node2")
    workloads = [on(name, deployment(f"web-on-{name}")) for name in names]
    clients = [on(name, client(f"client-on-{name}")) for name in names]
    kubectl.apply(manifest(*workloads, *clients, *(service(f"web-on-{name}") for name in names)))
    for name in names:
        kubectl.rollout(f"deployment/web-on-{name}")
        kubectl("wait", "--for=condition=Ready", f"pod/client-on-{name}", "--timeout=60s")
    pods = kubectl.json("get", "pods")["items"]
    return {pod["metadata"]["labels"]["app"]: pod["status"]["podIP"] for pod in pods if "labels" in pod["metadata"]}


def test_pods_on_two_nodes_reach_each_other_and_services(two_nodes: Settings, second_kubectl: Kubectl) -> None:
    addresses = one_on_each_node(second_kubectl)
    targets = [*(f"http://{name}/" for name in addresses), *(f"http://{one}:8080/" for one in addresses.values())]
    for name, subnet in (("node1", "10.244.0."), ("node2", "10.244.1.")):
        asked = ["exec", f"client-on-{name}", "--", "curl", "-sS", "--max-time", "5", *targets]
        answers = second_kubectl(*asked).splitlines()
        assert len(answers) == 4
        assert all(f"from={subnet}" in answer for answer in answers), answers  # not hidden behind a node
    assert "web version" in second_kubectl("logs", "deployment/web-on-node2")


def test_a_node_that_vanishes_is_noticed_emptied_and_may_come_back(
    two_nodes: Settings, second_kubectl: Kubectl
) -> None:
    pod = one_on_each_node(second_kubectl)["web-on-node2"]
    second_node.vanish(two_nodes)
    asked = ["exec", "client-on-node1", "--", "curl", "-sS", "--max-time", "1", f"http://{pod}:8080/"]
    with pytest.raises(system.HarnessError, match=r"(?i)timed out"):  # and not refused, or reset
        second_kubectl(*asked)
    second_kubectl("wait", "--for=condition=Ready=Unknown", "node/node2", "--timeout=60s")
    second_kubectl("wait", "--for=jsonpath={.metadata.deletionTimestamp}", "pod/client-on-node2", "--timeout=30s")
    second_node.start(two_nodes)
    second_kubectl("wait", "--for=delete", "pod/client-on-node2", "--timeout=30s")
    second_kubectl.rollout("deployment/web-on-node2")
    eventually(lambda: second_kubectl(*asked[:-1], "http://web-on-node2/", check=False), "version=1")


def test_a_second_node_is_forgotten_when_it_is_stopped(second: Settings, second_kubectl: Kubectl) -> None:
    with second_node.started(second):
        second_kubectl.apply(on("node2", client()))
        second_kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
    assert [one["metadata"]["name"] for one in second_kubectl.json("get", "nodes")["items"]] == ["node1"]
    assert second_kubectl.json("get", "pods")["items"] == []
    assert not second.of(2).place.exists()


# -- what the fault tests measure with ------------------------------------------------------------------------------
def test_traffic_is_counted_through_a_restart_of_the_api_server(second: Settings, second_kubectl: Kubectl) -> None:
    second_kubectl.apply(manifest(deployment(), service(), client()))
    second_kubectl.rollout("deployment/web")
    second_kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
    with traffic(second_kubectl) as meter:
        began = time.monotonic()
        components.restart(second, "kube-apiserver")
        ended = time.monotonic()
    assert meter.failed() == []
    assert len(meter.answered_by("version=1", "new")) > 40 * (ended - began)
    assert len(meter.of("kept")) > 4 * (ended - began)
    assert meter.gap() < 0.5
    assert 0 <= meter.first_success_after(began).ended - began < 0.5


def test_the_tests_server_starts_when_told_and_dies_at_once_with_connections_open(local_laptop: Laptop) -> None:
    settings = {"PORT": "18083", "STARTUP": "0.3"}
    began = time.monotonic()
    with local_laptop.popen([".build/bin/web"], env=settings, stderr=subprocess.PIPE) as server:
        assert server.stderr
        assert b"web version" in server.stderr.readline()
        assert time.monotonic() - began >= 0.3
        system.wait_until("it listens", lambda: connects(local_laptop, "127.0.0.1", 18083), timeout=5)
        with local_laptop.in_network(), socket.create_connection(("127.0.0.1", 18083)) as waiting:
            waiting.sendall(b"GET /slow?ms=60000 HTTP/1.1\r\nHost: web\r\n\r\n")
            server.terminate()
            assert server.wait(2) != 0
            with suppress(ConnectionResetError):  # as the kernel likes it: the request may be half read
                assert waiting.recv(100) == b""


WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: bridge.local/web:1
        env: [{name: ECHO_PORT, value: "7000"}]
        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}, {name: echo, port: 7000}]}
---
apiVersion: v1
kind: Service
metadata: {name: web-headless}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 8080}]}
"""


def test_pods_reach_services_by_every_name(kubectl: Kubectl, namespace: str) -> None:
    kubectl.apply(WEB)
    kubectl("run", "debug", "--image=bridge.local/debug:1", "--command", "--", "sleep", "1000")
    kubectl.rollout("deployment/web")
    kubectl("wait", "--for=condition=Ready", "pod/debug", "--timeout=60s")
    names = ["web", f"web.{namespace}", f"web.{namespace}.svc", f"web.{namespace}.svc.cluster.local."]
    for name in names:
        assert "version=1" in kubectl("exec", "debug", "--", "curl", "-sS", "--max-time", "5", f"http://{name}/")
    assert len(kubectl("exec", "debug", "--", "dig", "+search", "+short", "web-headless").split()) == 2
    assert kubectl("exec", "debug", "--", "sh", "-c", "printf abc | nc -N web 7000") == "abc"
    assert "NXDOMAIN" in kubectl("exec", "debug", "--", "dig", "example.com")


# -- its life ------------------------------------------------------------------------------------------------------
def records(settings: Settings) -> dict[str, str]:
    files = [*settings.run.iterdir(), *settings.control.iterdir()]
    return {str(path): path.read_text() for path in files if path.is_file()}


def test_up_when_up_changes_nothing(settings: Settings, local_laptop: Laptop) -> None:
    before = records(settings)
    up.up(settings, say_nothing)
    assert records(settings) == before


def test_down_leaves_nothing(second: Settings) -> None:
    Link(second).slow(delay=1)
    second_node.start(second)
    assert "process node2" in down.left_over(second)
    words = ["sh", "-c", "echo here; sleep 1000 & sleep 1000"]
    with Laptop(second).popen(words, start_new_session=True, stdout=subprocess.PIPE) as forgotten:
        assert forgotten.stdout
        assert forgotten.stdout.readline() == b"here\n"
        assert traces_of(second)
        down.down(second)
        assert forgotten.wait(5) == -9
    assert traces_of(second) == []
    assert not second.state.exists()


def traces_of(settings: Settings) -> list[str]:
    """Whatever of a cluster can be seen from the root namespaces."""
    processes = []
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) != os.getpid() and belongs(process, settings):
            processes.append(f"process {process.name}")
    return [*down.left_over(settings), *processes]


def belongs(process: Path, settings: Settings) -> bool:
    """Whether a process is in a cgroup of the cluster, or of its command line."""
    try:
        about = (process / "cgroup").read_text() + (process / "cmdline").read_text()
    except OSError:
        return False
    return f"/{settings.name}-" in about or str(settings.state) in about


@pytest.mark.parametrize("victim", ["node", "hop", "laptop"])
def test_up_helps_after_a_part_was_killed(second: Settings, victim: str) -> None:
    process = system.load(second.run / victim)
    assert process is not None
    process.end()
    up.up(second, say_nothing)
    assert Laptop(second).run(["kubectl", "get", "--raw=/readyz"]).stdout == "ok"


def test_a_component_that_is_killed_comes_back(second: Settings) -> None:
    record = second.control / "kubelet"
    before = record.read_text()
    system.run(node.command(second, ["kill", "-9", before]))
    system.wait_until("kubelet runs again", lambda: record.exists() and record.read_text() != before, timeout=20)


def test_a_state_of_another_machine_is_not_used(second: Settings) -> None:
    down.down(second, keep_state=True)
    (second.state / "origin").write_text("another machine's")
    stray = second.state / "etcd" / "stray"
    stray.touch()
    up.up(second, say_nothing)
    assert not stray.exists()


def test_a_warm_start_keeps_what_was_there(second: Settings) -> None:
    api = Api(second.kubeconfig)
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}}
    assert api.request("POST", "/api/v1/namespaces/default/configmaps", body)[0] == 201
    down.down(second, keep_state=True)
    assert down.left_over(second) == []
    up.up(second, say_nothing)
    assert api.get("/api/v1/namespaces/default/configmaps/kept")


def test_another_clone_does_not_touch_a_cluster_that_is_up(second: Settings, tmp_path: Path) -> None:
    stranger = replace(second, clone=tmp_path)
    with pytest.raises(system.HarnessError, match="one at a time"):
        up.up(stranger, say_nothing)
    down.down(stranger)
    assert up.already_up(second)


def test_what_a_removed_clone_left_is_cleared_up(second: Settings, tmp_path: Path) -> None:
    (second.run / "clone").write_text(str(tmp_path / "removed"))
    second.run.rename(replace(second, clone=tmp_path / "removed").run)
    down.give_way(second)
    assert traces_of(second) == []

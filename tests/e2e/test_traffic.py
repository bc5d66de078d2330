"""Traffic both ways on the real cluster: names and programs outbound, bytes and connections inbound."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.running import PROGRAM, Bridge, answered_by, ask
from tests.e2e.workloads import IMAGE, client, deployment, manifest, service

if TYPE_CHECKING:
    from tests.cluster.access import AnyLaptop, Kubectl

APPS = Path(__file__).parent / "apps"
SERVER = "tests/e2e/apps/server.py"


@pytest.fixture
def shop(kubectl: Kubectl, namespace: str) -> str:
    """The web workload with an HTTP and a TCP echo port, reached by an ordinary and a headless Service."""
    ports = [{"name": "http", "containerPort": 8080}, {"name": "echo", "containerPort": 7000}]
    headless = service("web-headless", clusterIP="None")
    headless["spec"]["selector"] = {"app": "web"}
    web = service()
    web["spec"]["ports"].append({"name": "echo", "port": 7000, "targetPort": "echo"})
    settings = [{"name": "ECHO_PORT", "value": "7000"}]
    aliases = [{"ip": "10.9.8.7", "hostnames": ["the-alias"]}]
    kubectl.apply(manifest(deployment(container={"ports": ports, "env": settings}, hostAliases=aliases)))
    kubectl.apply(manifest(web, headless, client()))
    kubectl.rollout("deployment/web")
    kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
    return namespace


def inside(
    laptop: AnyLaptop, namespace: str, *command: str, swap: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in the cluster's place, to its end."""
    target = ["--swap", swap] if swap else []
    return laptop.run([PROGRAM, "run", "-n", namespace, *target, *command], timeout=90)


PYTHON_CLIENT = """
import socket, urllib.request
print(urllib.request.urlopen("http://web/", timeout=5).read().decode())
with socket.create_connection(("web", 7000), 5) as echo:
    echo.sendall(b"half-closed"); echo.shutdown(socket.SHUT_WR)
    print(echo.makefile("rb").read().decode())
print(len({info[4][0] for info in socket.getaddrinfo("web-headless", 80)}), "address")
"""
NODE_CLIENT = 'fetch("http://web/").then(r => r.text()).then(console.log)'


def test_python_reaches_http_tcp_and_headless_names(laptop: AnyLaptop, shop: str) -> None:
    done = inside(laptop, shop, "python", "-c", PYTHON_CLIENT)
    assert done.returncode == 0, done.stderr
    assert "version=1" in done.stdout
    assert "half-closed" in done.stdout
    assert "1 address" in done.stdout


def test_curl_reaches_a_pod_and_a_cluster_address(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    pod = kubectl.json("get", "pods", "-l", "app=web")["items"][0]["status"]["podIP"]
    address = kubectl.json("get", "service/web")["spec"]["clusterIP"]
    done = inside(laptop, shop, "curl", "-sS", f"http://{pod}:8080/", f"http://{address}/", f"http://web.{shop}/")
    assert done.stdout.count("version=1") == 3, done.stderr


@pytest.mark.local_cluster
def test_a_static_go_program_reaches_the_cluster(laptop: AnyLaptop, shop: str) -> None:
    names = [f"http://web.{shop}.svc/", f"http://web.{shop}.svc.cluster.local./", "http://web/"]
    done = inside(laptop, shop, ".build/bin/web", "fetch", *names)
    assert done.stdout.count("version=1") == 3, done.stderr


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed here")
def test_node_reaches_the_cluster(laptop: AnyLaptop, shop: str) -> None:
    if laptop.run(["node", "--version"]).returncode:
        pytest.skip("node is not in the laptop user's PATH")
    assert "version=1" in inside(laptop, shop, "node", "-e", NODE_CLIENT).stdout


def test_dns_answers_as_in_the_pod(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    address = kubectl.json("get", "service/web")["spec"]["clusterIP"]
    name = f"web.{shop}.svc.cluster.local"
    script = f"""
        dig +short {name}; dig +short -x {address}; dig +short SRV _http._tcp.{name}; dig +tcp +short {name}
        getent hosts no-such-name || echo none; getent hosts the-alias
    """
    done = inside(laptop, shop, "sh", "-c", script, swap="web")
    lines = done.stdout.split("\n")
    assert lines[:5] == [address, f"{name}.", f"0 100 80 {name}.", address, "none"], done.stdout + done.stderr
    assert lines[5].split() == ["10.9.8.7", "the-alias"]


def test_a_port_that_nobody_has_fails_as_in_the_pod(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    pod = kubectl.json("get", "pods", "-l", "app=web")["items"][0]["status"]["podIP"]
    done = inside(laptop, shop, "curl", "-sS", "--max-time", "5", f"http://{pod}:9/")
    assert done.returncode == 7, done.stderr  # could not connect: refused, not accepted and then reset
    assert "version" not in done.stdout


def test_thirteen_big_puts_and_a_hundred_connections_come_back_whole(
    laptop: AnyLaptop, kubectl: Kubectl, shop: str
) -> None:
    with Bridge(laptop, "run", "-n", shop, "-s", "web", "python", SERVER, "8080") as session:
        session.swapped()
        answered_by(kubectl, "laptop pid=")
        answer = kubectl("exec", "-i", "client", "--", "python3", "-", "web", text=(APPS / "storm.py").read_text())
        assert answer == "identical\n"


def test_no_request_fails_while_the_original_comes_back(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    """A new connection every 20 ms, from before the process ends until after the proxy pod is gone."""
    asking = "while [ ! -e /tmp/enough ]; do curl -sS --max-time 12 http://web/ || echo failed; sleep 0.02; done 2>&1"
    with Bridge(laptop, "run", "-n", shop, "-s", "web", "python", SERVER, "8080") as session:
        session.swapped()
        answered_by(kubectl, "laptop pid=")
        command = [kubectl.program, "--kubeconfig", str(kubectl.kubeconfig), "-n", shop, "exec", "client", "--"]
        with subprocess.Popen([*command, "sh", "-c", asking], stdout=subprocess.PIPE, text=True) as asker:
            session.process.send_signal(signal.SIGTERM)
            assert session.wait() == 0
            kubectl("exec", "client", "--", "sh", "-c", "sleep 2; touch /tmp/enough")
            answers, _ = asker.communicate(timeout=30)
    seen = ["laptop" if "laptop pid" in line else "original" for line in answers.splitlines() if "failed" not in line]
    assert "failed" not in answers, answers
    assert seen[-1] == "original"


@pytest.mark.local_cluster
def test_http2_half_close_and_both_ports_pass_through_the_swap(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    """The static Go server is the process: cleartext HTTP/2 on one port, TCP echo with half-close on the other."""
    with Bridge(laptop, "run", "-n", shop, "-s", "web", "env", "VERSION=laptop", ".build/bin/web") as session:
        session.swapped()
        answered_by(kubectl, "version=laptop")
        curl = ask(kubectl, "http://web/", "--http2-prior-knowledge")
        assert "HTTP/2" in curl
        echo = "import socket as s; c = s.create_connection(('web', 7000)); c.sendall(b'x' * 99999); c.shutdown(1); "
        told = kubectl("exec", "client", "--", "python3", "-c", echo + "print(len(c.makefile('rb').read()))")
        assert told == "99999\n"


def test_localhost_has_the_laptop_s_servers_and_the_process_s_ports(laptop: AnyLaptop, shop: str) -> None:
    """A server on the laptop is reached from the sandbox; the process's own port is reached from the laptop."""
    host = laptop.popen(["python", SERVER, "18081"])
    try:
        with Bridge(laptop, "run", "-n", shop, "python", SERVER, "18082") as session:
            session.out.wait_for("serving", 30)
            outside = ["curl", "-sS", "--retry", "20", "--retry-connrefused", "--retry-delay", "1"]
            assert "laptop pid=" in laptop.run([*outside, "http://127.0.0.1:18082/"]).stdout
            asked = laptop.run([*outside, "http://127.0.0.1:18082/fetch?http://localhost:18081/"])
            assert f"laptop pid={host.pid}" in asked.stdout
    finally:
        host.terminate()
        host.wait(10)


def test_a_sidecar_that_starts_late_is_on_localhost(laptop: AnyLaptop, kubectl: Kubectl, namespace: str) -> None:
    settings = {"PORT": "6432", "VERSION": "pooler", "STARTUP": "10"}
    environment = [{"name": name, "value": value} for name, value in settings.items()]
    web = deployment()
    web["spec"]["template"]["spec"]["containers"].append({"name": "pooler", "image": IMAGE, "env": environment})
    kubectl.apply(manifest(web, service()))
    kubectl.rollout("deployment/web")
    script = "curl -sS localhost:6432 && exit 9; until curl -s localhost:6432; do sleep 0.2; done"
    done = inside(laptop, namespace, "sh", "-c", script, swap="web")
    assert (done.returncode, "version=pooler" in done.stdout) == (0, True), done.stdout + done.stderr

"""The main job on the real cluster: `bridge run --swap`, as an ordinary user on the laptop."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.running import PROGRAM, SERVER, answered_by, assert_restored, bridge, eventually, spec_of
from tests.e2e.workloads import deployment, manifest, service

if TYPE_CHECKING:
    from tests.cluster.access import AnyLaptop, Kubectl


def test_the_cluster_is_answered_by_the_laptop_and_then_by_the_original(
    laptop: AnyLaptop, kubectl: Kubectl, shop: str
) -> None:
    before = spec_of(kubectl)
    answered_by(kubectl, "version=1")
    with bridge(laptop, shop, "--swap", "web", "--", "python", SERVER, "8080") as session:
        session.swapped()
        answered_by(kubectl, "laptop pid=")
        assert spec_of(kubectl) == {**before, "replicas": 0}
        session.process.send_signal(signal.SIGTERM)
        assert session.wait() == 0  # the server's own code for SIGTERM
    assert_restored(kubectl, before)
    answered_by(kubectl, "version=1")


def test_the_exit_code_is_the_process_s_own(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    before = spec_of(kubectl)
    with bridge(laptop, shop, "-s", "deploy/web:web", "sh", "-c", "echo out; echo err >&2; exit 42") as session:
        assert session.wait() == 42
        assert session.out.text == "out\n"
        assert "err\n" in session.err.text
    assert_restored(kubectl, before)


def test_without_swap_the_process_joins_the_cluster(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    names = ["web", f"web.{shop}", f"web.{shop}.svc", f"web.{shop}.svc.cluster.local", f"web.{shop}.svc.cluster.local."]
    script = "; ".join(f"curl -sS --max-time 5 http://{name}/" for name in names)
    with bridge(laptop, shop, "sh", "-c", script) as session:
        assert session.wait() == 0
        assert session.out.text.count("version=1") == len(names)
    assert kubectl("get", "pods,secrets,replicasets", "-l", "bridge.internal/session", "-o", "name") == ""


def test_expose_maps_ports(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    with bridge(laptop, shop, "-s", "web", "-e", "9001:8080", "python", SERVER, "9001") as session:
        session.swapped()
        answered_by(kubectl, "laptop pid=")


def test_what_was_killed_on_the_laptop_is_put_back_by_restore(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    before = spec_of(kubectl)
    with bridge(laptop, shop, "-s", "web", "python", SERVER, "8080") as session:
        session.swapped()
        session.kill_all()
    assert spec_of(kubectl)["replicas"] == 0
    done = laptop.run([PROGRAM, "restore", "web", "-n", shop])
    assert done.returncode == 0, done.stderr
    assert "restored deployment/web" in done.stdout
    assert_restored(kubectl, before)


def test_a_target_that_a_dead_session_left_swapped_is_taken_over(
    laptop: AnyLaptop, kubectl: Kubectl, shop: str
) -> None:
    kubectl("scale", "deployment/web", "--replicas=2")
    kubectl.rollout("deployment/web")
    before = spec_of(kubectl)
    with bridge(laptop, shop, "-s", "web", "python", SERVER, "8080") as session:
        session.swapped()
        session.kill_all()
    with bridge(laptop, shop, "-s", "web", "python", SERVER, "8080") as session:
        session.swapped()
        assert "it had 2 replicas" in session.err.text
        answered_by(kubectl, "laptop pid=")
    assert_restored(kubectl, before)


def test_a_second_ctrl_c_stops_the_waiting_not_the_restoring(
    laptop: AnyLaptop, kubectl: Kubectl, namespace: str
) -> None:
    shell = {"image": "bridge.local/debug:1", "command": ["sh", "-c", "trap exit TERM; sleep 100000 & wait"]}
    when_told = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
    kubectl.apply(manifest(deployment(container={**shell, "readinessProbe": when_told})))

    def tell() -> None:
        """Have the original be Ready: it is not before, however long the test takes."""
        phase = ("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.phase}")
        eventually(lambda: kubectl(*phase), "Running", timeout=60)
        kubectl("exec", "deployment/web", "--", "touch", "/tmp/ready")

    tell()
    kubectl.rollout("deployment/web")
    before = spec_of(kubectl)
    with bridge(laptop, namespace, "-s", "web", "python", SERVER, "8080") as session:
        session.swapped()
        session.process.send_signal(signal.SIGINT)
        session.err.wait_for("the process has ended", 20)
        eventually(lambda: str(spec_of(kubectl)["replicas"]), "1")
        session.process.send_signal(signal.SIGINT)
        session.err.wait_for("not waiting until it is Ready", 20)
        session.wait()
    tell()
    assert_restored(kubectl, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_session_cleanly(
    laptop: AnyLaptop, kubectl: Kubectl, shop: str, number: signal.Signals
) -> None:
    before = spec_of(kubectl)
    with bridge(laptop, shop, "-s", "web", "python", SERVER, "8080") as session:
        session.swapped()
        session.process.send_signal(number)
        session.wait()
    assert_restored(kubectl, before)


def test_mashing_ctrl_c_never_stops_the_restore(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    before = spec_of(kubectl)
    with bridge(laptop, shop, "-s", "web", "python", SERVER, "8080", start_new_session=True) as session:
        session.swapped()
        for _ in range(5):
            session.process.send_signal(signal.SIGINT)
            time.sleep(0.1)  # noqa: TID251  # how a person mashes keys
        session.wait()
    assert_restored(kubectl, before)


def test_the_environment_is_the_container_s(laptop: AnyLaptop, kubectl: Kubectl, namespace: str) -> None:
    values = {"MULTI": "one\ntwo\n", "JSON": '{"a": "b c"}', "HUGE": "x" * 100_000, "QUOTES": """'"$HOME`id`"""}
    env = [{"name": name, "value": value} for name, value in values.items()]
    env.append({"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
    env.append({"name": "GREETING", "value": "hello $(JSON)"})
    kubectl.apply(manifest(deployment(container={"env": env}), service()))
    kubectl.rollout("deployment/web")
    with bridge(
        laptop, namespace, "-s", "web", "python", "-c", "import os, json; print(json.dumps(dict(os.environ)))"
    ) as session:
        assert session.wait() == 0
        seen = json.loads(session.out.text)
    assert {name: seen[name] for name in values} == values
    assert seen["GREETING"] == 'hello {"a": "b c"}'
    assert seen["VERSION"] == "1"  # the original image's own ENV line
    assert seen["WEB_SERVICE_PORT"] == "80"
    assert seen["HOME"] == laptop.run(["sh", "-c", "echo -n $HOME"]).stdout
    assert seen["BRIDGE_TARGET"] == "deployment/web"
    assert seen["POD_IP"].count(".") == 3


def test_an_environment_of_a_mebibyte_arrives_byte_for_byte(
    laptop: AnyLaptop, kubectl: Kubectl, namespace: str
) -> None:
    values = {f"PART_{number}": f"{number}\n'\"$é" + chr(97 + number) * 110_000 for number in range(9)}
    kubectl("create", "-f", "-", text=json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "huge"}, "data": values}
    ))  # fmt: skip
    kubectl.apply(manifest(deployment(container={"envFrom": [{"configMapRef": {"name": "huge"}}]})))
    kubectl.rollout("deployment/web")
    program = "import os, json, sys; json.dump(dict(os.environ), sys.stdout)"
    with bridge(laptop, namespace, "-s", "web", "python", "-c", program) as session:
        assert session.wait() == 0
        seen = json.loads(session.out.text)
    assert {name: seen[name] for name in values} == values


def test_stdin_reaches_the_process(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    with bridge(laptop, shop, "tr", "a-z", "A-Z", stdin=subprocess.PIPE) as session:
        assert session.process.stdin
        session.process.stdin.write(b"hello\n")
        session.process.stdin.close()
        assert session.wait() == 0
        assert session.out.text == "HELLO\n"

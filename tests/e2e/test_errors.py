"""Each way a session can't begin: told within seconds, with object, reason and next step; nothing is changed."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.running import PROGRAM, Bridge, assert_nothing_left
from tests.e2e.workloads import deployment, manifest, service

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.cluster.access import AnyLaptop, Kubectl
    from tests.cluster.laptop import Laptop

WITHIN = 15.0


@pytest.fixture
def web(kubectl: Kubectl, namespace: str) -> Iterator[str]:
    """A namespace with the web workload; at the end it must be as it was, and hold nothing of ours."""
    kubectl.apply(manifest(deployment(), service()))
    kubectl.rollout("deployment/web")
    before = kubectl.json("get", "deployment/web")
    yield namespace
    after = kubectl.json("get", "deployment/web")
    assert after["spec"] == before["spec"]
    assert after["metadata"]["annotations"] == before["metadata"]["annotations"]
    assert_nothing_left(kubectl)


def refused(laptop: AnyLaptop, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run bridge, which must fail, quickly."""
    begun = time.monotonic()
    done = laptop.run([PROGRAM, *words], timeout=60, **options)
    assert done.returncode not in (0, 1), done.stderr
    assert time.monotonic() - begun < WITHIN, done.stderr
    assert "Traceback" not in done.stderr
    assert "did not expect" not in done.stderr
    return done


def test_no_such_target_offers_near_names(laptop: AnyLaptop, web: str) -> None:
    done = refused(laptop, "run", "-n", web, "-s", "wbe", "true")
    assert done.returncode == 3
    assert "wbe" in done.stderr
    assert "deployment/web" in done.stderr


def test_no_such_container_names_those_there(laptop: AnyLaptop, web: str) -> None:
    done = refused(laptop, "run", "-n", web, "-s", "web:wep", "true")
    assert "wep" in done.stderr
    assert "web" in done.stderr


def test_several_candidates_are_named(laptop: AnyLaptop, kubectl: Kubectl, web: str) -> None:
    twin = deployment()
    twin["kind"], twin["spec"]["serviceName"] = "StatefulSet", "web"
    twin["spec"]["selector"]["matchLabels"] = twin["spec"]["template"]["metadata"]["labels"] = {"app": "twin"}
    kubectl.apply(twin)
    done = refused(laptop, "run", "-n", web, "-s", "web", "true")
    assert "deployment/web" in done.stderr
    assert "statefulset/web" in done.stderr


def test_no_such_namespace_offers_near_names(laptop: AnyLaptop, web: str) -> None:
    done = refused(laptop, "run", "-n", web + "x", "-s", "web", "true")
    assert web in done.stderr


def test_no_such_context_offers_near_names(laptop: AnyLaptop, web: str) -> None:
    done = refused(laptop, "run", "--context", "bridge-locl", "-s", "web", "true")
    assert "bridge-locl" in done.stderr


def test_no_kubeconfig_is_said(laptop: AnyLaptop, web: str) -> None:
    done = refused(laptop, "run", "--kubeconfig", "/nowhere/config", "-s", "web", "true")
    assert "/nowhere/config" in done.stderr


def kubeconfig(**changes: Any) -> str:
    user = {"name": "ann", "user": changes.get("user", {"token": "expired"})}
    cluster = {"name": "c", "cluster": {"server": changes["server"], "insecure-skip-tls-verify": True}}
    context = {"name": "c", "context": {"cluster": "c", "user": "ann"}}
    return json.dumps(
        {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "users": [user], "contexts": [context],
         "current-context": "c"}
    )  # fmt: skip


@pytest.mark.local_cluster
def test_an_unreachable_cluster_is_named(local_laptop: Laptop, web: str) -> None:
    local_laptop.write("/home/dev/.kube/nowhere", kubeconfig(server="https://127.0.0.1:9"))
    done = refused(local_laptop, "run", "--kubeconfig", "/home/dev/.kube/nowhere", "-s", "web", "true")
    assert "127.0.0.1:9" in done.stderr
    assert "refused" in done.stderr


@pytest.mark.local_cluster
def test_credentials_that_are_not_accepted_are_said(local_laptop: Laptop, web: str) -> None:
    server = json.loads(local_laptop.run(["cat", "/home/dev/.kube/config"]).stdout)["clusters"][0]["cluster"]["server"]
    local_laptop.write("/home/dev/.kube/expired", kubeconfig(server=server))
    done = refused(local_laptop, "run", "--kubeconfig", "/home/dev/.kube/expired", "-n", web, "-s", "web", "true")
    assert "credentials" in done.stderr or "token" in done.stderr


@pytest.mark.local_cluster
def test_a_missing_right_is_named_with_the_role_to_ask_for(local_laptop: Laptop, kubectl: Kubectl, web: str) -> None:
    kubectl("create", "serviceaccount", "dev")
    verbs = ("--verb=get,list", "--resource=pods,services,deployments.apps")
    kubectl("create", "role", "dev", *verbs)
    kubectl("create", "rolebinding", "dev", "--role=dev", f"--serviceaccount={web}:dev")
    config = local_laptop.make_kubeconfig("dev", web)
    done = refused(local_laptop, "run", "--kubeconfig", config, "-n", web, "-s", "web", "true")
    assert done.returncode == 5
    assert "patch deployments.apps" in done.stderr
    assert "kind: Role" in done.stderr


@pytest.mark.local_cluster
def test_the_role_that_is_asked_for_is_enough(local_laptop: Laptop, kubectl: Kubectl, web: str) -> None:
    kubectl("create", "serviceaccount", "dev")
    config = local_laptop.make_kubeconfig("dev", web)
    done = refused(local_laptop, "run", "--kubeconfig", config, "-n", web, "-s", "deployment/web", "true")
    role = done.stderr[done.stderr.index("apiVersion: rbac") :].replace("\n        ", "\n")
    kubectl.apply(role)
    allowed = local_laptop.run([PROGRAM, "run", "--kubeconfig", config, "-n", web, "-s", "deployment/web", "true"])
    assert allowed.returncode == 0, allowed.stderr


def test_an_image_that_cannot_be_pulled_is_said(laptop: AnyLaptop, web: str) -> None:
    done = refused(laptop, "run", "-n", web, "-s", "web", "--image", "nowhere.invalid/bridge:1", "true")
    assert "nowhere.invalid/bridge:1" in done.stderr
    assert "make proxy-image" in done.stderr


def test_a_pod_that_cannot_be_scheduled_is_said(laptop: AnyLaptop, kubectl: Kubectl, namespace: str) -> None:
    kubectl.apply(deployment("far", nodeSelector={"planet": "mars"}))
    done = refused(laptop, "run", "-n", namespace, "-s", "far", "true")
    assert "node" in done.stderr
    assert_nothing_left(kubectl)


def test_a_quota_says_no_before_anything_changes(laptop: AnyLaptop, kubectl: Kubectl, web: str) -> None:
    kubectl("create", "quota", "few", "--hard=pods=1")
    kubectl("wait", "quota/few", "--for=jsonpath={.status.used.pods}=1", "--timeout=30s")
    done = refused(laptop, "run", "-n", web, "-s", "web", "true")
    assert "few" in done.stderr
    assert "quota" in done.stderr


def test_a_limit_range_that_the_target_meets_is_met(laptop: AnyLaptop, kubectl: Kubectl, namespace: str) -> None:
    """The proxy asks for less than the original, unless the namespace wants as much."""
    least = {"type": "Container", "min": {"cpu": "300m", "memory": "200Mi"}}
    kubectl.apply(
        {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "least"}, "spec": {"limits": [least]}}
    )
    enough = {"requests": {"cpu": "300m", "memory": "200Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}}
    kubectl.apply(deployment("big", container={"resources": enough}))
    kubectl.rollout("deployment/big")
    done = laptop.run([PROGRAM, "run", "-n", namespace, "-s", "big", "true"], timeout=60)
    assert done.returncode == 0, done.stderr
    assert_nothing_left(kubectl)


def test_pod_security_says_no_before_anything_changes(laptop: AnyLaptop, kubectl: Kubectl, namespace: str) -> None:
    sidecar = {"name": "root", "image": "bridge.local/web:1", "env": [{"name": "PORT", "value": "9"}]}
    root = {**sidecar, "securityContext": {"privileged": True}}
    odd = deployment("odd")
    odd["spec"]["template"]["spec"]["containers"].append(root)
    kubectl.apply(odd)
    kubectl.rollout("deployment/odd")
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=baseline")
    done = refused(laptop, "run", "-n", namespace, "-s", "odd", "true")
    assert "privileged" in done.stderr
    assert "PodSecurity" in done.stderr or "Pod Security" in done.stderr
    assert_nothing_left(kubectl)


def test_a_target_that_is_swapped_already_names_the_holder(laptop: AnyLaptop, web: str) -> None:
    with Bridge(laptop, "run", "-n", web, "-s", "web", "python", "tests/e2e/apps/server.py", "8080") as first:
        first.swapped()
        done = refused(laptop, "run", "-n", web, "-s", "web", "true")
        assert done.returncode == 3
        assert "already swapped by" in done.stderr
        assert "@" in done.stderr


def test_a_target_with_no_replicas_is_said(laptop: AnyLaptop, kubectl: Kubectl, namespace: str) -> None:
    kubectl.apply(deployment("idle", replicas=0))
    done = refused(laptop, "run", "-n", namespace, "-s", "idle", "true")
    assert "0 replicas" in done.stderr
    assert_nothing_left(kubectl)


@pytest.mark.parametrize(("command", "code"), [("no-such-program", 127), ("/etc/passwd", 126)])
def test_a_command_that_cannot_be_started_is_said_first(laptop: AnyLaptop, web: str, command: str, code: int) -> None:
    done = refused(laptop, "run", "-n", web, "-s", "web", command)
    assert done.returncode == code
    assert command in done.stderr


@pytest.mark.local_cluster
def test_a_laptop_without_user_namespaces_is_told_before_anything_changes(laptop: AnyLaptop, web: str) -> None:
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    words = ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh", PROGRAM]
    done = laptop.run([*words, "run", "-n", web, "-s", "web", "true"])
    assert done.returncode == 7
    assert "sysctl -w user.max_user_namespaces" in done.stderr
    assert "proxy pod" not in done.stderr


@pytest.mark.parametrize("words", [("-e", "x:y"), ("-s", "a/b/c"), ("-s", "job/x"), ("--timeout", "0")])
def test_words_that_mean_nothing_are_said(laptop: AnyLaptop, web: str, words: tuple[str, ...]) -> None:
    done = refused(laptop, "run", "-n", web, *words, "true")
    assert done.returncode in (2, 3)

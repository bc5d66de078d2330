"""The pod's volumes are on the laptop, at the paths that they have in the pod."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.running import PROGRAM, SERVER, assert_nothing_left, bridge, eventually, spec_of
from tests.e2e.test_process import in_terminal
from tests.e2e.workloads import client, deployment, manifest

if TYPE_CHECKING:
    from tests.cluster.access import AnyLaptop, Kubectl

TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
SUMS = "find -L %s -name '..*' -prune -o -type f -print | sort | xargs sha256sum"
PATHS = ["/etc/config", "/etc/secret", "/etc/podinfo", "/etc/one/app.yaml", "/data", TOKEN]

# It can be opened, so that nothing is known before the kernel is asked to mount.
NULL_FOR_FUSE = 'mount --bind /dev/null /dev/fuse && exec setpriv --ambient-caps=-all --inh-caps=-all "$@"'
OWN_MOUNTS = ["unshare", "--user", "--map-current-user", "--keep-caps", "--mount"]
WITH_A_FUSE_THAT_IS_NONE = [*OWN_MOUNTS, "sh", "-c", NULL_FOR_FUSE, "sh"]

NODE = "console.log(require('fs').readFileSync('/etc/config/app.yaml', 'utf8'))"


def volumes(namespace: str) -> list[dict[str, Any]]:
    """A target with a volume of each kind, and what these are made from."""
    contents = {
        "app.yaml": "color: blue\n",
        "large.txt": "x" * 200_000,
        "kubeconfig": "current-context: from-the-pod\n",
    }
    sources: dict[str, dict[str, Any]] = {
        "config": {"configMap": {"name": "settings"}},
        "secret": {"secret": {"secretName": "passwords"}},
        "podinfo": {"downwardAPI": {"items": [{"path": "app", "fieldRef": {"fieldPath": "metadata.labels['app']"}}]}},
        "scratch": {"emptyDir": {}},
        "data": {"persistentVolumeClaim": {"claimName": "data"}},
    }
    mounts = [
        {"name": "config", "mountPath": "/etc/config"},
        {"name": "secret", "mountPath": "/etc/secret"},
        {"name": "podinfo", "mountPath": "/etc/podinfo"},
        {"name": "config", "mountPath": "/etc/one/app.yaml", "subPath": "app.yaml"},
        {"name": "scratch", "mountPath": "/srv/scratch"},
        {"name": "data", "mountPath": "/data"},
        {"name": "secret", "mountPath": "/data/within"},
    ]
    shell = {"image": "bridge.local/debug:1", "command": ["sh", "-c", "trap exit TERM; sleep 100000 & wait"]}
    opened = {**shell, "name": "open", "command": ["chmod", "777", "/data"], "securityContext": {"runAsUser": 0}}
    target = deployment(
        container={**shell, "volumeMounts": mounts, "readinessProbe": None},
        volumes=[{"name": name, **source} for name, source in sources.items()],
        initContainers=[{**opened, "volumeMounts": mounts[-2:-1]}],
        securityContext={"runAsUser": 1000, "fsGroup": 1000},
    )
    beside = client("beside")
    beside["spec"]["volumes"] = [{"name": "data", **sources["data"]}]
    beside["spec"]["containers"][0]["volumeMounts"] = mounts[-2:-1]
    size = {"resources": {"requests": {"storage": "1Mi"}}, "capacity": {"storage": "1Mi"}}
    claim = {"accessModes": ["ReadWriteMany"], "storageClassName": "", "volumeName": namespace}
    place = {"hostPath": {"path": f"/tmp/{namespace}", "type": "DirectoryOrCreate"}}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": contents},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "passwords"}, "stringData": {"password": "x"}},
        {
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": namespace},
            "spec": {"accessModes": ["ReadWriteMany"], "capacity": size["capacity"], **place},
        },
        {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
            "spec": {**claim, "resources": size["resources"]},
        },
        target, beside,
    ]  # fmt: skip


@pytest.fixture
def with_volumes(kubectl: Kubectl, shop: str) -> object:
    kubectl("delete", "deployment/web", "--wait")
    kubectl.apply(manifest(*volumes(shop)))
    kubectl.rollout("deployment/web")
    kubectl("wait", "--for=condition=Ready", "pod/beside", "--timeout=60s")
    yield
    kubectl("delete", "persistentvolume", shop, "--wait=false")


def test_the_pods_files_are_here_as_they_are_there(
    laptop: AnyLaptop, kubectl: Kubectl, shop: str, with_volumes: object
) -> None:
    kubectl("exec", "beside", "--", "sh", "-c", "head -c 3000000 /dev/urandom > /data/large; chmod 666 /data/large")
    there = kubectl("exec", "deploy/web", "--", "sh", "-c", SUMS % " ".join(PATHS))
    before = spec_of(kubectl)
    with bridge(laptop, shop, "-s", "web", "--", "python", SERVER, "8080") as session:
        session.swapped()
        name = session.err.wait_for(r"bridge-web-([a-z0-9]+)-", 20)[1]  # others on this laptop swap a web, too

        def inside(*argv: str) -> str:
            done = laptop.run([PROGRAM, "exec", name, "--", *argv])
            assert done.returncode == 0, done.stderr
            return done.stdout

        here = inside("sh", "-c", SUMS % " ".join(PATHS))
        token = f"{TOKEN}/token"  # each pod has one of its own
        assert without(token, here) == without(token, there)
        assert inside("cat", token).count(".") == 2
        environment = inside("env")
        assert "BRIDGE_ROOT=/\n" in environment
        assert "/etc/config:" in environment
        # Whatever it is written in: static Go, node, Python.
        assert inside("kubectl", "--kubeconfig=/etc/config/kubeconfig", "config", "current-context") == "from-the-pod\n"
        if shutil.which("node"):
            assert "color: blue" in inside("node", "-e", NODE)
        assert inside("python", "-c", "print(open('/etc/one/app.yaml').read())").strip() == "color: blue"

        # Its Secrets are the user's alone, and nothing of it is on the laptop outside.
        assert inside("stat", "-L", "-c", "%a", "/etc/secret/password").strip() == "600"
        assert laptop.run(["ls", "/etc/config", "/data"]).returncode != 0
        assert laptop.run([PROGRAM, "exec", name, "--", "touch", "/etc/config/new"]).returncode != 0

        # What is written goes to the volume.
        inside("sh", "-c", "cp /data/large /data/copied; echo written > /srv/scratch/file; cat /srv/scratch/file")
        sums = kubectl("exec", "beside", "--", "sha256sum", "/data/large", "/data/copied").split()
        assert sums[0] == sums[2]

        # A change in the cluster arrives, whole.
        kubectl("patch", "configmap", "settings", "-p", json.dumps({"data": {"app.yaml": "color: red\n", "new": "1"}}))
        eventually(
            lambda: inside("sh", "-c", "cat /etc/config/app.yaml /etc/config/new 2>&1; true"), "red\n1", timeout=90
        )
        assert inside("cat", "/etc/one/app.yaml") == "color: blue\n"  # as in the pod: a subPath is not renewed

        # And all of it outlives the tunnel: the same mount, from another pod.
        kubectl("delete", "pod", "-l", f"bridge.internal/session={name}", "--wait=false")
        session.err.wait_for(r"connected again to bridge-web", 40)
        assert inside("sha256sum", "/data/copied").split()[0] == sums[0]
        assert "red" in inside("cat", "/etc/config/app.yaml")
        assert inside("cat", "/data/within/password") == "x"
        assert session.end() == 0
    assert spec_of(kubectl) == before


def test_the_files_are_outside_of_the_sandbox_too_and_gone_after_a_crash(
    laptop: AnyLaptop, kubectl: Kubectl, shop: str, with_volumes: object
) -> None:
    kubectl("exec", "beside", "--", "sh", "-c", "echo 1 > /data/file; chmod 600 /data/file; echo 2 > /data/other")
    there = kubectl("exec", "deploy/web", "--", "sh", "-c", SUMS % "/etc/config /etc/secret /etc/one/app.yaml")
    folder = laptop.run(["mktemp", "-d"]).stdout.strip()
    pod = f"{folder}/pod"
    options = ["--mount-at", pod, "--env-file", f"{folder}/env", "-s", "web"]
    with bridge(laptop, shop, *options, "--", "python", SERVER, "8080") as session:
        session.swapped()
        assert f"BRIDGE_ROOT='{pod}'" in laptop.run(["cat", f"{folder}/env"]).stdout
        here = laptop.run(["sh", "-c", SUMS % f"{pod}/etc/config {pod}/etc/secret {pod}/etc/one/app.yaml"]).stdout
        assert here.replace(pod, "") == there
        assert laptop.run(["cat", f"{pod}/data/other"]).stdout == "2\n"
        assert "a copy of now" in session.err.text
        assert re.search("of the volume data at /data the proxy pod may not read 1.*: /data/file", session.err.text)
        # In memory, and the user's alone, from the folder that the links lead to on.
        secret = laptop.run(["realpath", f"{pod}/etc/secret"]).stdout.strip()
        assert laptop.run(["stat", "-f", "-c", "%T", secret]).stdout == "tmpfs\n"
        assert laptop.run(["stat", "-c", "%a", str(PurePath(secret).parent)]).stdout == "700\n"
        assert laptop.run(["stat", "-L", "-c", "%a", f"{secret}/password"]).stdout == "600\n"
        session.kill()
        eventually(lambda: laptop.run(["ls", folder, secret]).stdout, f"{folder}:\nenv\n", timeout=30)
    kubectl.rollout("deployment/web")


def test_a_large_volume_is_copied_only_when_that_is_wanted_and_any_where_the_kernel_does_not_mount_it(
    laptop: AnyLaptop, kubectl: Kubectl, shop: str, with_volumes: object
) -> None:
    kubectl("exec", "beside", "--", "sh", "-c", "head -c 9000 /dev/zero > /data/zeros; chmod 644 /data/zeros")
    before = kubectl.json("get", "deployment/web")
    options = [
        "run",
        "-n",
        shop,
        "-s",
        "web",
        "--mount",
        "copy",
        "--copy-limit",
        "8Ki",
        "--",
        "wc",
        "-c",
        "/data/zeros",
    ]
    done = laptop.run([PROGRAM, *options])
    assert done.returncode == 2
    assert "the volume data at /data holds 9 KiB, more than is copied without being asked (8 KiB)" in done.stderr
    assert "--copy-limit" in done.stderr
    assert kubectl.json("get", "deployment/web")["spec"] == before["spec"]
    assert_nothing_left(kubectl)
    with in_terminal(laptop, *options) as (terminal, process):
        terminal.wait_for(r"the volume data at /data holds 9 KiB: copy it into this laptop's memory\? \[y/N\] ")
        terminal.type("y\n")
        terminal.wait_for(r"\n9000 /data/zeros")
        assert process.wait(60) == 0
    swap = ["run", "-n", shop, "-s", "web", "--", "sh", "-c", "wc -c /data/zeros; cat /data/within/password"]
    done = laptop.run([*WITH_A_FUSE_THAT_IS_NONE, PROGRAM, *swap])
    assert done.stdout == "9000 /data/zeros\nx", done.stderr
    assert "the volume data at /data is copied once, not mounted: The pod's volumes can't be mounted" in done.stderr


def without(path: str, sums: str) -> str:
    return "".join(line for line in sums.splitlines(keepends=True) if path not in line)

"""bridge.cluster against a real API server: what it finds, and what it says when the cluster says no."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

import pytest

from bridge.cluster import Cluster, connect
from bridge.cluster.access import require_rights, rights, whoami
from bridge.cluster.errors import AlreadyExists, Conflict, MissingRight, NotFound, Rejected, Rejection, Unauthenticated
from bridge.cluster.execute import image_environment
from bridge.cluster.pods import ProxyPod, ask_admission, wait_for_proxy, wait_for_rollout, wait_gone
from bridge.cluster.workloads import find_workload, notes_on, pods_of, require_namespace, selector_of
from bridge.errors import ClusterError, Forbidden, TargetError
from bridge.plan.access import Purpose, needed_rights
from bridge.plan.target import TargetSpec, WorkloadKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster import access
    from tests.cluster.settings import Settings

IMAGE = "bridge.local/debug:1"
SESSION = "abcdefgh"


@pytest.fixture
def client(cluster: access.Cluster, namespace: str) -> Iterator[Cluster]:
    with connect(kubeconfig=str(cluster.kubectl.kubeconfig), namespace=namespace) as found:
        yield found


def pod_spec(**changes: Any) -> dict[str, Any]:
    container = {
        "name": "app",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "1000"],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    container |= changes.pop("container", {})
    return {"containers": [container], "terminationGracePeriodSeconds": 0, **changes}


def replica_set(name: str = "proxy", **changes: Any) -> dict[str, Any]:
    """What stands for a session's ReplicaSet."""
    labels = {"bridge.internal/session": SESSION}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec(**changes)},
        },
    }


def deployment(name: str, replicas: int = 1, **changes: Any) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec(**changes)},
        },
    }


def create(client: Cluster, item: dict[str, Any]) -> dict[str, Any]:
    plural = item["kind"].lower() + "s"
    prefix = "/api/v1" if item["apiVersion"] == "v1" else f"/apis/{item['apiVersion']}"
    return client.create(f"{prefix}/namespaces/{client.namespace}/{plural}", item)


def start(client: Cluster, **changes: Any) -> ProxyPod:
    create(client, replica_set(**changes))
    return ProxyPod(client, session=SESSION, replica_set="proxy", container="app")


def failure(proxy: ProxyPod, *, within: float) -> ClusterError:
    """What is said of a pod that can't run, and that it is said in time."""
    began = time.monotonic()
    with pytest.raises(ClusterError) as caught:
        proxy.wait_ready(deadline=began + 40)
    took = time.monotonic() - began
    assert took < within, f"took {took:.1f} s: {caught.value}"
    print(f"\n{took:.1f} s: {caught.value.message}\n    {caught.value.hint}")
    return caught.value


# -- objects -------------------------------------------------------------------------------------------------------


def test_what_is_created_comes_back_whole(client: Cluster) -> None:
    made = create(client, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}})
    path = f"/api/v1/namespaces/{client.namespace}/secrets/s"
    assert client.get(path)["data"] == {"a": "Yg=="}
    with pytest.raises(AlreadyExists, match="secret/s exists already"):
        create(client, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})
    stale = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"], "labels": {"x": "2"}}}
    client.patch(path, {"metadata": {"labels": {"x": "1"}}})
    with pytest.raises(Conflict):
        client.patch(path, stale)
    with pytest.raises(Conflict):
        client.delete(path, uid="00000000-0000-0000-0000-000000000000")
    assert client.delete(path, uid=made["metadata"]["uid"])
    assert not client.delete(path)
    with pytest.raises(NotFound, match="there is no secret/s in namespace"):
        client.get(path)


def test_a_list_has_kinds_and_the_time_is_the_servers(client: Cluster) -> None:
    assert abs(client.now().timestamp() - time.time()) < 5
    accounts = client.list_(f"/api/v1/namespaces/{client.namespace}/serviceaccounts")
    assert [(item["kind"], item["metadata"]["name"]) for item in accounts] == [("ServiceAccount", "default")]


def test_following_shows_each_state(client: Cluster) -> None:
    path = f"/api/v1/namespaces/{client.namespace}/secrets"
    follower = client.follow(path, deadline=time.monotonic() + 10)
    assert not next(follower)
    create(client, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})
    assert any("s" in state for state in follower)
    client.delete(f"{path}/s")
    wait_gone(client, path, name="s", deadline=time.monotonic() + 5)


# -- targets -------------------------------------------------------------------------------------------------------


def test_a_target_is_found_and_near_names_are_offered(client: Cluster) -> None:
    create(client, deployment("web"))
    assert find_workload(client, TargetSpec.parse("web"))["kind"] == "Deployment"
    with pytest.raises(TargetError) as caught:
        find_workload(client, TargetSpec.parse("webb"))
    assert caught.value.hint == "Did you mean deployment/web?"


def test_a_wrong_namespace_is_told(cluster: access.Cluster) -> None:
    with connect(kubeconfig=str(cluster.kubectl.kubeconfig), namespace="kube-sistem") as client:
        with pytest.raises(TargetError, match="there is no namespace kube-sistem") as caught:
            find_workload(client, TargetSpec.parse("web"))
        assert caught.value.hint == "Did you mean kube-system?"


def test_an_autoscaler_of_the_target_is_noted(client: Cluster) -> None:
    workload = create(client, deployment("web"))
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web-hpa"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 2},
    }
    create(client, scaler)
    assert "the HorizontalPodAutoscaler web-hpa scales deployment/web" in notes_on(client, workload)[0]


def test_pods_are_found_by_a_selector_of_expressions(client: Cluster) -> None:
    workload = deployment("web")
    workload["spec"]["selector"]["matchExpressions"] = [
        {"key": "app", "operator": "In", "values": ["web", "other"]},
        {"key": "none", "operator": "DoesNotExist"},
    ]
    made = create(client, workload)
    wait_for_rollout(client, made, 1, deadline=time.monotonic() + 30)
    assert selector_of(made) == "app=web,app in (web,other),!none"
    assert len(pods_of(client, made)) == 1


# -- rights --------------------------------------------------------------------------------------------------------


@pytest.fixture
def restricted(cluster: access.Cluster, namespace: str, tmp_path: Path) -> Iterator[Cluster]:
    """As a ServiceAccount without any rights."""
    cluster.kubectl.within(namespace)("create", "serviceaccount", "dev")
    with connect(kubeconfig=token_kubeconfig(cluster, namespace, tmp_path), namespace=namespace) as client:
        yield client


def token_kubeconfig(cluster: access.Cluster, namespace: str, folder: Path, token: str | None = None) -> str:
    kubectl = cluster.kubectl.within(namespace)
    path = folder / f"kubeconfig-{secrets.token_hex(4)}"
    path.write_text(kubectl("config", "view", "--raw", "--minify", "--flatten"))
    path.chmod(0o600)
    mine = kubectl.__class__(kubectl.program, path)
    mine("config", "set-credentials", "dev", f"--token={token or kubectl('create', 'token', 'dev').strip()}")
    mine("config", "set-context", "--current", "--user=dev")
    return str(path)


def test_missing_rights_are_told_with_the_role_to_ask_for(
    restricted: Cluster, client: Cluster, kubectl: access.Kubectl, namespace: str
) -> None:
    needed = needed_rights(Purpose.SWAP, WorkloadKind.DEPLOYMENT, "web")
    assert rights(client, needed) == ()
    with pytest.raises(Forbidden) as caught:
        require_rights(restricted, needed)
    assert "patch deployments.apps web  (to swap the target and put it back)" in caught.value.message
    role = caught.value.hint.split(":\n", 1)[1]
    assert f'name: "system:serviceaccount:{namespace}:dev"' in role
    kubectl.apply(role)
    assert require_rights(restricted, needed) == ()


def test_a_forbidden_request_says_verb_resource_and_namespace(restricted: Cluster, namespace: str) -> None:
    user = f"system:serviceaccount:{namespace}:dev"
    assert whoami(restricted) == user
    with pytest.raises(MissingRight) as caught:
        restricted.list_(f"/api/v1/namespaces/{namespace}/pods")
    assert caught.value.message == f"{user} may not list pods in namespace {namespace}"
    assert '"verbs": ["list"]' in caught.value.hint or 'verbs: ["list"]' in caught.value.hint
    with pytest.raises(Forbidden):
        find_workload(restricted, TargetSpec.parse("web"))
    require_namespace(restricted)


def test_who_may_not_list_is_not_told_that_there_is_nothing(restricted: Cluster, kubectl: access.Kubectl) -> None:
    kubectl("create", "role", "r", "--verb=get", "--resource=deployments.apps")
    kubectl("create", "rolebinding", "r", "--role=r", f"--serviceaccount={restricted.namespace}:dev")
    with pytest.raises(TargetError) as caught:
        find_workload(restricted, TargetSpec.parse("web"))
    assert "may not list" in caught.value.hint


def test_a_refused_token_is_told(cluster: access.Cluster, namespace: str, tmp_path: Path) -> None:
    with connect(kubeconfig=token_kubeconfig(cluster, namespace, tmp_path, "nonsense")) as client:
        with pytest.raises(Unauthenticated, match="does not accept the token of user 'dev'"):
            client.get("/version")
        with pytest.raises(Unauthenticated):
            client.list_(f"/api/v1/namespaces/{namespace}/pods")


# -- admission -----------------------------------------------------------------------------------------------------


def placed(client: Cluster, item: dict[str, Any]) -> dict[str, Any]:
    item["metadata"]["namespace"] = client.namespace
    return item


def refused_by_admission(client: Cluster, **changes: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        ask_admission(client, placed(client, replica_set(**changes)))
    print(f"\n{caught.value.message}\n    {caught.value.hint}")
    return caught.value


def test_a_dry_run_changes_nothing(client: Cluster) -> None:
    assert ask_admission(client, placed(client, replica_set())) == ""
    assert client.list_(f"/api/v1/namespaces/{client.namespace}/pods") == []


def quota(**hard: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": hard}}


def wait_for_quota(client: Cluster) -> None:
    path = f"/api/v1/namespaces/{client.namespace}/resourcequotas"
    for found in client.follow(path, deadline=time.monotonic() + 20):
        if "hard" in found["small"].get("status", {}):
            return


def test_a_full_quota_is_told_by_the_dry_run_and_by_the_replica_set(client: Cluster) -> None:
    create(client, quota(pods="0"))
    wait_for_quota(client)
    refused = refused_by_admission(client)
    assert refused.by is Rejection.QUOTA
    assert "the quota small has no room" in refused.message
    assert "the quota small has no room" in failure(start(client), within=3).message


def test_a_quota_that_wants_limits_is_told(client: Cluster) -> None:
    create(client, quota(**{"limits.memory": "1Gi"}))
    wait_for_quota(client)
    refused = refused_by_admission(client)
    assert refused.by is Rejection.QUOTA
    assert "limits.memory" in refused.message


def test_a_limit_range_is_told(client: Cluster) -> None:
    limits = [{"type": "Container", "max": {"memory": "64Mi"}, "default": {"memory": "64Mi"}}]
    create(client, {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": limits}})
    refused = refused_by_admission(client, container={"resources": {"limits": {"memory": "1Gi"}}})
    assert refused.by is Rejection.LIMIT_RANGE
    assert "maximum memory usage per Container is 64Mi" in refused.message


def test_pod_security_is_told(client: Cluster, cluster: access.Cluster) -> None:
    cluster.kubectl("label", "namespace", client.namespace, "pod-security.kubernetes.io/enforce=restricted")
    assert ask_admission(client, placed(client, replica_set())) == ""
    refused = refused_by_admission(client, container={"securityContext": {"privileged": True}})
    assert refused.by is Rejection.POD_SECURITY
    proxy = start(client, container={"securityContext": {"privileged": True}})
    assert "Pod Security (restricted:latest) refuses" in failure(proxy, within=3).message


def test_a_missing_service_account_is_told(client: Cluster) -> None:
    refused = refused_by_admission(client, serviceAccountName="nobody")
    assert refused.by is Rejection.SERVICE_ACCOUNT
    assert "nobody" in refused.message


def test_an_invalid_object_is_told_with_its_fields(client: Cluster) -> None:
    refused = refused_by_admission(client, container={"name": "Wrong_Name"})
    assert refused.by is Rejection.INVALID
    assert "spec.containers[0].name" in refused.message


def until_refused(client: Cluster) -> Rejected:
    """The API server takes a while to know a new policy."""
    for _ in client.follow(f"/api/v1/namespaces/{client.namespace}/pods", deadline=time.monotonic() + 20):
        try:
            ask_admission(client, placed(client, replica_set()))
        except Rejected as error:
            return error
    raise AssertionError("it never was refused")


def test_a_policy_is_told(client: Cluster, kubectl: access.Kubectl) -> None:
    name = f"no-{client.namespace}"
    kubectl.apply(
        f"""
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {name}}}
spec:
  matchConstraints: {{resourceRules: [{{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}}]}}
  validations: [{{expression: "false", message: "not on a Friday"}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {name}}}
spec:
  policyName: {name}
  validationActions: [Deny]
  matchResources: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {client.namespace}}}}}}}
"""
    )
    try:
        refused = until_refused(client)
        assert refused.by is Rejection.POLICY
        assert "not on a Friday" in refused.message
    finally:
        kubectl("delete", f"validatingadmissionpolicy/{name}", f"validatingadmissionpolicybinding/{name}")


def test_a_namespace_on_its_way_out_is_told(client: Cluster, kubectl: access.Kubectl) -> None:
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["example.com/held"]}}
    create(client, held)
    kubectl("delete", "namespace", client.namespace, "--wait=false")
    try:
        assert refused_by_admission(client).by is Rejection.TERMINATING
    finally:
        client.patch(f"/api/v1/namespaces/{client.namespace}/configmaps/held", {"metadata": {"finalizers": None}})


# -- pods ----------------------------------------------------------------------------------------------------------


def test_a_good_pod_gets_a_node_at_once_and_ready_soon(client: Cluster) -> None:
    create(client, replica_set())
    began, said = time.monotonic(), list[str]()
    pod = wait_for_proxy(
        client, session=SESSION, replica_set="proxy", container="app", deadline=began + 20, on_progress=said.append
    )
    took = time.monotonic() - began
    assert pod["spec"]["nodeName"]
    assert took < 2
    proxy = ProxyPod(client, session=SESSION, replica_set="proxy", container="app")
    proxy.wait_ready(deadline=began + 20, on_progress=said.append)
    assert proxy.look() == "running"
    print(f"\nnode {took:.3f} s, Ready {time.monotonic() - began:.3f} s, said {said}")


def test_an_image_that_is_not_there_is_told(client: Cluster) -> None:
    error = failure(start(client, container={"image": "bridge.local/nothing:1"}), within=8)
    assert "the proxy image bridge.local/nothing:1 can't be pulled" in error.message
    assert "make proxy-image" in error.hint


def test_an_image_that_may_not_be_pulled_is_told_at_once(client: Cluster) -> None:
    changes = {"image": "bridge.local/nothing:1", "imagePullPolicy": "Never"}
    assert "ErrImageNeverPull" in failure(start(client, container=changes), within=4).message


def test_a_wrong_image_name_is_told_at_once(client: Cluster) -> None:
    error = failure(start(client, container={"image": "bridge.local/UPPER:1"}), within=4)
    assert "InvalidImageName" in error.message


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"nodeSelector": {"disk": "golden"}}, "nodeSelector or affinity"),
        ({"container": {"resources": {"requests": {"cpu": "900"}}}}, "Free cpu in the cluster"),
        (
            {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "none"}}]},
            "Create the PersistentVolumeClaim none",
        ),
    ],
)
def test_a_pod_without_a_node_is_told_why(client: Cluster, changes: dict[str, Any], hint: str) -> None:
    error = failure(start(client, **changes), within=8)
    assert "no node takes pod proxy-" in error.message
    assert hint in error.hint


@pytest.mark.parametrize("kind", ["configMap", "secret"])
def test_a_missing_volume_source_is_told(client: Cluster, kind: str) -> None:
    source = {"configMap": {"name": "none"}} if kind == "configMap" else {"secret": {"secretName": "none"}}
    mounted = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    error = failure(start(client, container=mounted, volumes=[{"name": "v", **source}]), within=9)
    assert "volume v of pod proxy-" in error.message
    assert f"Create the {kind.lower()} none" in error.hint


def test_a_missing_variable_source_is_told(client: Cluster) -> None:
    changes = {"envFrom": [{"configMapRef": {"name": "none"}}]}
    error = failure(start(client, container=changes), within=8)
    assert 'configmap "none" not found' in error.message


def test_a_program_that_is_not_there_is_told(client: Cluster) -> None:
    assert "nonsense" in failure(start(client, container={"command": ["nonsense"]}), within=8).message


def test_a_crash_is_told_with_its_last_words(client: Cluster) -> None:
    never = {"exec": {"command": ["false"]}}  # without a probe it would be Ready for the moment that it lives
    changes = {"command": ["sh", "-c", "echo the key is missing >&2; exit 3"], "readinessProbe": never}
    error = failure(start(client, container=changes), within=8)
    assert "exit code 3" in error.message
    assert "the key is missing" in error.message


def test_the_environment_of_the_image_is_read_in_the_original(client: Cluster) -> None:
    proxy = start(client, container={"env": [{"name": "TOLD", "value": "line 1\nline 2"}]})
    pod = proxy.wait_ready(deadline=time.monotonic() + 20)
    name, notes = pod["metadata"]["name"], list[str]()
    began = time.monotonic()
    environment = image_environment(client, name, "app", note=notes.append)
    print(f"\n{time.monotonic() - began:.3f} s")
    assert environment is not None
    assert b"TOLD=line 1\nline 2" in environment.split(b"\0")
    assert image_environment(client, name, "other", note=notes.append) is None
    assert "container other is not valid for pod" in notes[0]


# -- the way back --------------------------------------------------------------------------------------------------


def scale(client: Cluster, name: str, replicas: int) -> dict[str, Any]:
    path = WorkloadKind.DEPLOYMENT.path(client.namespace, name)
    return WorkloadKind.DEPLOYMENT.stamp(client.patch(path, {"spec": {"replicas": replicas}}))


def test_the_original_is_waited_for_until_it_is_ready(client: Cluster) -> None:
    create(client, deployment("web", replicas=0))
    said = list[str]()
    workload = scale(client, "web", 2)
    wait_for_rollout(client, workload, 2, deadline=time.monotonic() + 30, on_progress=said.append)
    assert said[0].startswith("0 of 2 Ready")


def test_an_original_that_does_not_come_back_is_told_why(client: Cluster) -> None:
    workload = create(client, deployment("web", container={"image": "bridge.local/nothing:1"}))
    said = list[str]()
    with pytest.raises(ClusterError, match="has its 1 replicas back, but 0 Ready so far: the image") as caught:
        wait_for_rollout(client, workload, 1, deadline=time.monotonic() + 6, on_progress=said.append)
    assert "can't be pulled" in caught.value.message
    assert any("can't be pulled" in text for text in said)


def test_an_original_that_is_deleted_is_told(client: Cluster) -> None:
    workload = create(client, deployment("web", container={"image": "bridge.local/nothing:1"}))
    with pytest.raises(TargetError, match="deployment/web was deleted"):
        wait_for_rollout(
            client,
            workload,
            1,
            deadline=time.monotonic() + 20,
            on_progress=lambda _: client.delete(WorkloadKind.DEPLOYMENT.path(client.namespace, "web")) and None,
        )


@pytest.mark.local_cluster
def test_a_watch_outlives_a_restart_of_the_api_server(client: Cluster, settings: Settings) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from tests.cluster import up

    path = f"/api/v1/namespaces/{client.namespace}/secrets"
    follower = client.follow(path, deadline=time.monotonic() + 60)
    assert not next(follower)
    with ThreadPoolExecutor(1) as pool:
        restarting = pool.submit(up.restart_apiserver, settings)
        seen = sum(1 for _ in zip(follower, range(2), strict=False))
        restarting.result()
    create(client, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})
    assert any("s" in state for state in follower)
    assert seen == 2
    wait_gone(client.patient(20), path, name="none", deadline=time.monotonic() + 5)

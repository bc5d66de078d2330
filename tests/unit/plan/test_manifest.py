import base64
import copy
import dataclasses
from typing import Any

import pytest
from hypothesis import given

from bridge.plan.manifest import (
    Proxy,
    ProxySettings,
    build_bare_proxy,
    build_proxy,
    build_secret,
    dry_run_pod,
    owned_by,
)
from bridge.plan.ports import InternalPorts, PortMap
from tests.unit.plan.worlds import Json, container, deployment, workloads

SETTINGS = ProxySettings(session="abcdefgh", namespace="shop", image="bridge-proxy:1", holder="ann@laptop")
HTTP = PortMap(8080, 8080, "http", "container")


def proxy_of(workload: Json, *ports: PortMap, name: str = "app", **options: Any) -> Proxy:
    return build_proxy(workload, SETTINGS, container=name, ports=ports, **options)


def pod_of(proxy: Proxy) -> Json:
    spec: Json = proxy.replica_set["spec"]["template"]["spec"]
    return spec


def chosen_of(proxy: Proxy, name: str = "app") -> Json:
    return next(one for one in pod_of(proxy)["containers"] if one["name"] == name)


# ---- properties --------------------------------------------------------------------------------------------------

OURS = {
    "image", "imagePullPolicy", "args", "command", "lifecycle", "livenessProbe", "readinessProbe", "startupProbe",
    "ports", "resources", "securityContext", "volumeMounts", "terminationMessagePolicy",
}  # fmt: skip


@given(workloads())
def test_nothing_that_the_proxy_does_not_own_is_lost(workload: Json) -> None:
    before = copy.deepcopy(workload)
    name = workload["spec"]["template"]["spec"]["containers"][-1]["name"]
    proxy = proxy_of(workload, HTTP, name=name)
    assert workload == before
    template, made = workload["spec"]["template"], proxy.replica_set["spec"]["template"]
    for key in template.keys() - {"metadata", "spec"}:
        assert made[key] == template[key]
    for key in template["spec"].keys() - {"containers", "volumes", "securityContext", "affinity"}:
        assert made["spec"][key] == template["spec"][key]
    assert template["metadata"]["labels"].items() <= made["metadata"]["labels"].items()
    for old, new in zip(template["spec"]["containers"], made["spec"]["containers"], strict=True):
        owned = OURS if old["name"] == name else set()
        assert {key: old[key] for key in old.keys() - owned} == {key: new[key] for key in new.keys() - owned}


@given(workloads())
def test_names_of_volumes_and_paths_of_mounts_never_clash(workload: Json) -> None:
    name = workload["spec"]["template"]["spec"]["containers"][0]["name"]
    proxy = proxy_of(workload, HTTP, name=name)
    volumes = [volume["name"] for volume in pod_of(proxy)["volumes"]]
    assert len(set(volumes)) == len(volumes)
    paths = [mount["mountPath"] for mount in chosen_of(proxy, name)["volumeMounts"]]
    assert paths[-2:] == ["/etc/bridge", "/run/bridge"]
    old = {volume["name"] for volume in workload["spec"]["template"]["spec"].get("volumes", [])}
    assert old <= set(volumes)


@given(workloads())
def test_the_container_fits_the_restricted_profile(workload: Json) -> None:
    name = workload["spec"]["template"]["spec"]["containers"][0]["name"]
    security = chosen_of(proxy_of(workload, name=name), name)["securityContext"]
    assert security["runAsNonRoot"]
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security.get("runAsUser") != 0


# ---- the ReplicaSet ----------------------------------------------------------------------------------------------


def test_the_targets_deployment_can_not_adopt_the_replica_set() -> None:
    made = proxy_of(deployment()).replica_set
    assert "app" not in made["metadata"]["labels"]
    assert made["metadata"]["name"] == "bridge-web-abcdefgh"
    assert made["metadata"]["annotations"]["bridge.internal/target"] == "deployment/web"
    assert made["spec"]["selector"] == {"matchLabels": {"bridge.internal/session": "abcdefgh"}}
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert labels == {"app": "web", "bridge.internal/session": "abcdefgh"}


def test_args_say_what_the_keeper_needs() -> None:
    settings = dataclasses.replace(SETTINGS, internal=InternalPorts(1, 2, 3))
    proxy = build_proxy(deployment(), settings, container="app", ports=[HTTP, PortMap(22, 22, "", "--expose")])
    assert " ".join(chosen_of(proxy)["args"]) == (
        "--ssh-port 1 --keeper-port 2 --probe-port 3 --linger 1 --listen 8080 --listen 22"
    )


def test_the_program_goes_and_our_probe_comes() -> None:
    app = container("app", 8080, command=["x"], args=["y"], workingDir="/srv", tty=True, stdin=True)
    app |= {probe: {"exec": {}} for probe in ("livenessProbe", "startupProbe", "readinessProbe")}
    made = chosen_of(proxy_of(deployment(containers=[app | {"lifecycle": {"preStop": {}}}]), HTTP))
    gone = {"command", "workingDir", "tty", "stdin", "livenessProbe", "startupProbe", "lifecycle"}
    assert not gone & made.keys()
    assert made["image"] == "bridge-proxy:1"
    assert made["readinessProbe"]["httpGet"] == {"path": "/ready", "port": 52024, "scheme": "HTTP"}
    assert made["readinessProbe"]["timeoutSeconds"] == 10


def test_ports_are_kept_and_missing_ones_added() -> None:
    http = {"containerPort": 8080, "name": "http", "protocol": "TCP"}
    made = chosen_of(proxy_of(deployment(containers=[container("app", http)]), HTTP, PortMap(9, 9, "", "--expose")))
    assert made["ports"] == [http, {"containerPort": 9, "protocol": "TCP"}]


def test_a_udp_port_does_not_stand_for_the_tcp_port() -> None:
    udp = {"containerPort": 8080, "protocol": "UDP"}
    made = chosen_of(proxy_of(deployment(containers=[container("app", udp)]), HTTP))
    assert made["ports"] == [udp, {"containerPort": 8080, "protocol": "TCP"}]


def test_host_ports_stay_with_the_original() -> None:
    app = container("app", {"containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.1"})
    proxy = proxy_of(deployment(containers=[app, container("mesh", {"containerPort": 81, "hostPort": 81})]))
    assert all(port.keys() == {"containerPort"} for one in pod_of(proxy)["containers"] for port in one["ports"])
    assert "80, 81" in proxy.notes[0]


def test_the_nodes_network_is_left_to_the_original_with_its_dns() -> None:
    proxy = proxy_of(deployment(hostNetwork=True, dnsPolicy="ClusterFirst"))
    assert "hostNetwork" not in pod_of(proxy)
    assert pod_of(proxy)["dnsPolicy"] == "Default"
    assert "network of its own" in proxy.notes[0]
    assert pod_of(proxy_of(deployment(hostNetwork=True, dnsPolicy="None")))["dnsPolicy"] == "None"


def test_low_ports_need_the_sysctl_and_others_are_kept() -> None:
    other = {"name": "net.ipv4.tcp_syncookies", "value": "1"}
    security = {"fsGroup": 7, "sysctls": [other, {"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"}]}
    low = PortMap(80, 80, "", "container")
    made = pod_of(proxy_of(deployment(securityContext=security), low))["securityContext"]
    assert made["sysctls"] == [other, {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]
    assert made["fsGroup"] == 7
    assert "securityContext" not in pod_of(proxy_of(deployment(), HTTP))


# ---- who it runs as ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_pod", "of_container", "uid"),
    [
        ({}, {}, None),
        ({"runAsUser": 1000}, {}, 1000),
        ({"runAsUser": 1000}, {"runAsUser": 1001}, 1001),
        ({"runAsUser": 0}, {}, 65532),
        ({"runAsUser": 1000}, {"runAsUser": 0}, 65532),
        ({"runAsUser": 0}, {"runAsUser": 1001}, 1001),
    ],
)
def test_the_uid_is_the_targets_unless_it_is_root(of_pod: Json, of_container: Json, uid: int | None) -> None:
    app = container("app", securityContext=of_container | {"runAsGroup": 3000, "privileged": True})
    made = chosen_of(proxy_of(deployment(containers=[app], securityContext=of_pod)))["securityContext"]
    assert made.get("runAsUser") == uid
    assert made["runAsGroup"] == 3000
    assert "privileged" not in made


def with_secret(mode: int, **security: Any) -> Json:
    items = [{"key": "k", "path": "k", "mode": mode}]
    volumes = [
        {"name": "s", "secret": {"secretName": "s", "defaultMode": mode, "items": items}},
        {"name": "p", "projected": {"sources": [{"configMap": {"items": copy.deepcopy(items)}}]}},
        {"name": "unmounted", "secret": {"secretName": "t", "defaultMode": mode}},
    ]  # fmt: skip
    mounts = [{"name": "s", "mountPath": "/s"}, {"name": "p", "mountPath": "/p"}]
    return deployment(containers=[container("app", volumeMounts=mounts)], volumes=volumes, securityContext=security)


def test_what_only_root_could_read_is_readable_where_the_target_may_be_root() -> None:
    secret, projected, unmounted, *_ = pod_of(proxy_of(with_secret(0o400)))["volumes"]
    assert secret["secret"]["defaultMode"] == 0o444
    assert secret["secret"]["items"][0]["mode"] == 0o444
    assert projected["projected"]["sources"][0]["configMap"]["items"][0]["mode"] == 0o444
    assert unmounted["secret"]["defaultMode"] == 0o400


@pytest.mark.parametrize("security", [{"fsGroup": 5}, {"runAsUser": 1000}])
def test_modes_stay_where_the_targets_user_is_ours(security: Json) -> None:
    assert pod_of(proxy_of(with_secret(0o400, **security)))["volumes"][0]["secret"]["defaultMode"] == 0o400


def test_an_apparmor_profile_of_the_program_does_not_bind_ours() -> None:
    prefix = "container.apparmor.security.beta.kubernetes.io/"
    target = deployment(containers=[container("app"), container("mesh")])
    target["spec"]["template"]["metadata"]["annotations"] = {
        prefix + "app": "localhost/x",
        prefix + "mesh": "y",
        "a": "b",
    }
    made = proxy_of(target).replica_set["spec"]["template"]["metadata"]["annotations"]
    assert made == {prefix + "mesh": "y", "a": "b"}


# ---- init containers, volumes, placement -------------------------------------------------------------------------


def test_init_containers_run_again_only_when_asked_and_sidecars_always() -> None:
    scratch = {"name": "scratch", "mountPath": "/s"}
    init = [
        container("setup", volumeMounts=[scratch]),
        container("mesh", restartPolicy="Always"),
        container("quiet"),
    ]
    app = container("app", volumeMounts=[scratch])
    target = deployment(containers=[app], initContainers=init, volumes=[{"name": "scratch", "emptyDir": {}}])
    proxy = proxy_of(target)
    assert [one["name"] for one in pod_of(proxy)["initContainers"]] == ["mesh"]
    assert [note.split(" is ")[0] for note in proxy.notes] == ["init container setup"]
    again = proxy_of(target, run_init_containers=True)
    assert [one["name"] for one in pod_of(again)["initContainers"]] == ["setup", "mesh", "quiet"]
    assert not again.notes


def test_a_pod_without_sidecars_has_no_init_containers_left() -> None:
    assert "initContainers" not in pod_of(proxy_of(deployment(initContainers=[container("setup")])))


@pytest.mark.parametrize(
    "path",
    [
        "/", "/etc", "/run", "/var/run", "/usr", "/usr/lib/", "/etc/bridge/x", "/run/bridge", "/bin",
        "/etc/bridge-guard", "/etc/bridge-guard/token",
    ],
)  # fmt: skip
def test_a_mount_over_the_images_own_files_is_left_out(path: str) -> None:
    app = container("app", volumeMounts=[{"name": "v", "mountPath": path}, {"name": "v", "mountPath": "/etc/app"}])
    proxy = proxy_of(deployment(containers=[app], volumes=[{"name": "v", "configMap": {"name": "c"}}]))
    assert [mount["mountPath"] for mount in chosen_of(proxy)["volumeMounts"]] == [
        "/etc/app",
        "/etc/bridge",
        "/run/bridge",
    ]
    assert path in proxy.notes[0]


@pytest.mark.parametrize(
    "path", ["/etc/app", "/run/secrets/x", "/var/run/app", "/usr/share/nginx/html", "/data", "/etc/bridge-guards"]
)
def test_other_mounts_are_kept(path: str) -> None:
    app = container("app", volumeMounts=[{"name": "v", "mountPath": path}])
    made = chosen_of(proxy_of(deployment(containers=[app], volumes=[{"name": "v", "emptyDir": {}}])))
    assert made["volumeMounts"][0]["mountPath"] == path


def test_our_volumes_get_out_of_the_way() -> None:
    taken = [{"name": "bridge-secret", "emptyDir": {}}, {"name": "bridge-run", "emptyDir": {}}]
    proxy = proxy_of(deployment(volumes=taken))
    assert [volume["name"] for volume in pod_of(proxy)["volumes"]][2:] == ["bridge-secret-2", "bridge-run-2"]
    assert [mount["name"] for mount in chosen_of(proxy)["volumeMounts"]] == ["bridge-secret-2", "bridge-run-2"]


GUARDED = dataclasses.replace(SETTINGS, guard="bridge-abcdefgh-keeper")


def test_the_keepers_token_is_mounted_in_its_own_container_alone_and_waited_for() -> None:
    target = deployment(containers=[container("mesh"), container("app", 8080)])
    proxy = build_proxy(target, GUARDED, container="app", ports=[HTTP])
    volume = next(one for one in pod_of(proxy)["volumes"] if one["name"] == "bridge-guard")
    keys = ["token", "ca.crt", "namespace"]
    assert volume["secret"] == {  # not optional: the kubelet waits for each of the files
        "secretName": "bridge-abcdefgh-keeper", "defaultMode": 0o444,
        "items": [{"key": key, "path": key} for key in keys],
    }  # fmt: skip
    mount = {"name": "bridge-guard", "mountPath": "/etc/bridge-guard", "readOnly": True}
    assert mount in chosen_of(proxy)["volumeMounts"]
    assert "volumeMounts" not in chosen_of(proxy, "mesh")
    assert "automountServiceAccountToken" not in pod_of(proxy)  # the pod keeps the target's account


def test_a_session_without_target_is_guarded_the_same_way() -> None:
    made = build_bare_proxy(GUARDED)
    assert [volume["name"] for volume in pod_of(made)["volumes"]] == ["bridge-secret", "bridge-guard", "bridge-run"]


def test_without_a_guard_nothing_of_it_is_mounted() -> None:
    made = build_proxy(deployment(), SETTINGS, container="app", ports=[HTTP])
    assert [volume["name"] for volume in pod_of(made)["volumes"]] == ["bridge-secret", "bridge-run"]


def test_open_connections_get_the_time_to_end_that_the_keeper_gives_them() -> None:
    target = deployment(terminationGracePeriodSeconds=600)
    assert pod_of(build_proxy(target, SETTINGS, container="app", ports=[]))["terminationGracePeriodSeconds"] == 15


def test_the_proxy_of_a_stateful_set_goes_as_its_first_ordinal() -> None:
    target = deployment(
        "db", kind="StatefulSet", volumes=[{"name": "data", "emptyDir": {}}, {"name": "x", "emptyDir": {}}]
    )
    target["spec"] |= {
        "serviceName": "db-peers",
        "ordinals": {"start": 3},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
    }
    proxy = proxy_of(target)
    pod = pod_of(proxy)
    assert (pod["hostname"], pod["subdomain"]) == ("db-3", "db-peers")
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-3"}} in pod["volumes"]
    assert [volume["name"] for volume in pod["volumes"]].count("data") == 1
    labels = proxy.replica_set["spec"]["template"]["metadata"]["labels"]
    assert labels["statefulset.kubernetes.io/pod-name"] == "db-3"
    terms = pod["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert terms[0]["podAffinityTerm"]["labelSelector"] == {
        "matchLabels": {"statefulset.kubernetes.io/pod-name": "db-3"}
    }
    assert "data-db-3" in proxy.hints[0]


def test_a_claim_draws_the_proxy_to_the_originals_node_and_other_rules_stay() -> None:
    rules = {
        "nodeAffinity": {"x": 1},
        "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]},
    }
    target = deployment(affinity=rules, volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}])
    made = pod_of(proxy_of(target))["affinity"]
    assert made["nodeAffinity"] == {"x": 1}
    first, second = made["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert first == {"weight": 1}
    assert second["podAffinityTerm"]["labelSelector"] == target["spec"]["selector"]
    assert len(rules["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]) == 1


def test_hints_tell_of_anti_affinity_and_readiness_gates() -> None:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchExpressions": [
        {"key": "app", "operator": "In", "values": ["web"]}]}}  # fmt: skip
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    target = deployment(affinity=apart, readinessGates=[{"conditionType": "lb/ready"}])
    proxy = proxy_of(target)
    assert [word in hint for word, hint in zip(("podAntiAffinity", "lb/ready"), proxy.hints, strict=True)] == [
        True,
        True,
    ]
    assert pod_of(proxy)["affinity"] == apart
    assert pod_of(proxy)["readinessGates"]


# ---- resources ---------------------------------------------------------------------------------------------------


def resources_of(asked: Json, *, keep: bool = False, env: list | None = None, **pod: Any) -> Json | None:
    app = container("app", resources=asked, env=env or [])
    return chosen_of(proxy_of(deployment(containers=[app], **pod), keep_resources=keep)).get("resources")


def test_requests_are_lowered_and_limits_raised_to_what_a_relay_needs() -> None:
    assert resources_of({"requests": {"cpu": "4", "memory": "8Gi"}, "limits": {"cpu": "100m", "memory": "16Gi"}}) == {
        "requests": {"cpu": "250m", "memory": "128Mi"},
        "limits": {"cpu": "1", "memory": "16Gi"},
    }


def test_a_limit_alone_is_also_the_request_so_it_is_said_before_it_is_raised() -> None:
    assert resources_of({"limits": {"memory": "32Mi"}}) == {
        "requests": {"memory": "32Mi"},
        "limits": {"memory": "256Mi"},
    }


def test_devices_are_not_asked_for() -> None:
    gpu = {"nvidia.com/gpu": "1", "hugepages-2Mi": "4Mi"}
    assert resources_of({"limits": gpu, "requests": gpu}) == {}
    app = container("app", resources={"claims": [{"name": "gpu"}]})
    mesh = container("mesh", resources={"claims": [{"name": "nic"}]})
    claims = [{"name": "gpu"}, {"name": "nic"}]
    assert pod_of(proxy_of(deployment(containers=[app, mesh], resourceClaims=claims)))["resourceClaims"] == [claims[1]]


TOLD = {"name": "MAXPROCS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}
SMALL = {"limits": {"cpu": "100m"}}


def test_resources_are_kept_where_something_hangs_on_them() -> None:
    assert resources_of(SMALL, env=[TOLD]) == SMALL
    assert resources_of(SMALL, keep=True) == SMALL
    assert resources_of(SMALL, resources={"limits": {"cpu": "1"}}) == SMALL
    item = {"path": "cpu", "resourceFieldRef": {"containerName": "app", "resource": "limits.cpu"}}
    for volume in (
        {"downwardAPI": {"items": [item]}},
        {"projected": {"sources": [{"downwardAPI": {"items": [item]}}]}},
    ):
        assert resources_of(SMALL, volumes=[{"name": "v"} | volume]) == SMALL


# ---- the other objects -------------------------------------------------------------------------------------------


def test_the_secret_holds_the_keys_and_can_not_be_changed() -> None:
    made = build_secret(SETTINGS, host_key="H\n", authorized_keys="A", token="T", target="deployment/web")
    assert made["metadata"]["name"] == "bridge-abcdefgh"
    assert made["immutable"]
    assert base64.b64decode(made["data"]["host_key"]) == b"H\n"
    assert made["metadata"]["annotations"]["bridge.internal/holder"] == "ann@laptop"


def test_the_secret_holds_the_guards_orders_if_there_are_any() -> None:
    keys = {"host_key": "H", "authorized_keys": "A", "token": "T", "target": ""}
    assert build_secret(SETTINGS, **keys)["data"].keys() == {"host_key", "authorized_keys", "token"}
    made = build_secret(SETTINGS, **keys, orders='{"session":"abcdefgh"}')
    assert base64.b64decode(made["data"]["orders"]) == b'{"session":"abcdefgh"}'


def test_the_secret_owns_what_it_is_told_to() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "uid": "u"}}
    made = proxy_of(deployment()).replica_set
    owned = owned_by(made, secret)
    assert owned["metadata"]["ownerReferences"] == [{"apiVersion": "v1", "kind": "Secret", "name": "s", "uid": "u"}]
    assert "ownerReferences" not in made["metadata"]


def test_the_pod_to_try_is_the_replica_sets() -> None:
    made = proxy_of(deployment()).replica_set
    pod = dry_run_pod(made)
    assert pod["kind"] == "Pod"
    assert pod["spec"] == made["spec"]["template"]["spec"]
    assert pod["metadata"]["generateName"] == "bridge-web-abcdefgh-"
    assert pod["metadata"]["namespace"] == "shop"


def test_a_bare_proxy_is_selected_by_nobody() -> None:
    made = build_bare_proxy(SETTINGS).replica_set
    template = made["spec"]["template"]
    assert made["metadata"]["name"] == "bridge-abcdefgh"
    assert template["metadata"]["labels"] == {"bridge.internal/session": "abcdefgh"}
    assert template["spec"]["automountServiceAccountToken"] is False
    assert template["spec"]["containers"][0]["securityContext"]["runAsNonRoot"]

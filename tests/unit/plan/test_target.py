import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BridgeError, TargetError, UsageError
from bridge.plan.target import TargetSpec, WorkloadKind, check_swappable, choose, choose_container
from tests.unit.plan.worlds import container, deployment, names, template_of

specs = st.builds(
    TargetSpec,
    name=names,
    kind=st.one_of(st.none(), st.sampled_from(WorkloadKind)),
    container=st.one_of(st.none(), names),
)


@given(specs)
def test_a_target_is_read_back_from_what_it_is_written_as(spec: TargetSpec) -> None:
    assert TargetSpec.parse(str(spec)) == spec


@given(st.text())
def test_any_text_is_a_target_or_a_told_error(text: str) -> None:
    try:
        spec = TargetSpec.parse(text)
    except BridgeError as error:
        hint = error.hint
    else:
        hint = "no hint needed"
        assert TargetSpec.parse(str(spec)) == spec
    assert hint


@pytest.mark.parametrize("word", ["deploy", "deployments", "deployment.apps", "deployment.v1.apps", "Deployment"])
def test_kinds_are_read_as_kubectl_reads_them(word: str) -> None:
    assert TargetSpec.parse(f"{word}/web").kind is WorkloadKind.DEPLOYMENT


@pytest.mark.parametrize("text", ["", "web:", "/web", "deployment/", "Web", "a b", "web:app:x", "-web", "web..x"])
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        TargetSpec.parse(text)


@pytest.mark.parametrize(
    ("text", "word"),
    [("ds/logs", "DaemonSet"), ("job/once", "Job"), ("svc/web", "Service"), ("po/x", "Pod"), ("cj/x", "CronJob")],
)
def test_a_kind_that_cannot_be_swapped_says_why_and_what_else(text: str, word: str) -> None:
    with pytest.raises(TargetError, match=f"a {word} can't be swapped: ") as caught:
        TargetSpec.parse(text)
    assert caught.value.hint


def test_a_slip_in_the_kind_names_the_near_one() -> None:
    with pytest.raises(UsageError) as caught:
        TargetSpec.parse("deploment/web")
    assert "deployment" in caught.value.hint


def test_the_kind_is_not_needed_where_the_name_is_unique() -> None:
    there = [deployment("web"), deployment("db", kind="StatefulSet")]
    assert choose(TargetSpec("db"), there) is there[1]


def test_a_name_that_two_kinds_have_is_ambiguous() -> None:
    there = [deployment("web"), deployment("web", kind="StatefulSet")]
    with pytest.raises(TargetError) as caught:
        choose(TargetSpec("web"), there)
    assert "deployment/web or statefulset/web" in caught.value.hint
    assert choose(TargetSpec("web", WorkloadKind.STATEFUL_SET), there) is there[1]


def test_near_names_are_offered_with_their_kind() -> None:
    with pytest.raises(TargetError) as caught:
        choose(TargetSpec("taks"), [deployment("tasks"), deployment("tasks-db", kind="StatefulSet"), deployment("zoo")])
    assert caught.value.hint == "Did you mean deployment/tasks or statefulset/tasks-db?"


def test_the_name_in_another_kind_is_offered() -> None:
    with pytest.raises(TargetError, match="no deployment named db") as caught:
        choose(TargetSpec("db", WorkloadKind.DEPLOYMENT), [deployment("db", kind="StatefulSet")])
    assert "statefulset/db" in caught.value.hint


def test_where_nothing_is_near_what_is_there_is_listed() -> None:
    with pytest.raises(TargetError) as caught:
        choose(TargetSpec("qqqq"), [deployment("web")])
    assert "deployment/web" in caught.value.hint
    with pytest.raises(TargetError) as caught:
        choose(TargetSpec("qqqq"), [])
    assert "no workload at all" in caught.value.hint


def test_a_replica_set_of_a_deployment_is_refused_for_the_deployment() -> None:
    owned = deployment("web-5d4", kind="ReplicaSet")
    owned["metadata"]["ownerReferences"] = [{"kind": "Deployment", "name": "web", "controller": True}]
    with pytest.raises(TargetError) as caught:
        choose(TargetSpec("web-5d4"), [owned])
    assert caught.value.hint == "Swap deployment/web."


def test_a_proxy_is_no_target() -> None:
    proxy = deployment("bridge-web-aaaaaaaa", kind="ReplicaSet")
    proxy["metadata"]["labels"] = {"bridge.internal/session": "aaaaaaaa"}
    with pytest.raises(TargetError, match="no workload named"):
        choose(TargetSpec("bridge-web-aaaaaaaa"), [proxy])


def test_list_items_get_their_kind_by_stamp() -> None:
    item = {"metadata": {"name": "web"}}
    assert WorkloadKind.of(WorkloadKind.DEPLOYMENT.stamp(item)) is WorkloadKind.DEPLOYMENT


def test_paths_are_those_of_the_api() -> None:
    assert WorkloadKind.STATEFUL_SET.path("ns", "db") == "/apis/apps/v1/namespaces/ns/statefulsets/db"
    assert WorkloadKind.DEPLOYMENT.path("ns") == "/apis/apps/v1/namespaces/ns/deployments"


def test_without_replicas_there_is_nothing_to_swap() -> None:
    with pytest.raises(TargetError, match="0 replicas"):
        check_swappable(deployment(replicas=0))
    check_swappable(deployment(replicas=None))


def test_a_target_that_a_session_swapped_has_its_replicas_on_record() -> None:
    left = deployment(replicas=0)
    left["metadata"]["annotations"] = {"bridge.internal/undo": "{}"}
    check_swappable(left)


def test_a_stateful_set_that_deletes_its_volumes_when_scaled_down_is_never_swapped() -> None:
    database = deployment("db", kind="StatefulSet")
    database["spec"]["persistentVolumeClaimRetentionPolicy"] = {"whenDeleted": "Delete", "whenScaled": "Retain"}
    check_swappable(database)
    database["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"] = "Delete"
    with pytest.raises(TargetError, match="lose its data"):
        check_swappable(database)


def test_windows_and_deleted_targets_are_refused() -> None:
    with pytest.raises(TargetError, match="Windows"):
        check_swappable(deployment(os={"name": "windows"}))
    deleted = deployment()
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    with pytest.raises(TargetError, match="being deleted"):
        check_swappable(deleted)


def pod(*containers: dict, annotation: str | None = None, init: list | None = None) -> dict:
    template = template_of(deployment(containers=list(containers), initContainers=init or []))
    if annotation:
        template["metadata"]["annotations"] = {"kubectl.kubernetes.io/default-container": annotation}
    return template


def test_the_container_is_the_named_else_the_annotated_else_the_first() -> None:
    two = (container("app"), container("proxy"))
    assert choose_container(pod(*two, annotation="proxy"), "app") == "app"
    assert choose_container(pod(*two, annotation="proxy"), None) == "proxy"
    assert choose_container(pod(*two, annotation="gone"), None) == "app"
    assert choose_container(pod(*two), None) == "app"


def test_a_container_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(TargetError, match="no container named nope") as caught:
        choose_container(pod(container("app"), container("proxy")), "nope")
    assert caught.value.hint == "Its containers: app, proxy."


def test_an_init_container_and_a_sidecar_are_called_what_they_are() -> None:
    init = [container("setup"), container("mesh", restartPolicy="Always")]
    with pytest.raises(TargetError, match="setup is an init container"):
        choose_container(pod(container("app"), init=init), "setup")
    with pytest.raises(TargetError, match="mesh is a sidecar"):
        choose_container(pod(container("app"), init=init), "mesh")

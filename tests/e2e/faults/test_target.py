"""The target changes under the session: deleted, rolled out anew, scaled, upgraded; its namespace goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.running import answered_by, assert_nothing_left, eventually, spec_of
from tests.e2e.workloads import deployment, manifest, service

if TYPE_CHECKING:
    from tests.cluster.access import Cluster
    from tests.e2e.faults.conftest import Stage


def test_a_target_that_is_deleted_leaves_nothing_to_put_back_and_nothing_behind(stage: Stage) -> None:
    with stage.session() as session:
        stage.kubectl("delete", "deployment/web")
        session.err.wait_for("deployment/web was deleted", 20)
        answered_by(stage.kubectl, "laptop pid=")
        session.end()
    assert stage.kubectl("get", "deployments", "-o", "name") == ""
    assert_nothing_left(stage.kubectl)


def test_a_target_that_is_made_anew_is_left_as_it_is(stage: Stage) -> None:
    with stage.session() as session:
        stage.kubectl("delete", "deployment/web")
        stage.kubectl.apply(deployment(replicas=2))
        session.err.wait_for("deployment/web was deleted and made anew", 20)
        session.err.wait_for("is now answered by this laptop(.*\n)+.*is now answered by this laptop", 60)
        answered_by(stage.kubectl, "laptop pid=")
        session.end()
    stage.kubectl.rollout("deployment/web")
    assert spec_of(stage.kubectl)["replicas"] == 2
    assert_nothing_left(stage.kubectl)
    answered_by(stage.kubectl, "version=1")


def test_a_new_image_is_what_comes_back(stage: Stage) -> None:
    with stage.session() as session:
        stage.kubectl("set", "image", "deployment/web", "web=bridge.local/web:2")
        answered_by(stage.kubectl, "laptop pid=")
        session.end()
    answered_by(stage.kubectl, "version=2")
    assert spec_of(stage.kubectl)["replicas"] == 1
    assert_nothing_left(stage.kubectl)


def test_an_upgrade_as_helm_makes_it_stays_and_shares_no_traffic(stage: Stage) -> None:
    """All of the release's manifests are applied anew, with their replicas and their Services."""
    with stage.session() as session:
        newer = deployment(replicas=2, container={"image": "bridge.local/web:2"})
        stage.kubectl.apply(manifest(newer, service()))
        session.err.wait_for("somebody scaled deployment/web to 2", 20)
        stage.kubectl.rollout("deployment/web")
        answered_by(stage.kubectl, "laptop pid=")
        session.end()
    assert spec_of(stage.kubectl)["replicas"] == 2
    assert_nothing_left(stage.kubectl)
    answered_by(stage.kubectl, "version=2")


def test_an_autoscaler_rests_and_what_it_does_stays(stage: Stage) -> None:
    stage.kubectl("autoscale", "deployment/web", "--min=2", "--max=3", "--cpu-percent=80")
    eventually(lambda: str(spec_of(stage.kubectl)["replicas"]), "2", 60)
    stage.kubectl.rollout("deployment/web")
    with stage.session() as session:
        assert "HorizontalPodAutoscaler" in session.err.text
        assert spec_of(stage.kubectl)["replicas"] == 0
        session.end()
    assert spec_of(stage.kubectl)["replicas"] == 2
    with stage.session("--fallback") as session:  # one is kept, and the autoscaler wants two
        session.err.wait_for("somebody scaled deployment/web to 2: they get none", 60)
        answered_by(stage.kubectl, "laptop pid=")
        session.end()
    assert spec_of(stage.kubectl)["replicas"] == 2
    assert_nothing_left(stage.kubectl)


def test_a_namespace_that_is_deleted_ends_the_session_and_says_so(stage: Stage, cluster: Cluster) -> None:
    with stage.session() as session:
        cluster.kubectl("delete", "namespace", stage.namespace, "--wait=false")
        session.wait(90)
    assert "Traceback" not in session.err.text
    assert "did not expect" not in session.err.text
    assert stage.namespace in session.err.text or "gone" in session.err.text
    # for the fixture, which deletes it again
    eventually(lambda: cluster.kubectl("get", "namespaces", "-o", "name").replace(stage.namespace, "!"), "", 1)

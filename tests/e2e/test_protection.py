"""Who puts the original back when this laptop is gone, by what the user's rights allow; and rights that run out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.running import (
    PROGRAM,
    SERVER,
    answered_by,
    assert_nothing_left,
    assert_restored,
    bridge,
    eventually,
    left,
    spec_of,
)

if TYPE_CHECKING:
    from tests.cluster.access import Kubectl
    from tests.cluster.laptop import Laptop

pytestmark = pytest.mark.local_cluster
SWAP = ("-s", "web", "python", SERVER, "8080")


def user(laptop: Laptop, kubectl: Kubectl, namespace: str, role: str) -> str:
    """A kubeconfig with one of Kubernetes' usual roles in the namespace, and nothing else."""
    kubectl("create", "serviceaccount", "dev")
    kubectl("create", "rolebinding", "dev", f"--clusterrole={role}", f"--serviceaccount={namespace}:dev")
    return laptop.make_kubeconfig("dev", namespace)


def test_who_may_create_roles_is_protected_by_the_keeper_and_its_token_is_not_among_the_volumes(
    local_laptop: Laptop, kubectl: Kubectl, shop: str
) -> None:
    config = user(local_laptop, kubectl, shop, "admin")
    with bridge(local_laptop, shop, "--kubeconfig", config, *SWAP) as session:
        session.err.wait_for(r"protection: keeper \(puts the original back 30 s after", 30)
        (role,) = kubectl.json("get", "roles", "-l", "bridge.internal/session")["items"]
        assert all(rule.get("resourceNames") for rule in role["rules"])
        (pod,) = kubectl.json("get", "pods", "-l", "bridge.internal/session")["items"]
        assert pod["spec"]["serviceAccountName"] == "default"  # the target's own
    assert_nothing_left(kubectl)


def test_an_editor_is_told_of_the_watchdog_which_restores_when_bridge_is_killed(
    local_laptop: Laptop, kubectl: Kubectl, shop: str
) -> None:
    config = user(local_laptop, kubectl, shop, "edit")
    before = spec_of(kubectl)
    with bridge(local_laptop, shop, "--kubeconfig", config, *SWAP) as session:
        session.swapped()
        assert "protection: watchdog" in session.err.text
        assert "bridge install" in session.err.text
        watchdog = session.watchdog()
        session.kill()
        eventually(lambda: str(spec_of(kubectl)["replicas"]), "1", 8)
    watchdog.wait(60)
    assert_restored(kubectl, before)


def test_an_editor_in_a_prepared_namespace_is_protected_by_the_keeper(
    local_laptop: Laptop, kubectl: Kubectl, shop: str
) -> None:
    config = user(local_laptop, kubectl, shop, "edit")
    prepared = local_laptop.run([PROGRAM, "install", "--apply", "-n", shop])
    assert prepared.returncode == 0, prepared.stderr
    assert "serviceaccount/bridge-keeper created" in prepared.stdout
    before = spec_of(kubectl)
    with bridge(local_laptop, shop, "--kubeconfig", config, "--grace", "5", *SWAP) as session:
        session.swapped()
        session.err.wait_for("protection: keeper", 20)
        session.kill_all()
    answered_by(kubectl, "version=1")
    eventually(lambda: str(left(kubectl)), "[]", 30)
    assert spec_of(kubectl) == before


def test_what_install_writes_is_what_it_applies(local_laptop: Laptop, kubectl: Kubectl, shop: str) -> None:
    written = local_laptop.run([PROGRAM, "install", "-n", shop])
    assert written.returncode == 0, written.stderr
    kubectl.apply(written.stdout)
    again = local_laptop.run([PROGRAM, "install", "--apply", "-n", shop])
    assert again.stdout.count("was there") == 3, again


def test_credentials_that_are_no_longer_accepted_are_said_and_new_ones_taken_up(
    local_laptop: Laptop, kubectl: Kubectl, shop: str
) -> None:
    """A log-in that runs out during the session, and a new one made in the same kubeconfig."""
    config = user(local_laptop, kubectl, shop, "admin")
    before = spec_of(kubectl)
    with bridge(local_laptop, shop, "--kubeconfig", config, *SWAP) as session:
        session.swapped()
        kubectl("delete", "serviceaccount", "dev")  # its token with it, once the API server's cache is over
        asked = ["list", "-n", shop, "--kubeconfig", config]
        eventually(lambda: local_laptop.run([PROGRAM, *asked]).stderr, "does not accept the token", 60)
        kubectl("delete", "pod", "-l", "bridge.internal/session", "--wait=false")  # and the way in is asked for anew
        session.err.wait_for(r"does not accept the token of [\s\S]*goes on when that is done", 60)
        kubectl("create", "serviceaccount", "dev")
        assert local_laptop.make_kubeconfig("dev", shop) == config
        session.err.wait_for("connected again to", 30)
        answered_by(kubectl, "laptop pid=")
    assert_restored(kubectl, before)

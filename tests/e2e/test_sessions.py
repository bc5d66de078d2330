"""Who holds a target: listed, told, refused, taken over, left; and what else may be kept of the original."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from tests.e2e.faults.traffic import traffic
from tests.e2e.running import (
    PROGRAM,
    SERVER,
    answered_by,
    ask,
    assert_nothing_left,
    assert_restored,
    bridge,
    eventually,
    left,
    sessions,
    spec_of,
    status,
)

if TYPE_CHECKING:
    from tests.cluster.access import AnyLaptop, Kubectl

SWAP = ("-s", "web", "python", SERVER, "8080")


def test_a_session_is_listed_shown_and_left(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    before = spec_of(kubectl)
    with bridge(laptop, shop, *SWAP) as session:
        session.swapped()
        (listed,) = sessions(laptop, "list", "-n", shop)
        assert listed["target"] == "deployment/web"
        assert listed["life"] == "alive"
        assert listed["services"] == ["web"]
        assert "@" in listed["holder"]
        assert listed["session"] in [each["session"] for each in sessions(laptop, "list", "-A")]
        answered_by(kubectl, "laptop pid=")
        shown = status(laptop, shop)
        assert shown["state"] == "connected"
        assert shown["connections_in"] >= 10
        assert shown["reconnects"] == 0
        # By its id: a test beside this one may hold a web of its own, by the same laptop.
        done = laptop.run([PROGRAM, "leave", listed["session"]])
        assert done.returncode == 0, done.stderr
        assert "left deployment/web" in done.stdout
        assert session.wait(5) == 0
    assert sessions(laptop, "list", "-n", shop) == []
    assert_restored(kubectl, before)


def test_leaving_what_is_not_there_says_what_is(laptop: AnyLaptop) -> None:
    done = laptop.run([PROGRAM, "leave", "nothing-of-that-name"])
    assert done.returncode == 3
    assert "bridge list" in done.stderr


def test_the_original_is_out_of_its_services_and_can_not_share_the_traffic(
    laptop: AnyLaptop, kubectl: Kubectl, shop: str
) -> None:
    before = spec_of(kubectl)
    with bridge(laptop, shop, *SWAP) as session:
        session.swapped()
        kubectl("scale", "deployment/web", "--replicas=2")
        session.err.wait_for(r"somebody scaled deployment/web to 2: they get none of its Services' traffic", 20)
        kubectl.rollout("deployment/web")
        answered_by(kubectl, "laptop pid=")
        session.end()
    assert spec_of(kubectl) == {**before, "replicas": 2}  # theirs stays
    assert_nothing_left(kubectl)


def test_a_service_that_is_applied_anew_is_narrowed_again(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    with bridge(laptop, shop, "--keep-original", *SWAP) as session:
        session.swapped()
        kubectl("patch", "service/web", "--type=merge", "-p", '{"spec":{"selector":{"bridge.internal/session":null}}}')
        session.err.wait_for(r"somebody changed service/web", 20)
        answered_by(kubectl, "laptop pid=")
    assert_nothing_left(kubectl)


def test_keep_original_swaps_the_traffic_only(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    before = spec_of(kubectl)
    (pod,) = kubectl("get", "pods", "-l", "app=web", "-o", "name").split()
    with bridge(laptop, shop, "--keep-original", *SWAP) as session:
        session.swapped()
        assert spec_of(kubectl) == before
        answered_by(kubectl, "laptop pid=")
        session.end()
    assert_restored(kubectl, before)
    assert kubectl("get", "pods", "-l", "app=web", "-o", "name").split() == [pod]


def test_a_replica_that_is_kept_answers_for_a_process_that_does_not(
    laptop: AnyLaptop, kubectl: Kubectl, shop: str
) -> None:
    kubectl("scale", "deployment/web", "--replicas=2")
    kubectl.rollout("deployment/web")
    before = spec_of(kubectl)
    until_told = f"python {SERVER} 8080 & read told; kill $!; wait; sleep 60"
    words = ("--fallback", "--hold", "1", "-s", "web", "sh", "-c", until_told)
    with bridge(laptop, shop, *words, stdin=subprocess.PIPE) as session:
        session.swapped()
        assert spec_of(kubectl)["replicas"] == 1
        answered_by(kubectl, "laptop pid=")
        assert session.process.stdin
        session.process.stdin.write(b"stop\n")
        session.process.stdin.flush()
        eventually(lambda: ask(kubectl), "version=1")
    assert_restored(kubectl, before)


def test_a_holder_that_allows_it_is_taken_over_from(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    """Until the second's process answers, the first's does."""
    before = spec_of(kubectl)
    with bridge(laptop, shop, "--allow-takeover", *SWAP) as first:
        first.swapped()
        refused = laptop.run([PROGRAM, "run", "-n", shop, "-s", "web", "true"])
        assert refused.returncode == 3
        assert "--takeover" in refused.stderr
        with traffic(kubectl, timeout=10) as meter, bridge(laptop, shop, "--takeover", *SWAP) as second:
            second.swapped()
            first.wait(60)
            assert "was taken by" in first.err.text
            assert "could be put back" not in first.err.text  # an error on its way out
            answered_by(kubectl, second.served_by())
            assert len(sessions(laptop, "list", "-n", shop)) == 1
    assert_restored(kubectl, before)
    assert meter.failed("new") == []


def test_a_holder_that_does_not_allow_it_keeps_the_target(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    with bridge(laptop, shop, *SWAP) as first:
        first.swapped()
        refused = laptop.run([PROGRAM, "run", "-n", shop, "--takeover", "-s", "web", "true"])
        assert refused.returncode == 3
        assert "--allow-takeover" in refused.stderr
        answered_by(kubectl, "laptop pid=")


def test_a_killed_bridge_is_put_back_by_its_watchdog(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    before = spec_of(kubectl)
    with bridge(laptop, shop, *SWAP) as session:
        session.swapped()
        watchdog = session.watchdog()
        session.kill()
    watchdog.wait(60)
    assert_restored(kubectl, before)
    answered_by(kubectl, "version=1")


def test_restore_lists_what_it_finds_and_clears_what_it_can(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    with bridge(laptop, shop, *SWAP) as session:
        session.swapped()
        session.kill_all()
    kubectl("delete", "deployment/web")  # and with it the record: the rest must be found all the same
    done = laptop.run([PROGRAM, "restore", "-n", shop, "--output", "json"])
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["done"]) == 1
    assert_nothing_left(kubectl)
    assert left(kubectl) == []


def test_a_rollback_during_the_session_does_not_lose_the_way_back(
    laptop: AnyLaptop, kubectl: Kubectl, shop: str
) -> None:
    """`kubectl rollout undo` replaces all annotations, and so takes the undo record away while replicas are 0."""
    kubectl("set", "env", "deployment/web", "COLOR=blue")
    kubectl.rollout("deployment/web")
    before = spec_of(kubectl)
    with bridge(laptop, shop, *SWAP) as session:
        session.swapped()
        kubectl("rollout", "undo", "deployment/web")
        session.err.wait_for("took the undo record off deployment/web", 20)
        answered_by(kubectl, "laptop pid=")
        session.kill_all()
    done = laptop.run([PROGRAM, "restore", "web", "-n", shop])
    assert done.returncode == 0, done.stderr
    assert spec_of(kubectl)["replicas"] == before["replicas"]
    assert "COLOR" not in json.dumps(spec_of(kubectl))  # the rollback stays
    assert_nothing_left(kubectl)


def test_a_rollback_at_the_worst_moment_does_not_either(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    kubectl("set", "env", "deployment/web", "COLOR=blue")
    kubectl.rollout("deployment/web")
    with bridge(laptop, shop, *SWAP) as session:
        session.swapped()
        session.kill_all()
        kubectl("rollout", "undo", "deployment/web")  # nobody is there to write it again
    assert spec_of(kubectl)["replicas"] == 0
    done = laptop.run([PROGRAM, "restore", "web", "-n", shop])
    assert done.returncode == 0, done.stderr
    assert spec_of(kubectl)["replicas"] == 1
    assert_nothing_left(kubectl)

"""What is between the laptop and the proxy pod fails, and comes back."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from bridge.session.changes import PATIENCE
from tests.cluster import components
from tests.cluster.link import Link
from tests.e2e.faults.conftest import Stage, Watch
from tests.e2e.faults.guarantees import FULL, Guarantees, tries
from tests.e2e.running import bridge
from tests.e2e.workloads import deployment, manifest, service

if TYPE_CHECKING:
    from tests.cluster.settings import Settings

BACK = 5.0
"""Seconds from when the link is back until a request is answered."""


@pytest.mark.parametrize("seconds", [5, 20])
def test_a_link_that_is_cut_is_taken_up_again(
    stage: Stage, settings: Settings, guarantees: Guarantees, seconds: int
) -> None:
    row = guarantees.row(
        f"the laptop's link is cut for {seconds} s; from its return", who="bridge", bound=f"{BACK:g} s"
    )
    for _ in range(tries(1, 2)):
        with stage.traffic(timeout=seconds + 20) as meter, stage.session() as session:
            watch, who = Watch(meter, row), session.served_by()
            meter.wait_for("laptop pid=")
            with Link(settings).is_cut():
                time.sleep(seconds)  # noqa: TID251  # what the row says
            watch.now()
            watch.healthy_again(who, within=BACK)
            session.end()
        watch.count()
        stage.assert_restored()


def test_a_link_that_is_cut_for_longer_than_the_grace_time_ends_the_swap_and_begins_it_anew(
    stage: Stage, settings: Settings, guarantees: Guarantees
) -> None:
    grace, seconds = (30, 60) if FULL else (5, 16)
    row = guarantees.row(
        f"the link is cut for {seconds} s (--grace {grace}): the original answers",
        who="keeper",
        bound=f"{grace + 10} s",
    )
    again = guarantees.row("the same: the process answers again, from the link's return", who="bridge", bound="15 s")
    for _ in range(tries(1, 1)):
        with stage.traffic(timeout=15) as meter, stage.session("--grace", str(grace)) as session:
            watch, who = Watch(meter, row), session.served_by()
            session.err.wait_for("protection: keeper", 20)
            meter.wait_for("laptop pid=")
            with Link(settings).is_cut():
                watch.now()
                watch.healthy_again("version=1", within=grace + 10)
                time.sleep(max(0.0, seconds - (time.monotonic() - watch.since)))  # noqa: TID251  # what the row says
            back = Watch(meter, again)
            back.now()
            back.healthy_again(who, within=15)
            session.end()
        watch.count()
        stage.assert_restored()


def test_a_silent_black_hole_is_noticed_and_the_tunnel_rebuilt(
    stage: Stage, settings: Settings, guarantees: Guarantees
) -> None:
    noticed = guarantees.row("black hole (packets dropped, no reset): noticed", who="bridge", bound="10 s")
    row = guarantees.row("black hole for 15 s; from its end", who="bridge", bound=f"{BACK:g} s")
    for _ in range(tries(1, 2)):
        with stage.traffic(timeout=40) as meter, stage.session() as session:
            watch, who = Watch(meter, row), session.served_by()
            meter.wait_for("laptop pid=")
            with Link(settings).is_black_hole():
                began = time.monotonic()
                session.err.wait_for("does not answer any more", 10)
                noticed.back.append(time.monotonic() - began)
                time.sleep(max(0.0, 15 - (time.monotonic() - began)))  # noqa: TID251  # what the row says
            watch.now()
            watch.healthy_again(who, within=BACK)
            session.end()
        watch.count()
        stage.assert_restored()


def test_an_end_that_needs_a_second_try_tells_of_no_failure(stage: Stage, settings: Settings) -> None:
    with stage.session("--grace", "120") as session:
        with Link(settings).is_cut():
            session.process.send_signal(signal.SIGTERM)
            time.sleep(PATIENCE + 5)  # noqa: TID251  # the first try gives up, the second has begun
        session.wait()
        assert "could be put back" not in session.err.text
    stage.assert_restored()


@pytest.mark.parametrize("component", ["kube-apiserver", "etcd"])
def test_a_control_plane_that_restarts_costs_no_session(
    stage: Stage, settings: Settings, guarantees: Guarantees, component: str
) -> None:
    row = guarantees.row(f"{component} is killed and starts again", who="bridge", bound="15 s")
    for _ in range(tries(1, 2)):
        with stage.traffic(timeout=30) as meter, stage.session() as session:
            watch, who = Watch(meter, row), session.served_by()
            meter.wait_for("laptop pid=")
            watch.now()
            components.restart(settings, component)
            watch.healthy_again(who, within=15)
            session.end()
        watch.count()
        stage.assert_restored()


def test_copies_over_a_long_link_get_one_more_connection_to_the_pod(stage: Stage, settings: Settings) -> None:
    port = {"name": "http", "containerPort": 7000}
    echo = deployment("echo", container={"ports": [port], "env": [{"name": "ECHO_PORT", "value": "7000"}]})
    del echo["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
    stage.kubectl.apply(manifest(echo, service("echo", port=7000)))
    stage.kubectl.rollout("deployment/echo")
    link = Link(settings)
    link.slow(delay=40)
    try:
        with bridge(
            stage.laptop, stage.namespace, "--verbose", "python", "tests/e2e/apps/storm_of_bytes.py", "echo", "7000"
        ) as copy:
            copy.err.wait_for("2 connections to the pod", 40)
            answered = copy.out.text.count("echoed hello")
            for more in range(1, 9):
                copy.out.wait_for("echoed hello\n" * (answered + more), 20)
            copy.end()
            assert "Traceback" not in copy.err.text
    finally:
        link.slow()

"""Whose a pod is, where selectors overlap."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.plan.pods import is_original
from bridge.wire.marks import SESSION_LABEL
from tests.unit.plan.worlds import deployment


def pod(owner: tuple[str, str] | None, **labels: str) -> dict[str, Any]:
    owners = [{"kind": owner[0], "name": owner[1], "controller": True}] if owner else []
    return {"metadata": {"name": "x", "labels": {"app": "web", **labels}, "ownerReferences": owners}}


HASH = {"pod-template-hash": "5d4f"}


@pytest.mark.parametrize(
    ("kind", "owner", "labels", "original"),
    [
        ("Deployment", ("ReplicaSet", "web-5d4f"), HASH, True),
        ("Deployment", ("ReplicaSet", "worker-5d4f"), {**HASH, "component": "worker"}, False),
        ("Deployment", ("StatefulSet", "web"), {}, False),
        ("StatefulSet", ("StatefulSet", "web"), {}, True),
        ("StatefulSet", ("StatefulSet", "db"), {}, False),
        ("ReplicaSet", ("ReplicaSet", "web"), {}, True),
        ("Deployment", None, {}, True),  # nobody else's
        ("Deployment", ("ReplicaSet", "bridge-web-abcd2345"), {SESSION_LABEL: "abcd2345"}, False),
        ("Deployment", ("ReplicaSet", "web-5d4f"), {**HASH, "app": "other"}, False),
    ],
)
def test_a_pod_is_the_originals_if_that_controls_it(
    kind: str, owner: tuple[str, str] | None, labels: dict[str, str], original: bool
) -> None:
    assert is_original(deployment("web", kind=kind), pod(owner, **labels)) is original


def test_a_pod_that_ends_is_no_original_any_more() -> None:
    ending = pod(("ReplicaSet", "web-5d4f"), **HASH)
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not is_original(deployment("web"), ending)


@pytest.mark.parametrize(("phase", "original"), [("Pending", True), ("Running", True), ("Failed", False)])
def test_a_pod_that_has_ended_is_no_original_any_more(phase: str, original: bool) -> None:
    """One that was evicted stays as Failed, whatever its ReplicaSet is scaled to."""
    there = pod(("ReplicaSet", "web-5d4f"), **HASH) | {"status": {"phase": phase}}
    assert is_original(deployment("web"), there) is original

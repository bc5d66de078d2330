"""What is said of a target's surroundings."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.cluster.execute import _failure, _proxy
from bridge.cluster.pods import is_rolled_out
from bridge.cluster.workloads import scaler_notes, selector_of

WEB: dict[str, Any] = {"kind": "Deployment", "metadata": {"name": "web"}, "spec": {}}


def scaler(kind: str = "Deployment", name: str = "web", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "h", **metadata}, "spec": {"scaleTargetRef": {"kind": kind, "name": name}}}


def test_only_the_targets_autoscalers_are_noted() -> None:
    assert scaler_notes(WEB, [scaler("StatefulSet"), scaler(name="other")]) == []
    (note,) = scaler_notes(WEB, [scaler()])
    assert note.startswith("the HorizontalPodAutoscaler h scales deployment/web: it rests")


def test_keda_is_told_from_others() -> None:
    (note,) = scaler_notes(WEB, [scaler(ownerReferences=[{"kind": "ScaledObject"}])])
    assert "KEDA scales deployment/web" in note


def test_a_selector_is_written_for_a_query() -> None:
    expressions = [
        {"key": "a", "operator": "In", "values": ["x", "y"]},
        {"key": "b", "operator": "NotIn", "values": ["z"]},
        {"key": "c", "operator": "Exists"},
        {"key": "d", "operator": "DoesNotExist"},
    ]
    selector = {"matchLabels": {"app": "web"}, "matchExpressions": expressions}
    assert selector_of({"spec": {"selector": selector}}) == "app=web,a in (x,y),b notin (z),c,!d"


@pytest.mark.parametrize(
    ("generation", "status", "done"),
    [
        (2, {"observedGeneration": 2, "readyReplicas": 3}, True),
        (2, {"observedGeneration": 1, "readyReplicas": 3}, False),
        (2, {"observedGeneration": 2, "readyReplicas": 2}, False),
        (2, {"observedGeneration": 2}, False),
        (2, {}, False),
    ],
)
def test_a_rollout_is_done_when_the_controller_has_seen_it(generation: int, status: dict[str, Any], done: bool) -> None:
    assert is_rolled_out({"metadata": {"generation": generation}, "status": status}, 3) is done


@pytest.mark.parametrize(
    ("status", "stderr", "failure"),
    [
        (b'{"status": "Success"}', b"", ""),
        (b'{"status": "Failure", "message": "exec: \\"cat\\": executable file not found in $PATH"}', b"",
         "it has no program that reads a file"),
        (b'{"status": "Failure", "message": "exit code 1"}', b"cat: no right\n", "cat: no right"),
        (b'{"status": "Failure", "message": "exit code 1"}', b"", "exit code 1"),
        (b"?", b"", "its end was not understood"),
    ],
)  # fmt: skip
def test_how_a_command_ended(status: bytes, stderr: bytes, failure: str) -> None:
    assert _failure(status, stderr) == failure


def test_a_proxy_is_spelled_for_the_websocket() -> None:
    assert _proxy(None) == {"http_no_proxy": ["*"]}
    options = _proxy("http://ann:p%40ss@proxy:3128")
    assert options["http_proxy_auth"] == ("ann", "p@ss")
    assert (options["http_proxy_host"], options["http_proxy_port"]) == ("proxy", 3128)

"""Watches that are cut, late, or told to begin anew."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from bridge.cluster import connect
from bridge.cluster.errors import Expired, MissingRight, Unreachable

from .apiserver import ApiServer, hang, reply, status, stream, watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge.cluster import Cluster

    from .apiserver import Certificate

PODS = "/api/v1/namespaces/ns/pods"
GONE = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version: 1 (2)"}


def pod(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


def pods(version: int, *items: dict[str, Any]) -> Any:
    return reply({"kind": "PodList", "metadata": {"resourceVersion": str(version)}, "items": list(items)})


def event(kind: str, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": item}


def names(client: Cluster, count: int) -> list[list[str]]:
    follower = client.follow(PODS, label_selector="a=b", deadline=time.monotonic() + 10)
    return [sorted(state) for state, _ in zip(follower, range(count), strict=False)]


def test_events_come_as_they_are_sent(api: ApiServer, client: Cluster) -> None:
    sent = [event("ADDED", pod("a", 2)), event("BOOKMARK", pod("", 9)), event("DELETED", pod("a", 10))]
    api.answers = [watch(*sent)]
    found = list(client.watch(PODS, field_selector="metadata.name=a", resource_version="1", timeout=3))
    assert found == [(one["type"], one["object"]) for one in sent]
    query = "fieldSelector=metadata.name%3Da&watch=1&allowWatchBookmarks=true&timeoutSeconds=3&resourceVersion=1"
    assert api.seen[0].path == f"{PODS}?{query}"


def test_a_watch_cut_in_the_middle_of_an_event_loses_nothing(api: ApiServer, client: Cluster) -> None:
    api.answers = [
        pods(1),
        watch(event("ADDED", pod("a", 5)), rest=b'{"type": "ADDED", "obj'),
        watch(event("ADDED", pod("b", 6))),
    ]
    assert names(client, 4) == [[], ["a"], ["a"], ["a", "b"]]
    assert api.seen[-1].path.endswith("resourceVersion=5")


def test_a_bookmark_moves_the_beginning_of_the_next_watch(api: ApiServer, client: Cluster) -> None:
    api.answers = [pods(1), watch(event("BOOKMARK", pod("", 77))), watch()]
    assert names(client, 3) == [[], [], []]
    assert api.seen[-1].path.endswith("resourceVersion=77")


@pytest.mark.parametrize("expired", [watch(event("ERROR", GONE)), status(410, "Expired", "too old")])
def test_an_expired_version_is_answered_by_a_new_list(api: ApiServer, client: Cluster, expired: Any) -> None:
    api.answers = [pods(1, pod("a", 1)), expired, pods(9, pod("b", 9)), watch()]
    assert names(client, 3) == [["a"], ["b"], ["b"]]


def test_an_expired_version_is_an_error_to_who_watches_by_himself(api: ApiServer, client: Cluster) -> None:
    api.answers = [watch(event("ERROR", GONE))]
    with pytest.raises(Expired):
        list(client.watch(PODS, resource_version="1"))


def test_an_error_that_stays_ends_it(api: ApiServer, client: Cluster) -> None:
    forbidden = status(
        403, "Forbidden", 'User "ann" cannot watch resource "pods" in API group "" in the namespace "ns"'
    )
    api.answers = [pods(1), forbidden]
    follower = client.follow(PODS, deadline=time.monotonic() + 10)
    next(follower)
    with pytest.raises(MissingRight, match="ann may not watch pods"):
        next(follower)


def test_a_server_that_restarts_is_waited_for(api: ApiServer, client: Cluster) -> None:
    starting = [status(503, "ServiceUnavailable")] * 9
    api.answers = [pods(1), *starting, watch(event("ADDED", pod("a", 2))), watch()]
    assert names(client, 2) == [[], ["a"]]


def test_a_server_that_stays_away_is_told_at_the_deadline(api: ApiServer, client: Cluster) -> None:
    api.answers = [pods(1)]
    began = time.monotonic()
    follower = client.follow(PODS, deadline=began + 1.5)
    next(follower)
    api.__exit__(None, None, None)
    with pytest.raises(Unreachable, match="connection refused"):
        list(follower)
    assert 1.4 < time.monotonic() - began < 5


def test_what_is_called_between_requests_ends_the_wait_also_when_no_server_answers(
    api: ApiServer, tmp_path: Path
) -> None:
    class EnoughError(Exception):
        pass

    calls: list[int] = []

    def between() -> None:
        calls.append(1)
        if len(calls) == 6:
            raise EnoughError

    api.answers = [pods(1), watch(), status(503, "ServiceUnavailable")]
    with connect(kubeconfig=api.kubeconfig(tmp_path), between=between) as client, pytest.raises(EnoughError):
        list(client.follow(PODS, deadline=time.monotonic() + 60))
    assert len(api.seen) == 5


@pytest.mark.parametrize("tls", [True, False])
def test_closing_ends_a_watch_that_waits_for_an_event_in_another_thread(
    authority: Certificate, own: Certificate, tmp_path: Path, tls: bool
) -> None:
    begun = threading.Event()

    def to_come() -> Iterator[dict[str, Any]]:
        yield event("ADDED", pod("a", 2))
        api.released.wait(60)

    def kinds(client: Cluster) -> Iterator[str]:
        for kind, _ in client.watch(PODS, timeout=60):
            begun.set()
            yield kind

    with ApiServer(own, authority, tls=tls) as api, ThreadPoolExecutor(1) as pool:
        api.answers = [stream(to_come())]
        with connect(kubeconfig=api.kubeconfig(tmp_path), timeout=2) as client:
            watching = pool.submit(lambda: list(kinds(client)))
            assert begun.wait(10)
            assert not watching.done()
        assert watching.result(10) == ["ADDED"]


def test_a_watch_whose_answer_does_not_begin_is_an_error_within_the_timeout(api: ApiServer, client: Cluster) -> None:
    api.answers = [hang]
    began = time.monotonic()
    with pytest.raises(Unreachable):
        list(client.watch(PODS, timeout=60))
    assert time.monotonic() - began < 20


def test_a_watch_that_ends_at_once_is_not_asked_for_in_a_spin(api: ApiServer, client: Cluster) -> None:
    api.answers = [pods(1, pod("a", 1)), watch()]
    began = time.monotonic()
    assert names(client, 4) == [["a"]] * 4
    assert time.monotonic() - began > 0.5
    assert all("timeoutSeconds=1" in seen.path for seen in api.seen[1:])

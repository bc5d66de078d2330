"""Requests to an API server that behaves, and to one that does not."""

from __future__ import annotations

import gzip
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from bridge.cluster import Cluster, connect
from bridge.cluster.errors import ApiError, NotFound, Unreachable
from bridge.errors import ClusterError

from .apiserver import ApiServer, dribble, hang, reply, reset, status

if TYPE_CHECKING:
    from pathlib import Path

POD = "/api/v1/namespaces/ns/pods/p"
PODS = "/api/v1/namespaces/ns/pods"


def timed(expected: type[ClusterError], action: object) -> tuple[ClusterError, float]:
    began = time.monotonic()
    with pytest.raises(expected) as caught:
        action()  # type: ignore[operator]
    return caught.value, time.monotonic() - began


def test_json_goes_in_and_out_as_it_is(api: ApiServer, client: Cluster) -> None:
    odd = {"spec": {"fieldOfTomorrow": {"a": [1, None, "ä"]}}}
    api.answers = [reply(odd)]
    assert client.get(POD) == odd
    assert client.create(PODS, odd, dry_run=True) == odd
    assert client.patch(POD, [{"op": "test"}], kind="json") == odd
    first, second, third = api.seen
    assert first.headers["Authorization"] == "Bearer t0ken"
    assert (second.path, second.body) == (f"{PODS}?dryRun=All", odd)
    assert third.headers["Content-Type"] == "application/json-patch+json"


def test_a_leading_slash_may_be_left_out_and_a_prefix_stays(api: ApiServer, tmp_path: Path) -> None:
    api.answers = [reply({})]
    path = api.kubeconfig(tmp_path, cluster={"server": f"{api.url}/k8s/clusters/c-1/"})
    with connect(kubeconfig=path) as client:
        client.get(POD[1:])
    assert api.seen[0].path == f"/k8s/clusters/c-1{POD}"


def test_items_of_a_list_have_their_kind(api: ApiServer, client: Cluster) -> None:
    api.answers = [reply({"kind": "PodList", "apiVersion": "v1", "items": [{"metadata": {"name": "p"}}]})]
    assert client.list_(PODS, label_selector="a=b,!c") == [
        {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}}
    ]
    assert api.seen[0].path == f"{PODS}?labelSelector=a%3Db%2C%21c"


def test_compressed_answers_are_read(api: ApiServer, client: Cluster) -> None:
    body = {"data": "x" * 200_000}
    api.answers = [reply(gzip.compress(json.dumps(body).encode()), Content_Encoding="gzip")]
    assert client.get(POD) == body


def test_a_connection_is_used_again(api: ApiServer, client: Cluster) -> None:
    ports = set()
    api.answers = [lambda handler: (ports.add(handler.client_address), reply({})(handler))]
    for _ in range(5):
        client.get(POD)
    assert len(ports) == 1


def test_questions_are_asked_at_the_same_time(api: ApiServer, client: Cluster) -> None:
    import threading

    together = threading.Barrier(4, timeout=5)
    api.answers = [lambda handler: (together.wait(), reply({"path": handler.path})(handler))]
    answers = client.gather(*(lambda n=n: client.get(f"{POD}{n}")["path"] for n in range(4)))
    assert answers == [f"{POD}{n}" for n in range(4)]


def test_the_first_error_of_several_questions_is_raised(api: ApiServer, client: Cluster) -> None:
    api.answers = [status(404, "NotFound")]
    with pytest.raises(NotFound):
        client.gather(*(lambda: client.get(POD) for _ in range(3)))


def test_deleting_what_is_gone_is_no_error(api: ApiServer, client: Cluster) -> None:
    api.answers = [reply({}), status(404, "NotFound")]
    assert client.delete(POD, grace_seconds=0, uid="u", propagation="Foreground")
    assert not client.delete(POD)
    assert api.seen[0].body["gracePeriodSeconds"] == 0
    assert api.seen[0].body["preconditions"] == {"uid": "u"}
    assert api.seen[0].body["propagationPolicy"] == "Foreground"


def test_the_time_is_the_servers(api: ApiServer, client: Cluster) -> None:
    def answer(handler: object) -> None:
        handler.date_time_string = lambda: "Sat, 01 Jan 2000 12:00:00 GMT"  # type: ignore[attr-defined]
        reply({})(handler)

    api.answers = [answer]
    assert 0 <= (client.now() - datetime(2000, 1, 1, 12, tzinfo=UTC)).total_seconds() < 1


# -- time limits ---------------------------------------------------------------------------------------------------


def test_silence_is_an_error_within_the_timeout(api: ApiServer, client: Cluster) -> None:
    api.answers = [hang]
    error, took = timed(Unreachable, lambda: client.get(POD))
    assert "no answer within 2 s" in error.message
    assert took < 3


def test_an_answer_that_dribbles_is_an_error_within_the_timeout(api: ApiServer, client: Cluster) -> None:
    api.answers = [dribble]
    error, took = timed(Unreachable, lambda: client.get(POD))
    assert "no answer within 2 s" in error.message
    assert took < 3


# -- repetition ----------------------------------------------------------------------------------------------------


def test_a_lost_answer_is_asked_for_again(api: ApiServer, client: Cluster) -> None:
    api.answers = [reset, reset, reply({"ok": 1})]
    assert client.get(POD) == {"ok": 1}


def test_what_may_have_been_done_is_not_done_again(api: ApiServer, client: Cluster) -> None:
    api.answers = [reset, reply({})]
    error, _ = timed(Unreachable, lambda: client.create(PODS, {}))
    assert "the connection was cut" in error.message
    assert len(api.seen) == 1
    api.answers = [status(500, "InternalError"), reply({})]
    timed(ApiError, lambda: client.create(PODS, {}))
    assert len(api.seen) == 2


def test_a_merge_patch_is_repeated_and_a_json_patch_is_not(api: ApiServer, client: Cluster) -> None:
    api.answers = [reset, reply({"ok": 1})]
    assert client.patch(POD, {"metadata": {}}) == {"ok": 1}
    api.answers = [reset, reply({})]
    timed(Unreachable, lambda: client.patch(POD, [], kind="json"))


def test_a_server_that_asks_for_patience_gets_it(api: ApiServer, client: Cluster) -> None:
    api.answers = [status(429, "TooManyRequests", Retry_After="1"), reply({"ok": 1})]
    began = time.monotonic()
    assert client.create(PODS, {}) == {"ok": 1}
    assert time.monotonic() - began >= 1
    assert [seen.body for seen in api.seen] == [{}, {}]


def test_repetition_is_bounded(api: ApiServer, client: Cluster) -> None:
    api.answers = [status(503, "ServiceUnavailable", "not yet", Retry_After="0")]
    error, took = timed(ApiError, lambda: client.get(POD))
    assert "503: not yet" in error.message
    assert len(api.seen) == 4
    assert took < 2


def test_a_patient_cluster_goes_on_for_longer(api: ApiServer, client: Cluster) -> None:
    api.answers = [*[status(503, "ServiceUnavailable")] * 6, reply({"ok": 1})]
    assert client.patient(10).get(POD) == {"ok": 1}


def test_a_restarted_server_is_found_again(client: Cluster, api: ApiServer) -> None:
    api.answers = [reply({"ok": 1})]
    client.get(POD)
    api.server.drop_all()  # the connection in the pool is dead now
    assert client.create(PODS, {}) == {"ok": 1}


# -- what is no API server -----------------------------------------------------------------------------------------


def test_a_log_in_page_is_told(api: ApiServer, client: Cluster) -> None:
    api.answers = [reply(b"<html>log in</html>", kind="text/html")]
    error, _ = timed(ClusterError, lambda: client.get(POD))
    assert "not as an API server does: with text/html" in error.message
    api.answers = [reply({}, 302, Location="https://login.example.com/")]
    error, _ = timed(ClusterError, lambda: client.get(POD))
    assert "redirect to 'https://login.example.com/'" in error.message


def test_a_proxys_error_page_is_told_without_its_tags(api: ApiServer, client: Cluster) -> None:
    page = b"<html><head><title>x</title></head><body><h1>502</h1> Bad\nGateway</body></html>"
    api.answers = [reply(page, 502, kind="text/html")]
    error, _ = timed(ApiError, lambda: client.create(PODS, {}))
    assert error.message == "create pods in namespace ns: the API server answers 502: 502 Bad Gateway"


def test_a_log_is_text(api: ApiServer, client: Cluster) -> None:
    api.answers = [reply("zeile ä\n".encode(), kind="text/plain")]
    assert client.text(f"{POD}/log", query={"tailLines": "1", "previous": ""}) == "zeile ä\n"
    assert api.seen[0].path == f"{POD}/log?tailLines=1"

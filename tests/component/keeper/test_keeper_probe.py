"""The readiness probe: held until the laptop answers, and nobody can block it."""

import socket
import time
from contextlib import ExitStack

import pytest

from bridge.wire import messages
from tests.component.proxy import running_proxy

REQUEST = b"GET /ready HTTP/1.1\r\nHost: 10.244.0.7:52024\r\nUser-Agent: kube-probe/1.34\r\nConnection: close\r\n\r\n"
SHORT = 0.3


@pytest.fixture(scope="module")
def impatient():
    """A proxy that holds probes for a short time."""
    with running_proxy(hold=SHORT) as proxy:
        yield proxy


def ask(proxy, request=REQUEST) -> socket.socket:
    """Send a probe."""
    sock = socket.create_connection(("127.0.0.1", proxy.probe_port), 10)
    sock.sendall(request)
    return sock


def status(sock) -> int:
    """The answer's status, once the connection is closed."""
    with sock, sock.makefile("rb") as file:
        return int(file.read().split(b" ")[1])


def test_without_a_laptop_a_probe_is_held_then_denied(impatient):
    started = time.monotonic()
    assert status(ask(impatient)) == 503
    assert time.monotonic() - started >= SHORT


def test_a_laptop_that_does_not_answer_is_not_ready(impatient, control):
    live = control(impatient)
    probe = ask(impatient)
    assert isinstance(live.hears(), messages.Probe)
    assert status(probe) == 503


def test_a_probe_is_answered_as_the_laptop_says(proxy, control):
    live = control(proxy)
    for ready in (True, False, True):
        probe = ask(proxy)
        live.say(messages.Probed(live.hears().id, ready=ready))
        assert status(probe) == (200 if ready else 503)


def test_a_probe_that_came_before_the_laptop_is_answered_by_it(proxy, control):
    probe = ask(proxy)
    live = control(proxy)
    live.say(messages.Probed(live.hears().id, ready=True))
    assert status(probe) == 200


def test_a_probe_outlives_a_connection_that_breaks_and_is_asked_of_the_next(proxy, control):
    first = control(proxy)
    probe = ask(proxy)
    asked = first.hears()
    second = control(proxy)
    assert second.hears() == asked
    second.say(messages.Probed(asked.id, ready=True))
    assert status(probe) == 200


def test_answers_find_their_own_probe(proxy, control):
    live = control(proxy)
    probes = []
    for _ in range(3):
        probes.append((ask(proxy), live.hears().id))
    for (probe, number), ready in zip(reversed(probes), (True, False, True), strict=True):
        live.say(messages.Probed(number, ready=ready))
        assert status(probe) == (200 if ready else 503)


def test_an_answer_to_nothing_is_ignored(proxy, control):
    live = control(proxy)
    live.say(messages.Probed(999_999, ready=True), messages.Ping(1))
    assert live.hears() == messages.Pong(1)


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /ready/x HTTP/1.1\r\n\r\n", 404),
        (b"POST /ready HTTP/1.1\r\n\r\n", 405),
        (b"GET /ready\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET /ready HTTP/1.1\r\nX: " + b"x" * 100_000, 431),
    ],
)
def test_other_requests_are_refused_at_once(proxy, request_bytes, expected):
    assert status(ask(proxy, request_bytes)) == expected


def test_a_request_in_pieces_is_one_request(proxy, control):
    live = control(proxy)
    probe = ask(proxy, b"")
    for byte in REQUEST:
        probe.send(bytes([byte]))
    live.say(messages.Probed(live.hears().id, ready=True))
    assert status(probe) == 200


def test_many_that_never_finish_do_not_block_the_kubelet(proxy, control):
    live = control(proxy)
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(ask(proxy, b"GET /ready HT"))
        probe = ask(proxy)
        live.say(messages.Probed(live.hears().id, ready=True))
        assert status(probe) == 200

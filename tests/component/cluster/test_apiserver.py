"""The API server of the tests itself: what it takes for a fault of a test, and what it does not."""

from __future__ import annotations

import socket

import pytest

from .apiserver import ApiServer, Certificate, reply


def send(server: ApiServer, text: bytes) -> None:
    """Send this, and no more; come back when the server has hung up."""
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(text)
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass


def test_a_client_that_dies_in_the_middle_of_its_request_is_no_fault(own: Certificate, authority: Certificate) -> None:
    with ApiServer(own, authority, tls=False, answers=[reply()]) as server:
        send(server, b"PATCH / HTTP/1.1\r\nContent-Length: 20\r\n\r\n")
        send(server, b'PATCH / HTTP/1.1\r\nContent-Length: 20\r\n\r\n{"half')
        assert server.seen == []


def test_an_answer_that_raises_fails_the_test(own: Certificate, authority: Certificate) -> None:
    def answer(_: object) -> None:
        raise KeyError("pods")

    with pytest.raises(ExceptionGroup) as caught, ApiServer(own, authority, tls=False, answers=[answer]) as server:
        send(server, b"GET / HTTP/1.1\r\n\r\n")
    assert isinstance(caught.value.exceptions[0], KeyError)

"""Clients of the proxy pod for the keeper's tests: plain paramiko, plain sockets."""

import contextlib
import io
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from bridge.wire import messages
from tests.component.proxy import USER, RunningProxy, free_ports, running_proxy

sys.path.append(str(Path(__file__).parents[3] / "proxy-image"))  # the keeper's package, for tests of its pure parts


@pytest.fixture(scope="module")
def listen() -> list[int]:
    """Two ports that the laptop may listen on."""
    return free_ports(2)


@pytest.fixture(scope="module")
def proxy(listen) -> Iterator[RunningProxy]:
    """A proxy for the tests of a module that do no harm to it."""
    with running_proxy(listen) as running:
        yield running


class Ssh:
    """Opens SSH connections to a proxy, and closes them."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack

    def transport(self, proxy: RunningProxy) -> paramiko.Transport:
        """A connection that has checked the host's key, and has not authenticated."""
        sock = socket.create_connection(("127.0.0.1", proxy.ssh_port), 5)
        transport = self._stack.enter_context(contextlib.closing(paramiko.Transport(sock)))
        transport.start_client(timeout=5)
        assert transport.get_remote_server_key() == public_key(proxy.keys.host_private)
        return transport

    def __call__(self, proxy: RunningProxy) -> paramiko.Transport:
        """A connection that is logged in."""
        transport = self.transport(proxy)
        transport.auth_publickey(USER, public_key(proxy.keys.client_private))
        return transport


def public_key(private: str) -> paramiko.PKey:
    """The key of an OpenSSH private key's text."""
    return paramiko.Ed25519Key.from_private_key(io.StringIO(private))


@pytest.fixture
def ssh() -> Iterator[Ssh]:
    """`Ssh` for one test."""
    with contextlib.ExitStack() as stack:
        yield Ssh(stack)


class Control:
    """A control connection, spoken message by message."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._decoder = messages.Decoder(messages.MAX_REPORT_LINE)
        self._waiting: list[messages.Message] = []

    def say(self, *what: messages.Message) -> None:
        """Send."""
        self._sock.sendall(b"".join(map(messages.render, what)))

    def close(self) -> None:
        """Leave."""
        self._sock.close()

    def hears(self) -> messages.Message | None:
        """The next message; None at the end. News of ports is no answer: other programs of this machine make it."""
        while isinstance(message := self.hears_all(), messages.Listening):
            pass
        return message

    def hears_all(self) -> messages.Message | None:
        """The next message, also news of ports; None at the end."""
        while not self._waiting:
            data = self._sock.recv(65536)
            if not data:
                return None
            self._waiting += self._decoder.feed(data)
        return self._waiting.pop(0)


class Controls:
    """Opens control connections, and closes them."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack

    def stranger(self, proxy: RunningProxy) -> Control:
        """A connection that has said nothing."""
        sock = socket.create_connection(("127.0.0.1", proxy.keeper_port), 15)
        return Control(self._stack.enter_context(sock))

    def __call__(self, proxy: RunningProxy, *, version: int = messages.VERSION) -> Control:
        """A live connection that has had its report. ``version``: the laptop's."""
        control = self.stranger(proxy)
        control.say(messages.Hello(proxy.token, version=version))
        assert isinstance(control.hears(), messages.Report)
        return control


@pytest.fixture
def control() -> Iterator[Controls]:
    """`Controls` for one test."""
    with contextlib.ExitStack() as stack:
        yield Controls(stack)

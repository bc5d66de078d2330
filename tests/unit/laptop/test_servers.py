"""Who answers: in the sandbox, else on the laptop's own loopback, but never what bridge itself has published there."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing

import pytest

from bridge.laptop.servers import InsideOrOutside


class Box:
    """A sandbox in which ``inside`` listens; who dials there gets a socketpair's end."""

    def __init__(self, *inside: int) -> None:
        self.inside = set(inside)
        self.dialled: list[int] = []

    def listening(self) -> set[int]:
        return self.inside

    def is_accepting(self, port: int) -> bool:
        return port in self.inside

    async def dial_inside(self, factory, host, port):
        self.dialled.append(port)
        raise ConnectionRefusedError


def listening(host: str = "127.0.0.1") -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, 0), family=family)


def dialled(servers: InsideOrOutside, port: int) -> None:
    async def dial() -> None:
        transport, _ = await servers.dial(asyncio.Protocol, port)
        transport.abort()

    asyncio.run(dial())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0"])
def test_a_program_outside_answers(host):
    with listening(host) as server, closing(InsideOrOutside(Box(), set)) as servers:
        servers.open()
        port = server.getsockname()[1]
        assert port in servers.ports()
        dialled(servers, port)
        server.settimeout(5)
        server.accept()[0].close()


def test_one_in_the_sandbox_is_asked_first():
    with listening() as server:
        port = server.getsockname()[1]
        box = Box(port)
        with closing(InsideOrOutside(box, set)) as servers:
            servers.open()
            with pytest.raises(ConnectionRefusedError):
                dialled(servers, port)
        assert box.dialled == [port]


def test_what_bridge_has_published_there_is_nobody():
    with listening() as server:
        port = server.getsockname()[1]
        with closing(InsideOrOutside(Box(), lambda: {port})) as servers:
            servers.open()
            assert port not in servers.ports()
            with pytest.raises(ConnectionRefusedError):
                dialled(servers, port)


def test_who_does_not_look_any_more_sees_nobody_outside():
    with listening() as server:
        servers = InsideOrOutside(Box(7), set)
        servers.open()
        servers.close()
        assert server.getsockname()[1] not in servers.ports()
        assert 7 in servers.ports()

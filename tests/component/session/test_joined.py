"""Where what the cluster sends goes when the process has ended: everything but the pod's sshd is a stand-in here."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from bridge.plan.ports import PortMap
from bridge.session.joined import Joined
from bridge.session.wanted import Wanted
from bridge.tunnel.inbound import ATTEMPT
from tests.component.proxy import free_ports
from tests.component.tunnel.talk import connected, serving

HELD = 40
SOON = 30
"""Seconds after which something is taken not to come."""


class Box:
    """A sandbox; in it ``server`` (its port on this machine, 0: none) is the process."""

    server = 0

    def listening(self) -> frozenset[int]:
        return frozenset({8080} if self.server else ())

    async def dial_inside(self, factory: Any, host: str, _port: int) -> Any:
        if not self.server:
            raise ConnectionRefusedError
        return await asyncio.get_running_loop().create_connection(factory, host, self.server)


class FarLine:
    """The line to the cluster: nothing of what is asked for at the same time is there before all is asked for."""

    def __init__(self, original: int) -> None:
        self._original = original
        self._asked = 0
        self._all = asyncio.Event()

    async def create_connection(self, factory: Any, _host: str, _port: int) -> Any:
        self._asked += 1
        if self._asked == HELD:
            self._all.set()
        await self._all.wait()
        return await asyncio.get_running_loop().create_connection(factory, "127.0.0.1", self._original)


def saying(who: bytes) -> Any:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(who + await reader.readexactly(1))
        writer.close()

    return say


@contextlib.asynccontextmanager
async def held(sshd: Any, box: Any, line: Any) -> Any:
    """Connections to a port of the pod, held by a session whose process has ended; what each is answered."""
    port = PortMap(pod=free_ports(1)[0], laptop=8080, name="", origin="")
    nobody: Any = None
    joined = Joined(box, line, Wanted([port]), nobody, hold=60, outside=False, narrator=nobody)

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port.pod)
        writer.write(b"!")
        try:
            return await reader.read()
        finally:
            writer.close()

    async with connected(sshd) as (connection, _):
        (inbound,) = joined.inbound(connection, [port])
        async with inbound, asyncio.timeout(SOON):
            asking = [asyncio.ensure_future(ask()) for _ in range(HELD)]
            while inbound.held < HELD:  # noqa: ASYNC110  # sshd hands them over one by one
                await asyncio.sleep(0.01)
            joined.hold_for_original()
            await asyncio.sleep(2 * ATTEMPT)  # longer than one dial may take
            assert inbound.held == HELD
            yield joined, asyncio.gather(*asking)


def test_what_is_held_goes_to_the_original_all_at_once(run: Any, sshd: Any) -> None:
    """A round trip of the tunnel for each, one after another: on a long link the last would come too late."""

    async def main() -> None:
        async with serving(saying(b"original")) as original, held(sshd, Box(), FarLine(original)) as (joined, answers):
            joined.hand_over(["10.0.0.9"])
            assert await answers == [b"original!"] * HELD

    run(main())


def test_what_is_held_goes_to_a_process_that_comes_before_the_original(run: Any, sshd: Any) -> None:
    async def main() -> None:
        box = Box()
        async with serving(saying(b"process")) as server, held(sshd, box, FarLine(0)) as (joined, answers):
            box.server = server
            joined.process_again()
            assert await answers == [b"process!"] * HELD

    run(main())

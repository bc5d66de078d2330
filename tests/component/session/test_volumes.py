"""Volumes of the pod that the laptop does not mount after all: a real sshd's files, copied instead."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from bridge.errors import SandboxError, UsageError
from bridge.plan.mounts import Mount
from bridge.session.request import MountMode
from bridge.session.volumes import Volumes
from bridge.tunnel.line import Line
from bridge.tunnel.loop import EventLoop
from tests.component.tunnel.talk import connected
from tests.unit.session.telling import Told

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bridge.laptop.sandbox import Bind
    from bridge.tunnel.ssh import Connection

REFUSED = SandboxError("The pod's volumes can't be mounted live: Invalid argument.", hint="Have them copied.")


@dataclass
class Box:
    """A sandbox in which everything is bound and nothing is mounted, though it looks as if it could be."""

    folder: Path
    refuse_binds: bool = False
    bound: dict[str, str] = field(default_factory=dict)

    def store(self) -> int:
        self.descriptor = os.open(self.folder, os.O_PATH)
        return self.descriptor

    def bind(self, binds: Sequence[Bind]) -> list[str]:
        if self.refuse_binds:
            raise SandboxError("There is no place for it.")
        self.bound |= {each.path: each.source for each in binds}
        return []

    def live_unsupported(self) -> str | None:
        return None

    def mount_live(self, _path: str, *, read_only: bool) -> socket.socket:
        raise REFUSED

    def content(self, path: str, name: str) -> str:
        return (self.folder / self.bound[path] / name).read_text()


@dataclass
class World:
    """A pod's folder, and the volumes that come of it."""

    loop: EventLoop
    connection: Connection
    box: Any
    told: Told
    pod: Path

    def shown(self, *, limit: int = 1000) -> tuple[str, ...]:
        mounts = [Mount(path=str(self.pod), volume="data", kind="persistentVolumeClaim", read_only=False)]

        async def no(_: str) -> bool:
            return False

        volumes = Volumes(
            self.box, self.loop, self.loop.run(made()), self.told, mode=MountMode.LIVE, limit=limit, ask=no
        )
        try:
            volumes.fetch(mounts, self.connection)
            volumes.show(self.connection)
        finally:
            self.loop.run(volumes.close())
        return volumes.paths


async def made() -> Line:
    return Line()


@pytest.fixture
def world(sshd: Any, tmp_path: Path) -> Iterator[World]:
    pod, store = tmp_path / "pod", tmp_path / "store"
    for folder in (pod, store):
        folder.mkdir()
    (pod / "file").write_text("of the pod")
    box = Box(store)
    with EventLoop() as loop, tunnel(loop, sshd) as connection:
        yield World(loop, connection, box, Told(), pod)
    os.close(box.descriptor)


@contextmanager
def tunnel(loop: EventLoop, sshd: Any) -> Iterator[Connection]:
    """A connection on the loop, while this lasts."""
    over = loop.run(event())
    found: asyncio.Queue[Connection] = loop.run(queue())

    async def hold() -> None:
        async with connected(sshd) as (connection, _):
            found.put_nowait(connection)
            await over.wait()

    holding = loop.submit(hold())
    try:
        yield loop.run(found.get(), 10)
    finally:
        loop.call(over.set)
        holding.result(10)


async def event() -> asyncio.Event:
    return asyncio.Event()


async def queue() -> asyncio.Queue[Connection]:
    return asyncio.Queue()


def test_what_the_laptop_does_not_mount_is_copied_and_that_is_said(world: World) -> None:
    assert world.shown() == (str(world.pod),)
    assert world.box.content(str(world.pod), "file") == "of the pod"
    (warning,) = world.told.said("warn")
    assert warning == f"the volume data at {world.pod} is copied once, not mounted: {REFUSED.message}"


def test_it_is_asked_about_when_it_is_large(world: World) -> None:
    with pytest.raises(UsageError, match="holds 10 B, more than is copied without being asked"):
        world.shown(limit=5)


def test_where_there_is_no_place_for_a_copy_either_it_is_not_shown(world: World) -> None:
    world.box.refuse_binds = True
    assert world.shown() == ()
    (warning,) = world.told.said("warn")
    assert warning.startswith(f"the volume data at {world.pod} is not shown: The pod's volumes can't be mounted live")

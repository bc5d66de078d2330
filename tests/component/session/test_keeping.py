"""A session that is kept, from its own side: the sandbox and the bridge at the terminal are stand-ins here."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from bridge.laptop import messages
from bridge.session.act import Around
from bridge.session.facing import Facing
from bridge.session.keeping import Kept
from bridge.tunnel.loop import EventLoop
from bridge.wire.messages import Report
from tests.component.session.world import World
from tests.unit.session.telling import Told

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.cluster import Cluster
    from tests.component.cluster.apiserver import ApiServer

REPORT = Report(environ=b"", resolv_conf="", hosts="", hostname="web", pod_ips=(), mounts=(), listening=())


class Box:
    """A sandbox whose processes end when they are told to."""

    def way_in(self) -> list[int]:
        return []

    def end(self, **_: object) -> None:
        pass


def at_terminal(line: socket.socket) -> None:
    """Be the bridge at the terminal of a command that ends well, and hear all that is said."""
    while "enter" not in messages.receive(line)[0]:
        pass
    messages.send(line, {"exited": 0})


def run(world: World) -> int:
    """Have one run in a session that has the target already; return its exit code."""
    swap = world.swap()
    world.whole(swap)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, world.signals, EventLoop() as loop, ThreadPoolExecutor(1) as pool:
        facing = Facing(ours, key="k", at_terminal=False, log=Told())
        box: Any = Box()
        around = Around(request=world.request, narrator=world.told, signals=world.signals, box=box, loop=loop)
        kept = Kept(around, world.means(), lambda: swap, facing)
        pool.submit(at_terminal, theirs)
        try:
            loop.call(facing.listen)
            world.kube.fail("PATCH deployments/web")
            return kept.run(REPORT, None)
        finally:
            loop.run(_called(facing.leave))


async def _called(function: Any) -> None:
    function()


def test_a_command_s_exit_code_counts_when_the_cluster_fails_for_a_moment_at_its_end(
    api: ApiServer, client: Cluster, tmp_path: Path
) -> None:
    world = World(api, client, tmp_path, linger=60)
    assert run(world) == 0
    world.is_as_before()
    assert "a fault of the test" in world.told.said("warn")[0]

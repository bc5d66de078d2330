"""Fixtures of the tunnel's tests: one sshd for all, and a loop that fails the test for what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from tests.component.tunnel.peers import Sshd, running_sshd

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


def open_sockets() -> set[str]:
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(descriptor.readlink()))
        except FileNotFoundError:  # the directory's own
            continue
    return {link for link in links if link.startswith("socket:")}


@pytest.fixture
def run() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Run a coroutine as the bridge's loop would; nothing may be left behind by it, and no callback may have failed."""
    failed: list[dict[str, Any]] = []

    async def checked(main: Coroutine[Any, Any, Any]) -> Any:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failed.append(context))
        before = open_sockets()
        result = await main
        deadline = loop.time() + 5
        while (left := open_sockets() - before) and loop.time() < deadline:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.005)  # a closed transport closes its socket in a later turn
        assert not left, f"sockets left open: {left}"
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        assert not tasks, tasks
        return result

    def run_on_loop(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(checked(main))

    yield run_on_loop
    gc.collect()
    assert not failed, failed

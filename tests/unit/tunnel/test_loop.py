import asyncio
import threading

import pytest

from bridge.tunnel.loop import EventLoop


async def answer() -> int:
    await asyncio.sleep(0)
    return 42


async def fail() -> None:
    raise ZeroDivisionError


async def own_timeout() -> None:
    raise TimeoutError("the coroutine's own")


def test_results_and_errors_come_back_to_the_caller():
    with EventLoop() as loop:
        assert loop.run(answer()) == 42
        with pytest.raises(ZeroDivisionError):
            loop.run(fail())
        with pytest.raises(TimeoutError, match="own"):
            loop.run(own_timeout(), timeout=5)


def test_what_takes_too_long_is_cancelled():
    cancelled = threading.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with EventLoop() as loop:
        with pytest.raises(TimeoutError, match=r"0\.05 s"):
            loop.run(wait(), timeout=0.05)
        assert cancelled.wait(5)


def test_calls_run_on_the_loops_thread():
    names: list[str] = []
    called = threading.Event()

    def call(word: str) -> None:
        names.extend((word, threading.current_thread().name))
        called.set()

    with EventLoop() as loop:
        loop.call(call, "hello")
        assert called.wait(5)
    assert names == ["hello", "bridge-loop"]


def test_closing_cancels_what_runs_and_ends_the_thread():
    before = threading.active_count()
    ended = threading.Event()

    async def start() -> None:
        async def forever() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        start.task = asyncio.ensure_future(forever())  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    loop = EventLoop()
    loop.start()
    loop.run(start())
    loop.close()
    assert ended.is_set()
    assert threading.active_count() == before
    loop.close()


def test_a_loop_that_was_never_started_can_be_closed():
    EventLoop().close()

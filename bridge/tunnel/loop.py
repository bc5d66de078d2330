"""The one event loop: everything that moves bytes runs on it, in one daemon thread.

Control code is plain and sequential and lives in the main thread; it reaches the loop through the few calls here and
never touches a transport itself. uvloop, because each request passes the loop several times.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

log = logging.getLogger(__name__)

T = TypeVar("T")


class EventLoop:
    """An asyncio loop in a thread of its own. ``with EventLoop() as loop: loop.run(coroutine())``."""

    def __init__(self) -> None:
        self.loop = _new_loop()
        # The project's only thread that is not the main one; hence the exemption from the ban.
        self._thread = threading.Thread(target=self._serve, name="bridge-loop", daemon=True)  # noqa: TID251

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the thread; returns at once."""
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run ``coroutine`` on the loop, wait for it here, and return or raise what it does.

        After ``timeout`` seconds (TimeoutError), or when the wait is interrupted (Ctrl-C), it is cancelled.
        """
        future = self.submit(coroutine)
        try:
            return future.result(timeout)
        except concurrent.futures.TimeoutError:
            if future.done():
                raise  # the coroutine's own
            raise TimeoutError(f"gave up after {timeout:g} s") from None
        finally:
            future.cancel()  # no effect on one that is done

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start ``coroutine`` on the loop and go on; the future's ``cancel`` cancels it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Have the loop call ``function(*args)`` soon. Callable from any thread."""
        self.loop.call_soon_threadsafe(function, *args)

    def close(self) -> None:
        """Cancel what still runs, stop the loop and wait for its thread. May be called twice."""
        if self.loop.is_closed():
            return
        if self._thread.is_alive():
            self.run(_cancel_tasks())
            self.run(self.loop.shutdown_default_executor())
            self.call(self.loop.stop)
            self._thread.join()
        self.loop.close()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # absent where it can't be built
    except ImportError:
        log.debug("uvloop is not installed: the relay will be slower")
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


async def _cancel_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)  # let transports closed by those tasks deliver connection_lost

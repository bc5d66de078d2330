"""One request to the API server and its answer: connections, credentials, time limits, repetition.

JSON goes in and out as it is: the models of ``kubernetes.client`` drop every field that they do not know. What it has
below them is used: urllib3's pool, which is safe for several threads.

    time limits   connecting: a third of the timeout, so that a black hole among several addresses leaves time for the
                  next; the whole answer: the timeout, also where the server dribbles
    repetition    a request that never got out, or a 429: always. A lost answer, or 5xx: idempotent ones only. After a
                  401: once, if there are new credentials. Four times at most, and within the timeout; a *patient*
                  request goes on until its time is over (a restore outlives a restart of the API server)
    time          the API server's, from the Date of its latest answer: the laptop's clock may be wrong, or sleep
"""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

import urllib3
from urllib3.connection import HTTPConnection

from bridge import __version__
from bridge.cluster.calls import JSON
from bridge.cluster.connections import FAILURES, never_sent, stays, unreachable
from bridge.cluster.errors import Answer, refusal
from bridge.cluster.refused import unauthenticated
from bridge.cluster.tls import client_context
from bridge.errors import ClusterError, UsageError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from bridge.cluster.calls import Call
    from bridge.cluster.credentials import Credentials, Held
    from bridge.cluster.kubeconfig import Access
    from bridge.cluster.tls import ClientCertificate

T = TypeVar("T")

log = logging.getLogger(__name__)

CHUNK = 64 * 1024
CONNECTIONS = 10
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0


@dataclass(frozen=True)
class Patience:
    """How long to repeat a request: so often at most, within so many seconds."""

    attempts: int
    seconds: float


def nothing() -> None:
    """Do nothing."""


class Transport:
    """The way to one API server. ``between`` is called before each request, also one that is repeated."""

    def __init__(
        self, access: Access, credentials: Credentials, timeout: float, between: Callable[[], object] = nothing
    ) -> None:
        self.access = access
        self.credentials = credentials
        self.timeout = timeout
        self.between = between
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._made_for: tuple[ClientCertificate | None] | None = None
        self._pool: urllib3.PoolManager | None = None
        self._context: ssl.SSLContext | None = None
        self._clock: tuple[datetime, float] | None = None
        self._streaming: set[urllib3.BaseHTTPResponse] = set()

    def close(self) -> None:
        """Close the connections; a request that is waiting to be repeated fails, what is streamed ends."""
        self._closed.set()
        with self._lock:
            pool, self._pool, self._made_for = self._pool, None, None
            streaming = list(self._streaming)
        for response in streaming:
            with suppress(OSError, RuntimeError, ValueError):  # it is just ending by itself
                response.shutdown()
        if pool is not None:
            pool.clear()

    def pause(self, seconds: float) -> bool:
        """Wait; return at once, and True, when this is closed."""
        return self._closed.wait(seconds)

    @property
    def now(self) -> datetime | None:
        """Return the API server's time, None before its first answer."""
        if self._clock is None:
            return None
        date, when = self._clock
        return date + timedelta(seconds=time.monotonic() - when)

    def context(self) -> ssl.SSLContext | None:
        """Return the TLS context for the credentials of now; None for http://."""
        self._pool_for(self.credentials.current())
        return self._context

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers with the credentials of now."""
        return self.credentials.headers(self.credentials.current())

    # -- requests --------------------------------------------------------------------------------------------------

    def send(self, call: Call, patience: Patience | None = None) -> Answer:
        """Send, and return the answer. Raise ClusterError: ApiError for an answer of 400 and more."""
        return self._repeating(call, patience, lambda timeout: self._send_once(call, timeout))

    def stream(self, call: Call, silence: float) -> Iterator[bytes]:
        """Send, and yield the answer's bytes as they come, ``silence`` seconds apart at most, once it has begun.

        It just ends where the connection is cut, and when this is closed, by whichever thread: who streams can go on
        where it was. Raise ClusterError when there is no answer at all, or one of 400 and more.
        """
        response = self._repeating(call, None, lambda timeout: self._opened(call, timeout, read_timeout=timeout))
        try:
            with self._lock:
                self._streaming.add(response)
            if isinstance(response.connection, HTTPConnection) and response.connection.sock is not None:
                response.connection.sock.settimeout(silence)
            while not self._closed.is_set() and (data := response.read1(CHUNK)):
                yield data
        except FAILURES as error:
            log.debug("%s was cut: %s", call.target, error)
        finally:
            with self._lock:
                self._streaming.discard(response)
            response.close()

    def _repeating(self, call: Call, patience: Patience | None, once: Callable[[float], T]) -> T:
        patience = patience or Patience(4, self.timeout)
        deadline = time.monotonic() + patience.seconds
        for attempt in itertools.count(1):
            self.between()
            try:
                return once(min(self.timeout, max(deadline - time.monotonic(), 0.1)))
            except _Failed as failed:
                pause = _pause(failed, attempt, patience.attempts)
                if pause is None or time.monotonic() + pause >= deadline or self.pause(pause):
                    raise failed.error from failed.__cause__
                log.debug("%s %s again: %s", call.method, call.target, failed.error)
        raise AssertionError("counting does not end")

    def _send_once(self, call: Call, timeout: float) -> Answer:
        deadline = time.monotonic() + timeout
        response = self._opened(call, timeout, read_timeout=timeout)
        try:
            return _whole(response, deadline)
        except FAILURES as error:
            raise self._no_answer(call, error) from error

    def _opened(self, call: Call, timeout: float, *, read_timeout: float) -> urllib3.BaseHTTPResponse:
        """Send, and return the response's beginning; raise ``_Failed`` for none, or one of 400 and more."""
        held = self.credentials.current()
        response = self._request(call, held, timeout, read_timeout)
        if response.status == 401:
            response.close()
            if self.credentials.renewed(held):
                held = self.credentials.current()
                response = self._request(call, held, timeout, read_timeout)
        self._note_time(response.headers.get("Date"))
        if response.status >= 300:
            raise self._refused(call, held, response, time.monotonic() + timeout)
        return response

    def _request(self, call: Call, held: Held, timeout: float, read_timeout: float) -> urllib3.BaseHTTPResponse:
        headers = urllib3.HTTPHeaderDict(self.credentials.headers(held))
        headers |= {"Accept": JSON, "Accept-Encoding": "gzip", "User-Agent": f"bridge/{__version__}"}
        body = None
        if call.body is not None:
            headers["Content-Type"] = call.content_type
            body = json.dumps(call.body).encode()
        connecting = min(timeout, max(self.timeout / 3, 2.0))
        try:
            return self._pool_for(held).request(
                call.method,
                self.access.server + call.target,
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(connect=connecting, read=read_timeout),
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except FAILURES as error:
            raise self._no_answer(call, error) from error

    def _no_answer(self, call: Call, error: BaseException) -> _Failed:
        again = (call.idempotent or never_sent(error)) and not stays(error)
        return _Failed(unreachable(error, self.access, self.timeout), 0.0 if again else None)

    def _refused(self, call: Call, held: Held, response: urllib3.BaseHTTPResponse, deadline: float) -> _Failed:
        try:
            answer = _whole(response, deadline)
        except FAILURES:  # what it said of the reason got lost; the status did not
            answer = Answer(response.status, response.headers, b"")
        return _Failed(self._error(call, held, answer), _again_after(call, answer))

    def _error(self, call: Call, held: Held, answer: Answer) -> ClusterError:
        if answer.status < 400:
            return ClusterError(
                f"{self.access.server} answers with a redirect to {answer.headers.get('Location', '')!r}",
                hint="It is no API server: a log-in page of the network? Is the server's address right?",
            )
        if answer.status == 401:
            who = f"user {self.access.user_name!r}" if self.access.user_name else "the user"
            now = self.now or datetime.now(UTC)
            return unauthenticated(call, held, who=f"{who} (context {self.access.context})", now=now)
        return refusal(call, answer)

    # -- the pool --------------------------------------------------------------------------------------------------

    def _pool_for(self, held: Held) -> urllib3.PoolManager:
        """Return the pool; a plugin may have given another certificate, then connections are made anew."""
        with self._lock:
            if self._pool is None or self._made_for != (held.certificate,):
                if self._pool is not None:
                    self._pool.clear()
                self._pool, self._made_for = self._make_pool(held), (held.certificate,)
            return self._pool

    def _make_pool(self, held: Held) -> urllib3.PoolManager:
        tls = self.access.tls
        options: dict[str, Any] = {"maxsize": CONNECTIONS}
        if self.access.server.startswith("https://"):
            self._context = client_context(tls, held.certificate)
            options |= {"ssl_context": self._context}
            if not tls.verify:
                options |= {"assert_hostname": False}
                urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # the user said so
            if tls.server_name:
                options |= {"server_hostname": tls.server_name}
        return _manager(self.access.proxy, options)

    def _note_time(self, date: str | None) -> None:
        if date:
            try:
                self._clock = (parsedate_to_datetime(date), time.monotonic())
            except ValueError:  # a proxy's idea of a date
                log.debug("no date: %s", date)


class _Failed(Exception):
    """A request failed: with which error, and after how many seconds it may be tried again (None: never)."""

    def __init__(self, error: ClusterError, again_after: float | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.again_after = again_after


def _pause(failed: _Failed, attempt: int, attempts: int) -> float | None:
    """Return the seconds to the next attempt: what the server asks for, at least more each time; None for no more."""
    if failed.again_after is None or attempt >= attempts:
        return None
    return max(failed.again_after, min(FIRST_PAUSE * 2.0 ** min(attempt - 1, 8), LONGEST_PAUSE))


def _again_after(call: Call, answer: Answer) -> float | None:
    if answer.status == 429 or (call.idempotent and answer.status in (500, 502, 503, 504)):
        return answer.retry_after or 0.0
    return None


def _whole(response: urllib3.BaseHTTPResponse, deadline: float) -> Answer:
    """Read to the end, in the time that there is: a socket's own timeout begins anew with each byte."""
    body = bytearray()
    try:
        while data := response.read1(CHUNK):
            body += data
            _check(deadline)
    except BaseException:
        response.close()
        raise
    response.release_conn()
    return Answer(response.status, response.headers, bytes(body))


def _check(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError("the answer did not end")


def _manager(proxy: str | None, options: dict[str, Any]) -> urllib3.PoolManager:
    if proxy is None:
        return urllib3.PoolManager(**options)
    if not proxy.startswith("socks"):
        return urllib3.ProxyManager(proxy, **options)
    try:
        from urllib3.contrib.socks import SOCKSProxyManager
    except ImportError as error:
        raise UsageError(f"the proxy {proxy} needs the package PySocks", hint="pip install pysocks") from error
    return SOCKSProxyManager(proxy, **options)

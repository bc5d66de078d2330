"""What the original's image sets in the environment, read from the running original before it goes.

A pod's JSON does not have an image's ENV lines; a process in the container does. So ``/proc/self/environ`` is read in
it, by ``cat``, or by the interpreter that an image without it was made for. That goes over a WebSocket in the
subprotocol ``v5.channel.k8s.io`` or v4: each message begins with the number of its channel (1 stdout, 2 stderr, 3 how
it ended, as a ``Status``).

It is a nicety: an image without any of them, a missing right or a slow node must not stop a session. So there is a
reason instead of an error, and never more than the time given.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from bridge.cluster.portforward import pod_endpoint
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.cluster.client import Cluster
    from bridge.plan.endpoint import Endpoint

PROTOCOLS = ["v5.channel.k8s.io", "v4.channel.k8s.io"]
STDOUT, STDERR, ENDED = 1, 2, 3
FILE = "/proc/self/environ"
READERS = (
    ("cat", FILE),
    ("python3", "-c", f"import sys; sys.stdout.buffer.write(open({FILE!r}, 'rb').read())"),
    ("node", "-e", f"process.stdout.write(require('fs').readFileSync({FILE!r}))"),
    ("busybox", "cat", FILE),
)
"""Asked in this order; only what is not there leads to the next."""
NOT_THERE = "it has no program that reads a file"


@dataclass(frozen=True)
class Outcome:
    """What a command wrote, and why it failed (empty: it did not)."""

    stdout: bytes
    failure: str


def image_environment(
    cluster: Cluster, pod: str, container: str, timeout: float = 3.0, *, note: Callable[[str], None] | None = None
) -> bytes | None:
    """Return the environment of a process in a container: ``NAME=value`` with a NUL after each.

    None where it can't be had; ``note`` is then told why.
    """
    deadline = time.monotonic() + timeout
    for reader in READERS:
        outcome = execute(cluster, pod, container, reader, timeout=max(deadline - time.monotonic(), 0.1))
        if outcome.failure != NOT_THERE:
            break
    if not outcome.failure:
        return outcome.stdout
    if note:
        note(f"the variables that the image of {container} sets are not known: {outcome.failure}")
    return None


def execute(cluster: Cluster, pod: str, container: str, command: Sequence[str], *, timeout: float) -> Outcome:
    """Run a command in a container, without stdin; never raise what the cluster or the network may do."""
    from websocket import WebSocketException  # start-up time

    deadline = time.monotonic() + timeout
    query = [("container", container), ("stdout", "true"), ("stderr", "true")]
    try:
        endpoint = pod_endpoint(cluster, pod, "exec", [*query, *(("command", word) for word in command)])
        stream = _opened(endpoint, timeout)
        try:
            return _read(stream, deadline)
        finally:
            stream.close(timeout=0)
    except (WebSocketException, OSError, BridgeError) as error:
        return Outcome(b"", _why(error))


def _opened(endpoint: Endpoint, timeout: float) -> Any:
    import websocket

    tls: dict[str, Any] = {"context": endpoint.ssl} if endpoint.ssl else {}
    if endpoint.server_hostname:
        tls["server_hostname"] = endpoint.server_hostname
    return websocket.create_connection(
        endpoint.url,
        timeout=timeout,
        header=[f"{name}: {value}" for name, value in endpoint.headers.items()],
        subprotocols=PROTOCOLS,
        sslopt=tls,
        enable_multithread=False,
        suppress_origin=True,
        **_proxy(endpoint.proxy),
    )


def _proxy(proxy: str | None) -> dict[str, Any]:
    """Spell the proxy as that library wants it, and keep it from looking in the environment by rules of its own."""
    if proxy is None:
        return {"http_no_proxy": ["*"]}
    url = urlsplit(proxy)
    options: dict[str, Any] = {
        "http_proxy_host": url.hostname,
        "http_proxy_port": url.port or (443 if url.scheme == "https" else 80),
        "proxy_type": "http" if url.scheme == "https" else url.scheme,
        "http_no_proxy": ["-"],
    }
    if url.username:
        options["http_proxy_auth"] = (unquote(url.username), unquote(url.password or ""))
    return options


def _read(stream: Any, deadline: float) -> Outcome:
    output = {STDOUT: bytearray(), STDERR: bytearray()}
    while True:
        stream.settimeout(max(deadline - time.monotonic(), 0.001))
        message = stream.recv()
        frame = message.encode() if isinstance(message, str) else message
        if not frame:
            return Outcome(b"", "the connection was cut")
        if frame[0] == ENDED:
            return Outcome(bytes(output[STDOUT]), _failure(frame[1:], bytes(output[STDERR])))
        if frame[0] in output:
            output[frame[0]] += frame[1:]


def _failure(status: bytes, stderr: bytes) -> str:
    """Return why a command failed, empty if it did not."""
    try:
        ended = json.loads(status)
    except ValueError:
        return "its end was not understood"
    if ended.get("status") == "Success":
        return ""
    message = str(ended.get("message") or "it failed")
    if "executable file not found" in message or "no such file or directory" in message:
        return NOT_THERE
    return stderr.decode(errors="replace").strip() or message


def _why(error: Exception) -> str:
    from websocket import WebSocketBadStatusException, WebSocketTimeoutException

    if isinstance(error, WebSocketTimeoutException | TimeoutError):
        return "the cluster did not answer in time"
    if isinstance(error, WebSocketBadStatusException):
        return _refused(error)
    return str(error) or type(error).__name__


def _refused(error: Any) -> str:
    if error.status_code == 403:
        return "the right to create pods/exec is missing"
    try:
        return str(json.loads(error.resp_body or b"")["message"])
    except (ValueError, KeyError, TypeError):
        return f"the API server answers {error.status_code}"

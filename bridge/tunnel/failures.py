"""What went wrong in the tunnel, in words and kinds that others act on. Pure.

A program in the sandbox expects of a connection through the pod what connect() says when it fails in the pod; SSH has a
code and a text for that, and sshd's texts are the C library's.
"""

from __future__ import annotations

import errno
import os
import socket

from bridge.errors import TunnelError
from bridge.tunnel import ssh_messages as messages

OTHER_SESSION = "The proxy pod belongs to another session; end this one and start again."

_KINDS = {
    "Connection refused": errno.ECONNREFUSED,
    "No route to host": errno.EHOSTUNREACH,
    "Network is unreachable": errno.ENETUNREACH,
    "Connection timed out": errno.ETIMEDOUT,
    "Connection reset by peer": errno.ECONNRESET,
    "Permission denied": errno.EACCES,
    "Operation not permitted": errno.EPERM,
    "Cannot assign requested address": errno.EADDRNOTAVAIL,
    "Invalid argument": errno.EINVAL,
}
_LOOKUPS = {
    "Name or service not known": socket.EAI_NONAME,
    "Temporary failure in name resolution": socket.EAI_AGAIN,
    "No address associated with hostname": socket.EAI_NODATA,
    "Non-recoverable failure in name resolution": socket.EAI_FAIL,
}


class Refused(Exception):
    """The answer to a global request is no. SSH gives no reason."""


def open_failed(code: int, text: str, destination: tuple[str, int]) -> OSError:
    """Say in connect()'s terms why the pod could not connect to ``destination`` (RFC 4254, 5.1)."""
    where = f"{destination[0]}:{destination[1]}"
    if code == messages.PROHIBITED:
        return OSError(errno.EACCES, f"the pod's sshd does not allow a connection to {where}: {text}")
    if code == messages.RESOURCE_SHORTAGE:
        return OSError(errno.ENOBUFS, f"the pod has no room for a connection to {where}: {text}")
    for words, kind in _LOOKUPS.items():
        if words in text:
            return socket.gaierror(kind, f"{words}: {destination[0]}")
    for words, kind in _KINDS.items():
        if words in text:
            return OSError(kind, f"{os.strerror(kind)}: {where}, from the pod")
    return OSError(errno.EHOSTUNREACH, f"no connection from the pod to {where}: {text}")


def cannot_listen(port: int, note: str) -> TunnelError:
    """Say why the pod does not listen on ``port``; ``note`` is what sshd said last, if anything."""
    said = f" (sshd: {note})" if note else ""
    return TunnelError(
        f"the pod can't listen on port {port}{said}",
        hint=f"Another container of the pod has port {port}, or it is not among the ports of this session.",
    )


def broken(error: Exception) -> TunnelError:
    """Say what is wrong with the bytes that came."""
    if isinstance(error, TunnelError):
        return error
    kind = f"{type(error).__name__}: " if isinstance(error, LookupError | TypeError) or not str(error) else ""
    return TunnelError(f"the SSH connection to the pod broke: {kind}{error}")

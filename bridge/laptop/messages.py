"""What bridge and init say to each other: one JSON object a message, with descriptors beside it.

The sockets are AF_UNIX, SOCK_SEQPACKET, so a message is received whole or not at all. A message that would not
fit the socket's buffer (an environment may have megabytes) goes as a memfd, the last of its descriptors.
Both ends are the same version of this file on the same machine, so there is no version in it.
Bytes which are not UTF-8 (paths, variables) travel as surrogates (PEP 383).

Imported by init too, so: stdlib only, and cheap to import.
"""

import array
import json
import os
import socket
from collections.abc import Iterable
from typing import Any

Message = dict[str, Any]

_DIRECT = 32 * 1024  # well below the smallest default of net.core.wmem_default
_MOST_DESCRIPTORS = 253  # SCM_MAX_FD


class Closed(Exception):
    """The other end is gone."""


def send(sock: socket.socket, message: Message, descriptors: Iterable[int] = ()) -> None:
    """Send ``message``; the receiver gets copies of ``descriptors``."""
    fds = list(descriptors)
    data = json.dumps(message).encode()
    try:
        if len(data) <= _DIRECT:
            socket.send_fds(sock, [data], fds)
            return
        memfd = os.memfd_create("message")
        try:
            _write_all(memfd, data)
            socket.send_fds(sock, [b"{}"], [*fds, memfd])
        finally:
            os.close(memfd)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise Closed from error


def receive(sock: socket.socket) -> tuple[Message, list[int]]:
    """The next message and its descriptors, which the caller owns (close-on-exec). Raises Closed at the end."""
    try:
        data, fds = receive_bytes(sock)
    except ConnectionResetError as error:
        raise Closed from error
    if not data:
        raise Closed
    if data == b"{}" and fds:
        with os.fdopen(fds.pop(), "rb") as memfd:
            memfd.seek(0)
            data = memfd.read()
    message: Message = json.loads(data)
    return message, fds


def receive_bytes(sock: socket.socket) -> tuple[bytes, list[int]]:
    """What comes next, and the descriptors beside it, which the caller owns (close-on-exec). Raises OSError."""
    # Not socket.recv_fds: it forgets its flags, so the descriptors would be inherited by whatever is started next.
    data, control, _, _ = sock.recvmsg(_DIRECT, socket.CMSG_SPACE(_MOST_DESCRIPTORS * 4), socket.MSG_CMSG_CLOEXEC)
    return data, _descriptors(control)


def _descriptors(control: list[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return found.tolist()


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]

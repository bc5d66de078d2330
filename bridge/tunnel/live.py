"""The pod's SFTP server for a file system on the laptop (sshfs), which speaks SFTP on a socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bridge.tunnel.relay import End

if TYPE_CHECKING:
    import socket

    from bridge.tunnel.ssh import Connection


OPENED_WITHIN = 10.0
"""Seconds that sshd may take to start its SFTP server. A tunnel that is lost meanwhile may say nothing of it."""


async def serve_files(connection: Connection, sock: socket.socket) -> asyncio.BaseTransport:
    """Join ``sock`` (a stream, ours from now on) to an SFTP server in the pod; return what closes it.

    When the connection is lost, the socket stays open: what is asked for then waits, until it is closed. OSError.
    """
    try:
        pod = _PodsEnd()
        async with asyncio.timeout(OPENED_WITHIN):
            await connection.open_sftp(pod)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_unix_connection(lambda: End(pod), sock=sock)
    except BaseException:
        sock.close()
        raise
    return transport


class _PodsEnd(End):
    """The channel to the pod's SFTP server."""

    __slots__ = ()

    def connection_lost(self, error: Exception | None) -> None:
        other, self.other = self.other, None
        super().connection_lost(error)
        if other is not None:
            other.other = None
            if not other.gone:
                other.transport.pause_reading()

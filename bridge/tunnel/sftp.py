"""Reads files of the pod over SFTP, version 3 (draft-ietf-secsh-filexfer-02), from the pod's own sshd.

Every request is sent at once and its answer awaited by its id, so what can be asked together takes one round trip
together: a volume of ten files comes in some six round trips, whatever their number. (paramiko's client, like most,
asks one thing after the other: forty round trips for a service account's token, 3 s over an 80 ms link.)

    async with await open_sftp(connection) as sftp:
        for name, attributes in await sftp.list_folder(b"/etc/config"):
            ...
        content = await sftp.read(b"/etc/config/app.yaml", size)

Paths are bytes, as in the pod. Errors are OSErrors of the kind that the same call has on a local file.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import stat
import struct
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from bridge.tunnel.ssh_messages import Reader, string

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from bridge.tunnel.ssh import Connection

_INIT, _VERSION, _OPEN, _CLOSE, _READ, _LSTAT, _OPENDIR, _READDIR, _STAT, _READLINK = 1, 2, 3, 4, 5, 7, 11, 12, 17, 19
_STATUS, _HANDLE, _DATA, _NAME, _ATTRS = 101, 102, 103, 104, 105
_OK, _EOF, _NO_SUCH_FILE, _PERMISSION_DENIED = 0, 1, 2, 3
_ERRORS = {_NO_SUCH_FILE: errno.ENOENT, _PERMISSION_DENIED: errno.EACCES}
_READ_ONLY = 1
_HAS_SIZE, _HAS_IDS, _HAS_MODE, _HAS_TIMES, _HAS_MORE = 1, 2, 4, 8, 0x8000_0000

PIECE = 128 * 1024
"""Bytes asked for by one read; OpenSSH gives 255 KiB at most."""
AHEAD = 32
"""Reads of one file on the way at once: 4 MiB, which fill a link of 100 MB/s and 40 ms."""
LONGEST = 1024 * 1024
"""Bytes of a packet at most: OpenSSH's are 256 KiB. A longer one is none."""


@dataclass(frozen=True)
class Attributes:
    """Of a file. ``mode``: as of stat(2), kind and permissions. ``size``: bytes."""

    mode: int
    size: int

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)


async def open_sftp(connection: Connection) -> Sftp:
    """Begin an SFTP session; one round trip. OSError when the pod has none, or the connection is lost."""
    sftp = Sftp()
    await connection.open_sftp(sftp)
    sftp.begin()
    return sftp


class Sftp(asyncio.Protocol):
    """One session; made by `open_sftp`, on the loop. Any number of calls may be under way."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[tuple[int, Reader]]] = {}
        self._received = bytearray()

    def begin(self) -> None:
        """Say which version it is. The answer need not be waited for: requests are taken in their order."""
        self._send(_INIT, struct.pack("!I", 3))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session; what is under way fails."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def usable(self) -> bool:
        """Whether it can be asked for something."""
        return self._transport is not None and not self._transport.is_closing()

    # -- what can be asked -----------------------------------------------------------------------------------------

    async def attributes(self, path: bytes, *, follow: bool = False) -> Attributes:
        """Return what stat(2), or lstat(2) without ``follow``, says."""
        return _attributes(await self._ask(_STAT if follow else _LSTAT, string(path), expected=_ATTRS))

    async def read_link(self, path: bytes) -> bytes:
        """Return where a symbolic link points to."""
        reader = await self._ask(_READLINK, string(path), expected=_NAME)
        reader.number()
        return reader.string()

    async def list_folder(self, path: bytes) -> list[tuple[bytes, Attributes]]:
        """Return names and attributes, those of links themselves, of what is in a folder; ``.`` and ``..`` are not."""
        handle = await self._handle(_OPENDIR, string(path))
        found: dict[bytes, Attributes] = {}
        # One more is asked for ahead: mostly it tells that there is no more.
        ahead = deque(asyncio.ensure_future(self._entries(handle)) for _ in range(2))
        try:
            while entries := await ahead[0]:
                found |= entries
                ahead.popleft()
                ahead.append(asyncio.ensure_future(self._entries(handle)))
        finally:
            await _cancelled(ahead)
            self._let_go(handle)
        return [(name, attributes) for name, attributes in found.items() if _is_name(name)]

    async def open_file(self, path: bytes) -> bytes:
        """Open a file to read it; return its handle, for `read_opened`."""
        return await self._handle(_OPEN, string(path) + struct.pack("!II", _READ_ONLY, 0))

    async def read_opened(self, handle: bytes, size: int) -> bytes:
        """Return the content of a small file of this size, and close it. What is needed is asked for at once.

        What is shorter by now is read as far as it goes.
        """
        offsets = range(0, size, PIECE)
        try:
            pieces = await asyncio.gather(*(self._read(handle, offset) for offset in offsets))
            return b"".join(pieces)
        finally:
            self._let_go(handle)

    async def read(self, path: bytes) -> bytes:
        """Return the content of a small file."""
        return b"".join([piece async for _, piece in self.pieces(path)])

    async def pieces(self, path: bytes, size: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        """Yield a file's content as (offset, bytes), in order.

        ``size``: what it was a moment ago, if that is known: so much is read, and asked for ahead; else all.
        """
        handle = await self.open_file(path)
        ahead: dict[int, asyncio.Future[bytes]] = {}
        try:
            offset = asked = 0
            while not size or offset < size:
                while len(ahead) < AHEAD and (asked <= offset or asked < size):
                    ahead[asked] = asyncio.ensure_future(self._read(handle, asked))
                    asked += PIECE
                piece = await ahead.pop(offset)
                if not piece:
                    return
                yield offset, piece
                offset += len(piece)
                if len(piece) < PIECE:  # a short one: what was asked ahead begins elsewhere
                    _cancel(ahead)
                    asked = offset
        finally:
            _cancel(ahead)
            self._let_go(handle)

    # -- requests --------------------------------------------------------------------------------------------------

    async def _read(self, handle: bytes, offset: int) -> bytes:
        """Read a piece; empty at the end, and beyond it."""
        try:
            return (await self._ask(_READ, string(handle) + struct.pack("!QI", offset, PIECE), expected=_DATA)).string()
        except EOFError:
            return b""

    async def _entries(self, handle: bytes) -> dict[bytes, Attributes]:
        """Read the next of a folder's entries; none at the end."""
        found = {}
        try:
            reader = await self._ask(_READDIR, string(handle), expected=_NAME)
        except EOFError:
            return {}
        for _ in range(reader.number()):
            name = reader.string()
            reader.string()  # the line that `ls -l` would print
            found[name] = _attributes(reader)
        return found

    async def _handle(self, kind: int, fields: bytes) -> bytes:
        return (await self._ask(kind, fields, expected=_HANDLE)).string()

    def _let_go(self, handle: bytes) -> None:
        if self.usable:
            self._send(_CLOSE, struct.pack("!I", next(self._ids)) + string(handle))  # nobody waits for its answer

    async def _ask(self, kind: int, fields: bytes, *, expected: int) -> Reader:
        if not self.usable:
            raise ConnectionResetError(errno.ECONNRESET, "the SFTP session has ended")
        number = next(self._ids)
        answer: asyncio.Future[tuple[int, Reader]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._send(kind, struct.pack("!I", number) + fields)
            got, reader = await answer
        finally:
            self._waiting.pop(number, None)
        if got == _STATUS:
            raise _failure(reader)
        if got != expected:
            raise OSError(errno.EPROTO, f"SFTP: {got} came as an answer to {kind}")
        return reader

    def _send(self, kind: int, fields: bytes) -> None:
        assert self._transport is not None
        self._transport.write(struct.pack("!IB", 1 + len(fields), kind) + fields)

    # -- asyncio.Protocol ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take packets, or parts of such."""
        self._received += data
        while len(self._received) > 4:
            (length,) = struct.unpack_from("!I", self._received)
            if not 0 < length <= LONGEST:
                self.close()
                return
            if len(self._received) < 4 + length:
                return
            packet = bytes(self._received[4 : 4 + length])
            del self._received[: 4 + length]
            self._take(packet[0], packet)

    def eof_received(self) -> bool:
        """Close: there will be no answer."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Fail what is under way."""
        lost = ConnectionResetError(errno.ECONNRESET, str(error or "the SFTP session has ended"))
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(lost)

    def _take(self, kind: int, packet: bytes) -> None:
        reader = Reader(b"\0" + packet)  # SSH's packets have their padding's length in front
        if kind == _VERSION:
            return
        answer = self._waiting.get(reader.number())
        if answer is not None and not answer.done():
            answer.set_result((kind, reader))


def _is_name(name: bytes) -> bool:
    """Whether it can be that of an entry, and not a way out of the folder."""
    return name not in (b"", b".", b"..") and b"/" not in name


async def _cancelled(ahead: Iterable[asyncio.Future[Any]]) -> None:
    for each in ahead:
        each.cancel()
    await asyncio.gather(*ahead, return_exceptions=True)


def _cancel(ahead: dict[int, asyncio.Future[bytes]]) -> None:
    for each in ahead.values():
        each.cancel()
    ahead.clear()


def _failure(reader: Reader) -> Exception:
    code, text = reader.number(), reader.text()
    if code == _EOF:
        return EOFError()
    number = _ERRORS.get(code, errno.EIO)
    return OSError(number, text)


def _attributes(reader: Reader) -> Attributes:
    flags = reader.number()
    mode = size = 0
    if flags & _HAS_SIZE:
        size = reader.number() << 32 | reader.number()
    if flags & _HAS_IDS:
        reader.number(), reader.number()
    if flags & _HAS_MODE:
        mode = reader.number()
    if flags & _HAS_TIMES:
        reader.number(), reader.number()
    if flags & _HAS_MORE:
        for _ in range(reader.number()):
            reader.string(), reader.string()
    return Attributes(mode, size)

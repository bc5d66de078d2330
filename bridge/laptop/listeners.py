"""Who listens in a network namespace: read from /proc/<pid>/net/tcp and tcp6 (proc(5)).

Looking there, instead of connecting, leaves the program alone: a probing connection would show in its log.
"""

import ipaddress
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_LISTEN = "0A"
_ANY4, _ANY6 = "0.0.0.0", "::"  # noqa: S104  to recognise them


@dataclass(frozen=True, order=True)
class Listener:
    """A socket that listens: its address, as text, and port."""

    address: str
    port: int


def parse(table: str) -> Iterator[Listener]:
    """The listeners in the text of /proc/net/tcp or tcp6: addresses are words of the machine's byte order, in hex."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == _LISTEN:
            address, _, port = fields[1].partition(":")
            yield Listener(_address(address), int(port, 16))


def _address(text: str) -> str:
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    address = ipaddress.ip_address(packed)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def ports4(listeners: Iterable[Listener]) -> frozenset[int]:
    """Ports that a connection to 127.0.0.1 reaches. A listener on ``::`` takes IPv4 too (unless it says otherwise)."""
    return frozenset(each.port for each in listeners if each.address in (_ANY4, _ANY6, "127.0.0.1"))


def ports6(listeners: Iterable[Listener]) -> frozenset[int]:
    """Ports that a connection to ::1 reaches."""
    return frozenset(each.port for each in listeners if each.address in (_ANY6, "::1"))


class ListenTable:
    """The listeners of the namespace that process ``pid`` is in; a context manager (it holds two files open)."""

    def __init__(self, pid: int | str) -> None:
        self._files: list[int] = []
        for name in ("tcp", "tcp6"):
            try:
                self._files.append(os.open(f"/proc/{pid}/net/{name}", os.O_RDONLY))
            except FileNotFoundError:  # a kernel without IPv6
                continue

    def read(self) -> frozenset[Listener]:
        """Who listens now."""
        return frozenset(each for fd in self._files for each in parse(_listening_part(fd)))

    def close(self) -> None:
        """Close the files."""
        while self._files:
            os.close(self._files.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _listening_part(fd: int) -> str:
    """The beginning of the table: the kernel lists listeners first, and there may be very many connections after."""
    os.lseek(fd, 0, os.SEEK_SET)
    text = b""
    while chunk := os.read(fd, 16384):
        text += chunk
        last = text.rstrip(b"\n").rpartition(b"\n")[2].split()
        if len(last) > 3 and last[3] != _LISTEN.encode():
            break
    return text.decode()

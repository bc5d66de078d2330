"""Who listens in a network namespace: the kernel is asked (sock_diag(7)), or its table read (/proc/<pid>/net/tcp).

Looking there, instead of connecting, leaves the program alone: a probing connection would show in its log.
"""

import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

_LISTEN = "0A"
_TCP_LISTEN = 10
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _INET_DIAG_SKV6ONLY = 4, 20, 11
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_ANY4, _ANY6 = "0.0.0.0", "::"  # noqa: S104  to recognise them


@dataclass(frozen=True, order=True)
class Listener:
    """A socket that listens: its address, as text, and port; and whether it takes no IPv4, though it is on ``::``."""

    address: str
    port: int
    ipv6_only: bool = False


def parse_proc(table: str) -> Iterator[Listener]:
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
    """Ports that a connection to 127.0.0.1 reaches."""
    return frozenset(
        each.port for each in listeners if each.address in (_ANY4, _ANY6, "127.0.0.1") and not each.ipv6_only
    )


def ports6(listeners: Iterable[Listener]) -> frozenset[int]:
    """Ports that a connection to ::1 reaches."""
    return frozenset(each.port for each in listeners if each.address in (_ANY6, "::1"))


class ListenTable(Protocol):
    """Tells who listens in a network namespace."""

    def read(self) -> frozenset[Listener]:
        """Who listens now."""

    def close(self) -> None:
        """Let go of it."""


def listen_table(diag: socket.socket | None, pid: int | str) -> ListenTable:
    """The table of the namespace that ``diag`` was made in and process ``pid`` is in: the fast one, if it works."""
    if diag is not None:
        table = DiagTable(diag)
        try:
            table.read()
        except OSError:  # a kernel without INET_DIAG
            pass
        else:
            return table
    return ProcTable(pid)


def laptop_table() -> ListenTable:
    """The table of the laptop itself."""
    try:
        diag = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
    except OSError:
        diag = None
    return listen_table(diag, "self")


class DiagTable:
    """Asks over sock_diag(7): a tenth of a millisecond, however many connections there are. Owns the socket."""

    def __init__(self, diag: socket.socket) -> None:
        self._diag = diag

    def read(self) -> frozenset[Listener]:
        """Raises OSError where the kernel can't be asked."""
        found: set[Listener] = set()
        for family in (socket.AF_INET, socket.AF_INET6):
            request = struct.pack("=BBBBI48x", family, socket.IPPROTO_TCP, 0, 0, 1 << _TCP_LISTEN)
            header = struct.pack("=IHHII", 16 + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST | _DUMP, 0, 0)
            self._diag.send(header + request)
            while not parse_diag(self._diag.recv(65536), found):
                pass
        return frozenset(found)

    def close(self) -> None:
        """Close the socket."""
        self._diag.close()


def parse_diag(data: bytes, found: set[Listener]) -> bool:
    """Add the listeners of one part of the kernel's answer. True when it was the last. Raises OSError."""
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if kind == _DONE or length < 16:
            return True
        if kind == _ERROR:
            number = -struct.unpack_from("=i", data, at + 16)[0]
            raise OSError(number, os.strerror(number))
        found.add(_diag_listener(data[at + 16 : at + length]))
        at += (length + 3) & ~3
    return False


def _diag_listener(message: bytes) -> Listener:
    """From struct inet_diag_msg, and the attribute which says that an IPv6 socket is for IPv6 only."""
    family, port = message[0], int.from_bytes(message[4:6], "big")
    address = socket.inet_ntop(family, message[8 : 12 if family == socket.AF_INET else 24])
    only, at = False, 72
    while at + 4 < len(message):
        length, kind = struct.unpack_from("=HH", message, at)
        only = only or (kind == _INET_DIAG_SKV6ONLY and message[at + 4] == 1)
        at += max(4, (length + 3) & ~3)
    return Listener(address.removeprefix("::ffff:") if "." in address else address, port, only)


class ProcTable:
    """Reads /proc/<pid>/net/tcp and tcp6 (proc(5)): milliseconds, as the kernel walks through all connections."""

    def __init__(self, pid: int | str) -> None:
        self._files: list[int] = []
        for name in ("tcp", "tcp6"):
            try:
                self._files.append(os.open(f"/proc/{pid}/net/{name}", os.O_RDONLY))
            except FileNotFoundError:  # a kernel without IPv6
                continue

    def read(self) -> frozenset[Listener]:
        """Who listens now."""
        return frozenset(each for fd in self._files for each in parse_proc(_listening_part(fd)))

    def close(self) -> None:
        """Close the files."""
        while self._files:
            os.close(self._files.pop())


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

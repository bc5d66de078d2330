"""The control protocol between bridge (the laptop) and the keeper (the proxy pod): what may be said, how it is spelled.

It exists so that both sides share one grammar: this file is imported by bridge and copied into the proxy image. It must
not do I/O, and must not import anything but the standard library.

A message is one line of JSON (UTF-8) ended by a newline; ``op`` names its kind. ``render`` and ``parse`` are inverses.

    laptop -> keeper   hello      version, token               first, within seconds; a wrong token ends the connection
    keeper -> laptop   report     version, environ, resolv_conf, hosts, hostname, pod_ips, mounts, listening
    keeper -> laptop   listening  ports                        the ports in the report have changed
    keeper -> laptop   probe      id                           the kubelet asks: is the process ready?
    laptop -> keeper   probed     id, ready                    the answer; may take as long as the process needs
    laptop -> keeper   ping       id                           is the data path alive? It is the laptop's heartbeat
    keeper -> laptop   pong       id
    keeper -> laptop   refused    reason                       the last message before the keeper closes
    keeper -> laptop   guard      state, reason                since 2: what protects the target when the laptop is gone
    keeper -> laptop   ending                                  since 2: the pod was told to end; another may be there

Rules for changes: append only. A field that is not known is ignored; a new ``op`` is sent only where the negotiated
version (``hello`` offers the laptop's newest, ``report`` answers with the one in force) has it. Errors are
``WireError``: the connection can't go on.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

VERSION = 2
OLDEST_VERSION = 1
GUARD_VERSION = 2
"""The first that has ``guard`` and ``ending``."""

# A report holds the whole environment: the kernel lets a process start with up to 6 MiB of it (3/4 of _STK_LIM, see
# fs/exec.c), a third more in base64, and text files beside it.
MAX_REPORT_LINE = 16 * 1024 * 1024
# What the laptop sends is small, and is read before its token is.
MAX_REQUEST_LINE = 16 * 1024

# How a refusal begins that says: the session is over, this laptop need not come back to it.
RESTORING_REASON = "restoring"
RESTORED_REASON = "restored"
TAKEN_REASON = "taken"
OVER_REASONS = (RESTORING_REASON, RESTORED_REASON, TAKEN_REASON)

_LARGEST_ID = 2**53 - 1  # beyond it, JSON numbers lose digits in other languages

Fields = Mapping[str, object]


class WireError(ValueError):
    """The other side says something that this protocol does not have."""


class LineTooLong(WireError):
    """A line goes on beyond the limit."""


class VersionMismatch(WireError):
    """The two sides have no version in common."""


@dataclass(frozen=True)
class Hello:
    """The laptop's first message. ``version``: the newest that it speaks."""

    token: str = field(repr=False)
    version: int = VERSION


@dataclass(frozen=True)
class Mount:
    """A volume mounted in the container. ``kind``: its volume plugin or file system, as far as the pod can tell."""

    path: str
    kind: str
    read_only: bool


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the container is given, as it is there.

    ``environ``: as in /proc/PID/environ, ``NAME=VALUE`` each ended by NUL, byte for byte. ``resolv_conf``, ``hosts``:
    the files' text (bytes that are no UTF-8 are surrogate-escaped). ``listening``: TCP ports that other containers of
    the pod have open on loopback, ascending.
    """

    environ: bytes = field(repr=False)
    resolv_conf: str
    hosts: str
    hostname: str
    pod_ips: tuple[str, ...]
    mounts: tuple[Mount, ...]
    listening: tuple[int, ...]
    version: int = VERSION


@dataclass(frozen=True)
class Listening:
    """The ports that other containers of the pod have open on loopback now, ascending."""

    ports: tuple[int, ...]


@dataclass(frozen=True)
class Probe:
    """The kubelet asks whether the process is ready."""

    id: int


@dataclass(frozen=True)
class Probed:
    """The laptop's answer to a probe."""

    id: int
    ready: bool


@dataclass(frozen=True)
class Ping:
    """The laptop asks for an echo."""

    id: int


@dataclass(frozen=True)
class Pong:
    """The echo."""

    id: int


@dataclass(frozen=True)
class Refused:
    """Why the keeper ends the connection."""

    reason: str


class GuardState(Enum):
    """What the keeper's guard is about."""

    ARMED = "armed"
    """It has tried its rights: without heartbeats it restores."""
    UNARMED = "unarmed"
    """It can't restore; the reason says why."""
    RESTORING = "restoring"
    """No heartbeat came for the grace time: it puts the target back."""
    RESTORED = "restored"
    """The target is back; the session is over, and its objects go."""
    TAKEN = "taken"
    """Another session has the target now; the reason says whose."""


@dataclass(frozen=True)
class Guard:
    """How it stands with the guard: sent after the report, and whenever it changes."""

    state: GuardState
    reason: str = ""


@dataclass(frozen=True)
class Ending:
    """The pod was told to end (deleted, evicted, its node drained): it goes on for a moment, then it is gone."""


Message = Hello | Report | Listening | Probe | Probed | Ping | Pong | Refused | Guard | Ending


def parse(line: bytes) -> Message:
    """Read one line, with or without its newline. Raise `WireError` for what is no message of ours."""
    try:
        fields = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise WireError("a line that is no JSON") from error  # the line may hold a secret: never shown
    if not isinstance(fields, dict):
        raise WireError("a line that is no JSON object")
    op = fields.get("op")
    reader = _READERS.get(op) if isinstance(op, str) else None
    if reader is None:
        raise WireError(f"an unknown op: {str(op)[:40]!r}")
    return reader(fields)


def render(message: Message) -> bytes:
    """Spell the message as a line of ASCII with its newline."""
    fields = {"op": type(message).__name__.lower(), **_fields(message)}
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def negotiate(offered: int) -> int:
    """Choose the version in force for a side that speaks all versions up to ``offered``."""
    version = min(offered, VERSION)
    if version < OLDEST_VERSION:
        raise VersionMismatch(f"version {offered} is too old: at least {OLDEST_VERSION} is needed")
    return version


class LineBuffer:
    """Bytes in, whole lines out (without their newline); holds at most ``limit`` bytes of an unfinished one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._held = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes; return the lines that they complete. Raise `LineTooLong` beyond the limit."""
        *ends, rest = data.split(b"\n")
        lines = []
        for end in ends:
            self._hold(end)
            lines.append(b"".join(self._parts))
            self._parts, self._held = [], 0
        self._hold(rest)
        return lines

    def _hold(self, part: bytes) -> None:
        self._held += len(part)
        if self._held > self._limit:
            raise LineTooLong(f"a line of more than {self._limit} bytes")
        if part:
            self._parts.append(part)


class Decoder:
    """Bytes in, messages out: the whole reading side of a connection, without its I/O."""

    def __init__(self, limit: int) -> None:
        self._lines = LineBuffer(limit)

    def feed(self, data: bytes) -> list[Message]:
        """Take the next bytes; return the messages that they complete. Raise `WireError`."""
        return [parse(line) for line in self._lines.feed(data)]


# -- reading fields ----------------------------------------------------------------------------------------------------
def _hello(fields: Fields) -> Hello:
    return Hello(_text(fields, "token"), _number(fields, "version"))


def _report(fields: Fields) -> Report:
    return Report(
        environ=_bytes(fields, "environ"),
        resolv_conf=_text(fields, "resolv_conf"),
        hosts=_text(fields, "hosts"),
        hostname=_text(fields, "hostname"),
        pod_ips=tuple(_text({"pod_ips": item}, "pod_ips") for item in _list(fields, "pod_ips")),
        mounts=tuple(_mount(item) for item in _list(fields, "mounts")),
        listening=_ports(fields, "listening"),
        version=_number(fields, "version"),
    )


def _mount(item: object) -> Mount:
    if not isinstance(item, dict):
        raise WireError("mounts: not an object")
    return Mount(_text(item, "path"), _text(item, "kind"), _flag(item, "read_only"))


_READERS: Mapping[str, Callable[[Fields], Message]] = {
    "hello": _hello,
    "report": _report,
    "listening": lambda fields: Listening(_ports(fields, "ports")),
    "probe": lambda fields: Probe(_number(fields, "id")),
    "probed": lambda fields: Probed(_number(fields, "id"), _flag(fields, "ready")),
    "ping": lambda fields: Ping(_number(fields, "id")),
    "pong": lambda fields: Pong(_number(fields, "id")),
    "refused": lambda fields: Refused(_text(fields, "reason")),
    "guard": lambda fields: Guard(_state(fields, "state"), _text(fields, "reason")),
    "ending": lambda _: Ending(),
}


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise WireError(f"{name}: not a text")
    return value


def _number(fields: Fields, name: str) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_ID:
        raise WireError(f"{name}: not a whole number from 0 to 2^53 - 1")
    return value


def _flag(fields: Fields, name: str) -> bool:
    value = fields.get(name)
    if not isinstance(value, bool):
        raise WireError(f"{name}: neither true nor false")
    return value


def _state(fields: Fields, name: str) -> GuardState:
    try:
        return GuardState(_text(fields, name))
    except ValueError as error:
        raise WireError(f"{name}: not a state of the guard") from error


def _list(fields: Fields, name: str) -> list[object]:
    value = fields.get(name)
    if not isinstance(value, list):
        raise WireError(f"{name}: not a list")
    return value


def _ports(fields: Fields, name: str) -> tuple[int, ...]:
    ports = tuple(_number({name: item}, name) for item in _list(fields, name))
    if any(not 0 < port < 65536 for port in ports):
        raise WireError(f"{name}: not a port")
    return ports


def _bytes(fields: Fields, name: str) -> bytes:
    text = _text(fields, name)
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:  # binascii.Error, or no ASCII
        raise WireError(f"{name}: not base64") from error


# -- writing fields ----------------------------------------------------------------------------------------------------
def _fields(message: Message) -> dict[str, object]:
    fields = dict(vars(message))
    if isinstance(message, Report):
        fields["environ"] = base64.b64encode(message.environ).decode()
        fields["mounts"] = [vars(mount) for mount in message.mounts]
    if isinstance(message, Guard):
        fields["state"] = message.state.value
    return fields

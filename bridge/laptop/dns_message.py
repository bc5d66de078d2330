"""As much of a DNS message as forwarding needs (RFC 1035 section 4, RFC 6891): what is not looked at is not decoded.

id (2) flags (2) counts (4 x 2) | questions | records...        flags: QR opcode AA TC RD | RA Z rcode
"""

import struct
from dataclasses import dataclass

_HEADER = 12
_QR, _TC, _RA = 0x8000, 0x0200, 0x0080
_OPCODE_AND_RD = 0x7900
_RCODE = 0x000F
_NOERROR, _SERVFAIL, _NXDOMAIN = 0, 2, 3
_SOA, _OPT = 6, 41
_PLAIN_LIMIT = 512  # RFC 1035 section 2.3.4: without EDNS


class Malformed(Exception):
    """Not a DNS query that anybody could answer."""


@dataclass(frozen=True)
class Query:
    """A query as it came, and what its answer needs to know of it."""

    wire: bytes
    question_end: int
    udp_limit: int  # the largest answer that its sender takes by UDP
    has_edns: bool

    @classmethod
    def parse(cls, wire: bytes) -> "Query":
        """Raises Malformed."""
        try:
            _, flags, questions, *others = struct.unpack_from("!6H", wire)
            if flags & _QR or questions != 1:
                raise Malformed("not one question")
            question_end = _skip_name(wire, _HEADER) + 4
            if question_end > len(wire):
                raise Malformed("the question is cut off")
            size = _edns_size(wire, question_end, sum(others))
        except (struct.error, IndexError) as error:
            raise Malformed(str(error)) from error
        return cls(wire, question_end, max(_PLAIN_LIMIT, size or 0), size is not None)

    def fit(self, answer: bytes) -> bytes:
        """The answer as it can go by UDP: whole, or only a word that TCP must be used (TC)."""
        if len(answer) <= self.udp_limit:
            return answer
        flags = struct.unpack_from("!H", answer, 2)[0] | _TC
        return self._bare(flags)

    def servfail(self) -> bytes:
        """The answer when no nameserver gave one."""
        flags = struct.unpack_from("!H", self.wire, 2)[0] & _OPCODE_AND_RD
        return self._bare(_QR | flags | _RA | _SERVFAIL)

    def _bare(self, flags: int) -> bytes:
        """An answer without records; but an OPT, if the query has one (RFC 6891 section 7)."""
        header = self.wire[:2] + struct.pack("!5H", flags, 1, 0, 0, int(self.has_edns))
        opt = struct.pack("!BHHIH", 0, _OPT, self.udp_limit, 0, 0) if self.has_edns else b""
        return header + self.wire[_HEADER : self.question_end] + opt


@dataclass(frozen=True)
class Lifetime:
    """How long an answer may be kept: ``seconds``, and where in it the TTLs are that get less meanwhile."""

    seconds: int
    offsets: tuple[int, ...]


def lifetime(answer: bytes) -> Lifetime | None:
    """How long an answer may be kept, by its records; None where it may not be, or can't be read.

    Kept are records, and "no such name" or "no such record" with the SOA that says for how long (RFC 2308 section 5).
    """
    try:
        return _lifetime(answer)
    except (struct.error, IndexError):
        return None


def _lifetime(answer: bytes) -> Lifetime | None:
    _, flags, questions, answers, *others = struct.unpack_from("!6H", answer)
    if flags & _TC or flags & _RCODE not in (_NOERROR, _NXDOMAIN) or questions != 1:
        return None
    at = _skip_name(answer, _HEADER) + 4
    bounds, offsets = [], []
    vouched = answers > 0 and flags & _RCODE == _NOERROR
    for _ in range(answers + sum(others)):
        at = _skip_name(answer, at)
        kind, _, ttl, length = struct.unpack_from("!HHIH", answer, at)
        if kind != _OPT:
            bounds.append(ttl)
            offsets.append(at + 4)
        at += 10 + length
        if kind == _SOA:
            bounds.append(struct.unpack_from("!I", answer, at - 4)[0])
            vouched = True
    return Lifetime(min(bounds), tuple(offsets)) if vouched and bounds and at <= len(answer) else None


def identifier(message: bytes) -> int:
    """The message's id."""
    return int.from_bytes(message[:2], "big")


def with_identifier(message: bytes, number: int) -> bytes:
    """The same message with another id."""
    return number.to_bytes(2, "big") + message[2:]


def _skip_name(wire: bytes, at: int) -> int:
    """The offset after a name: labels up to an empty one, or to a pointer (RFC 1035 section 4.1.4)."""
    while (length := wire[at]) != 0:
        if length >= 0xC0:
            return at + 2
        at += 1 + length
    return at + 1


def _edns_size(wire: bytes, at: int, records: int) -> int | None:
    """The UDP size in the OPT record, if there is one among the ``records`` from ``at``."""
    for _ in range(records):
        at = _skip_name(wire, at)
        kind, size, _ttl, length = struct.unpack_from("!HHIH", wire, at)
        if kind == _OPT:
            return int(size)
        at += 10 + length
    return None

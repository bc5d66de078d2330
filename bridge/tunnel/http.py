"""What is asked and answered on a connection, as HTTP/1 (RFC 9112), by reading along. No I/O.

A `Conversation` gets what each side has sent, in any pieces, after it was passed on, and knows from it

    what was answered     an `Answered` for each request, an `Unread` once where it can't follow: HTTP/2, TLS, something
                          else, or what a connection is used for after an upgrade (a websocket)
    whether it rests      so that the process can be replaced: nobody waits for anything on this connection

llhttp (in httptools) does the parsing; the rules here are those that need both directions: which answer belongs to
which request, that the answer to HEAD has no body whatever its header says (httptools can't be told), that an upgrade
is one when the answer says so, that a body may end with the connection. Nothing that is sent can make it raise.
"""

from __future__ import annotations

import io
import logging
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

LONGEST_TARGET = 2048
"""Bytes of a request's target that are kept."""
MOST_HELD = 64 * 1024
"""Bytes that are kept while it is open whether they are HTTP."""
SPOKEN = 0.2
"""Seconds without a byte after which a side that is not read as HTTP, and that has spoken last, has said all."""
UNANSWERED = 1.0
"""The same where the client has spoken last: it may be waiting for an answer, or for nothing."""
STREAMS = 0.5
"""Seconds without a byte after which an answer that has begun is one that never ends (server-sent events)."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A request, and what became of it.

    ``path`` is printable, without the values of its query. ``status`` is None when there was no answer; ``took`` are
    the seconds from when the process had its headers to the answer's last byte, or to the connection's end.
    ``cut``: how the connection ended before the answer was complete, or empty.
    """

    method: str
    path: str
    status: int | None
    took: float
    cut: str = ""


@dataclass(frozen=True)
class Unread:
    """From here on a connection is not read; ``why`` says what it is."""

    why: str


Heard: TypeAlias = Answered | Unread


@dataclass(slots=True)
class _Asked:
    method: str
    path: str
    began: float


class Conversation:
    """See the module's docstring. ``tell`` gets what was heard."""

    def __init__(self, tell: Callable[[Heard], object], *, now: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._now = now
        self._questions = _Questions(self)
        self._answers = _Answers(self)
        self._asked: deque[_Asked] = deque()
        self._moved = now()
        self._client_spoke_last = False
        self.fresh = True
        """Whether nobody has said anything yet."""
        self.unread = ""
        """Why it is not read any more."""

    # -- what was sent ---------------------------------------------------------------------------------------------

    def from_client(self, data: bytes) -> None:
        """Take what the client has sent."""
        self._moves(by_client=True)
        if not self.unread:
            self._read(self._questions, data)

    def from_process(self, data: bytes) -> None:
        """Take what the process has sent."""
        self._moves(by_client=False)
        if not self.unread:
            self._read(self._answers, data)

    def process_ended(self) -> None:
        """Note that the process sends no more: an answer without a length is complete by that (RFC 9112, 6.3)."""
        self._answers.ended()
        self.lost("closed")

    def lost(self, how: str) -> None:
        """Note that nothing more will be answered; ``how``: by what, for requests that got no complete answer."""
        status = self._answers.status
        while self._asked:
            self.answered(status, cut=how)
            status = None

    # -- whether somebody waits ------------------------------------------------------------------------------------

    @property
    def between(self) -> bool:
        """Whether it is HTTP/1 between an answer and the next request, if any: another process may take that."""
        if self.unread or self._asked or self._questions.begun or self._answers.begun:
            return False
        return self._questions.keeps and self._answers.keeps

    def rests(self, now: float) -> bool:
        """Whether nobody waits for anything that is under way, as far as can be told."""
        quiet = self.quiet(now)
        if self.unread:
            return quiet > (UNANSWERED if self._client_spoke_last else SPOKEN)
        if self._answers.under_way:
            return quiet > STREAMS
        return not (self._asked or self._questions.begun)

    def quiet(self, now: float) -> float:
        """Return for how many seconds nothing has come from either side."""
        return now - self._moved

    # -- for the two sides -----------------------------------------------------------------------------------------

    def asked(self, method: str, path: str) -> None:
        """Note a request."""
        self._asked.append(_Asked(method, path, self._now()))

    @property
    def awaited(self) -> str:
        """The method of the request that the next answer is for; empty if there is none."""
        return self._asked[0].method if self._asked else ""

    @property
    def any_head(self) -> bool:
        """Whether one of the answers that are to come is without its body."""
        return any(each.method == "HEAD" for each in self._asked)

    def answered(self, status: int | None, *, cut: str = "") -> None:
        """Note what became of the oldest request."""
        if self._asked:
            asked = self._asked.popleft()
            took = self._now() - asked.began
            self._tell(Answered(method=asked.method, path=asked.path, status=status, took=took, cut=cut))

    def not_upgraded(self) -> None:
        """Note that an answer upgrades nothing. If that was asked for, by what was asked last, requests go on."""
        if self._asked or self._questions.held is None:
            return
        held, self._questions.held = self._questions.held, None
        if held:
            self._read(self._questions, held)

    def give_up(self, why: str) -> None:
        """Read no further. Requests that wait for an answer are not told: nobody sees it come."""
        if not self.unread:
            self.unread = why
            self._asked.clear()
            self._tell(Unread(why))

    def _moves(self, *, by_client: bool) -> None:
        self.fresh = False
        self._client_spoke_last = by_client
        self._moved = self._now()

    def _read(self, side: _Questions | _Answers, data: bytes) -> None:
        try:
            side.read(data)
        except httptools.HttpParserCallbackError:  # a bug in here is no reason to fail the connection
            log.exception("reading along failed")
            self.give_up("something that bridge did not expect")
        except httptools.HttpParserError:
            self.give_up(self._questions.kind())


class _Questions:
    """The client's side: httptools calls ``on_...``."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._parser = httptools.HttpRequestParser(self)
        self._start = b""
        self._target = b""
        self.begun = False
        """Whether a request has begun, and is not complete."""
        self.keeps = True
        """Whether the client will ask again on this connection."""
        self.held: bytes | None = None
        """After a request to upgrade: what came since."""

    def read(self, data: bytes) -> None:
        if len(self._start) < len(_HTTP2):
            self._start = (self._start + data)[: len(_HTTP2)]
        if self.held is not None:
            self.held += data
            if len(self.held) > MOST_HELD:
                self._conversation.give_up("too much after a request to upgrade")
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.held = data[upgrade.args[0] :]

    def kind(self) -> str:
        """What it is, when it is not HTTP/1."""
        if self._start == _HTTP2:
            return "HTTP/2"
        return "TLS" if self._start[:1] == _TLS else "not HTTP/1"

    def on_message_begin(self) -> None:
        self.begun = True
        self._target = b""

    def on_url(self, part: bytes) -> None:
        self._target = (self._target + part)[:LONGEST_TARGET]

    def on_headers_complete(self) -> None:
        method = self._parser.get_method().decode("ascii", "backslashreplace")
        self._conversation.asked(method, shown(self._target))

    def on_message_complete(self) -> None:
        self.begun = False
        self.keeps = self._parser.should_keep_alive()


class _Answers:
    """The process's side."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._parser = httptools.HttpResponseParser(self)
        self._closes = False
        self._has_length = False
        self._bodyless = False
        self.begun = False
        """Whether an answer has begun, and is not complete."""
        self.status: int | None = None
        """Of an answer whose headers are complete, while the rest is not; not of an interim one (1xx)."""
        self.keeps = True
        """Whether the process will answer more on this connection."""

    @property
    def under_way(self) -> bool:
        """Whether the headers of an answer were sent, and not yet all of its body."""
        return self.status is not None

    def read(self, data: bytes) -> None:
        if not self._conversation.any_head:
            self._feed(data)
            return
        for line in io.BytesIO(data):
            self._feed(line)  # so that the end of the headers is the end of a piece
            if self._conversation.unread:
                return

    def ended(self) -> None:
        if self.status is not None and not self._has_length:
            self.on_message_complete()

    def _feed(self, data: bytes) -> None:
        with suppress(httptools.HttpParserUpgrade):  # on_message_complete has seen to it
            self._parser.feed_data(data)
        if self._bodyless:
            self._bodyless = False
            self._parser = httptools.HttpResponseParser(self)

    def on_message_begin(self) -> None:
        self.begun = True
        self._closes = self._has_length = False

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"connection":
                self._closes = self._closes or b"close" in value.lower()
            case b"content-length" | b"transfer-encoding":
                self._has_length = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != _SWITCHING:
            return
        self.status = status
        asked = self._conversation.awaited
        if asked == "HEAD" or (asked == "CONNECT" and 200 <= status < 300):
            self._bodyless = self._has_length = True
            self.on_message_complete()

    def on_message_complete(self) -> None:
        self.begun = False
        status, self.status = self.status, None
        if status is None:
            return  # an interim answer, or one to HEAD, of which llhttp thinks that it has no body either
        asked = self._conversation.awaited
        self.keeps = bool(asked) and self._has_length_of(status) and not self._closes and self._is_1_1()
        self._conversation.answered(status)
        if status == _SWITCHING or (asked == "CONNECT" and 200 <= status < 300):
            self._conversation.give_up("a websocket, or another protocol that was upgraded to")
        else:
            self._conversation.not_upgraded()

    def _has_length_of(self, status: int) -> bool:
        return self._has_length or status in _WITHOUT_BODY

    def _is_1_1(self) -> bool:
        return self._parser.get_http_version() == "1.1"


_HTTP2 = b"PRI * HTTP/2.0"
"""How a client begins that knows that the server speaks HTTP/2 (RFC 9113, 3.4)."""
_TLS = b"\x16"
"""The type of a record with a handshake (RFC 8446, 5.1)."""
_SWITCHING = 101
_WITHOUT_BODY = (204, 304)


def shown(target: bytes) -> str:
    """Return a request's target for people: printable, and of its query the names only: values may be secrets.

    ``/search?q=shoes&token=abc`` -> ``/search?q=...&token=...``
    """
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in target.decode("latin-1"))
    path, question, query = text.partition("?")
    if not question:
        return path
    names = [f"{name}=..." if sep else name for name, sep, _ in (each.partition("=") for each in query.split("&"))]
    return f"{path}?{'&'.join(names)}"

"""Reading along: the same is heard however the bytes are cut, and what can't be read does no harm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.tunnel.http import STREAMS, UNANSWERED, Answered, Conversation, Heard, Unread, shown

GET = b"GET /tasks HTTP/1.1\r\nHost: tasks\r\n\r\n"
HEAD = b"HEAD /big HTTP/1.1\r\nHost: tasks\r\n\r\n"
POST = b"POST /tasks?token=abc HTTP/1.1\r\nHost: tasks\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"
PUT = b"PUT /a HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe\nlo\r\n0\r\n\r\n"
OF_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
NOT_MODIFIED = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 70\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
CLOSES = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
UNTIL_THE_END = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nas much as comes"

# Requests with their answers; whether the connection can be used again after each is in `test_what_rests`.
EXCHANGES = {
    (GET, OK): ("GET", "/tasks", 200),
    (HEAD, OF_HEAD): ("HEAD", "/big", 200),
    (HEAD, CONTINUE + OF_HEAD): ("HEAD", "/big", 200),
    (POST, CHUNKED): ("POST", "/tasks?token=...", 201),
    (PUT, CONTINUE + OK): ("PUT", "/a", 200),
    (PUT, NO_CONTENT): ("PUT", "/a", 204),
    (GET, NOT_MODIFIED): ("GET", "/tasks", 304),
    (UPGRADE, OK): ("GET", "/ws", 200),
}


class Talk:
    """A conversation at a clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.now = 100.0
        self.read = Conversation(self.heard.append, now=lambda: self.now)

    def say(self, client: bytes = b"", process: bytes = b"") -> Talk:
        if client:
            self.read.from_client(client)
        if process:
            self.read.from_process(process)
        return self

    @property
    def lines(self) -> list[object]:
        return [
            (each.method, each.path, each.status, *([each.cut] if each.cut else []))
            if isinstance(each, Answered)
            else each.why
            for each in self.heard
        ]


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    places = sorted(draw(st.sets(st.integers(1, max(1, len(data) - 1)), max_size=12)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True) if data[a:b]]


@given(st.data(), st.lists(st.sampled_from(list(EXCHANGES)), min_size=1, max_size=4))
def test_the_same_is_heard_wherever_the_bytes_are_cut(
    data: st.DataObject, exchanges: list[tuple[bytes, bytes]]
) -> None:
    talk = Talk()
    for request, answer in exchanges:
        for piece in data.draw(cut(request)):
            talk.say(client=piece)
        assert not talk.read.between
        for piece in data.draw(cut(answer)):
            talk.say(process=piece)
        assert talk.read.between
    assert talk.lines == [EXCHANGES[each] for each in exchanges]


@given(st.data(), st.lists(st.sampled_from([each for each in EXCHANGES if each[0] != UPGRADE]), min_size=2, max_size=5))
def test_pipelined_requests_are_told_one_by_one(data: st.DataObject, exchanges: list[tuple[bytes, bytes]]) -> None:
    talk = Talk()
    for piece in data.draw(cut(b"".join(request for request, _ in exchanges))):
        talk.say(client=piece)
    for piece in data.draw(cut(b"".join(answer for _, answer in exchanges))):
        talk.say(process=piece)
    assert talk.lines == [EXCHANGES[each] for each in exchanges]
    assert talk.read.between


def test_a_request_that_follows_one_to_upgrade_is_read_when_that_was_denied() -> None:
    talk = Talk().say(client=UPGRADE + GET).say(process=OK + OK)
    assert talk.lines == [("GET", "/ws", 200), ("GET", "/tasks", 200)]
    talk = Talk().say(client=GET + UPGRADE + GET).say(process=OK).say(process=OK + OK)
    assert [line[1] for line in talk.lines] == ["/tasks", "/ws", "/tasks"]  # type: ignore[index]


@given(st.data())
def test_a_websocket_is_told_once_and_not_read_further(data: st.DataObject) -> None:
    talk = Talk()
    for piece in data.draw(cut(UPGRADE)):
        talk.say(client=piece)
    for piece in data.draw(cut(SWITCHING + GET + b"\x81\x05hello")):
        talk.say(process=piece)
    talk.say(client=b"\x81\x85 masked").say(process=OK)
    assert talk.lines == [("GET", "/ws", 101), "a websocket, or another protocol that was upgraded to"]


def test_a_tunnel_is_not_read_further() -> None:
    talk = Talk().say(client=b"CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n")
    talk.say(process=b"HTTP/1.1 200 OK\r\n\r\nRSomething").say(client=b"more")
    assert talk.lines == [("CONNECT", "db:5432", 200), "a websocket, or another protocol that was upgraded to"]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", "HTTP/2"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"),
        (b"*1\r\n$4\r\nPING\r\n", "not HTTP/1"),
    ],
)
@given(data=st.data())
def test_what_is_not_http_1_is_told_once(data: st.DataObject, said: bytes, kind: str) -> None:
    talk = Talk()
    for piece in data.draw(cut(said)):
        talk.say(client=piece)
    talk.say(process=b"+PONG\r\n").say(client=said)
    assert talk.lines == [kind]


def test_a_server_that_speaks_first_is_not_http() -> None:
    assert Talk().say(process=b"220 mail ready\r\n").lines == ["not HTTP/1"]


@given(st.lists(st.tuples(st.booleans(), st.one_of(st.binary(), st.sampled_from([GET, HEAD, UPGRADE, OK, CHUNKED])))))
def test_nothing_that_is_said_makes_it_raise(said: list[tuple[bool, bytes]]) -> None:
    talk = Talk()
    for by_client, data in said:
        talk.say(client=data) if by_client else talk.say(process=data)
    talk.read.process_ended()
    talk.read.lost("reset")
    assert sum(isinstance(each, Unread) for each in talk.heard) <= 1


# ---- the end of a connection --------------------------------------------------------------------------------------
def test_an_answer_without_a_length_is_complete_when_the_process_has_ended() -> None:
    talk = Talk().say(client=GET, process=UNTIL_THE_END)
    assert talk.lines == []
    talk.read.process_ended()
    talk.read.lost("closed")
    assert talk.lines == [("GET", "/tasks", 200)]
    assert not talk.read.between


def test_what_was_cut_says_so() -> None:
    talk = Talk().say(client=GET + GET, process=OK[:-2])
    talk.now += 0.012
    talk.read.lost("reset")
    assert talk.lines == [("GET", "/tasks", 200, "reset"), ("GET", "/tasks", None, "reset")]
    assert [round(each.took, 3) for each in talk.heard if isinstance(each, Answered)] == [0.012, 0.012]


def test_the_time_is_from_the_request_to_the_end_of_its_answer() -> None:
    talk = Talk().say(client=GET)
    talk.now += 0.25
    talk.say(process=OK[:-1])
    talk.now += 0.5
    talk.say(process=OK[-1:])
    (answered,) = talk.heard
    assert isinstance(answered, Answered)
    assert answered.took == pytest.approx(0.75)


# ---- whether somebody waits ---------------------------------------------------------------------------------------
def test_another_process_may_take_over_between_two_requests_only() -> None:
    talk = Talk()
    assert talk.read.fresh
    assert talk.read.between
    for place in range(1, len(GET)):
        assert not Talk().say(client=GET[:place]).read.between
    talk.say(client=GET)
    for place in range(len(OK)):
        assert not talk.read.between
        talk.say(process=OK[place : place + 1])
    assert talk.read.between
    assert not talk.read.fresh


@pytest.mark.parametrize("answer", [CLOSES, b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", SWITCHING])
def test_nobody_takes_over_what_is_about_to_close_or_is_another_protocol(answer: bytes) -> None:
    talk = Talk().say(client=UPGRADE, process=answer)
    assert not talk.read.between


def test_nobody_takes_over_where_the_client_asks_no_more() -> None:
    asked = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
    assert not Talk().say(client=asked, process=OK).read.between
    assert not Talk().say(process=b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n").read.between


def test_what_rests() -> None:
    talk = Talk()
    assert talk.read.rests(talk.now)
    talk.say(client=GET)
    assert not talk.read.rests(talk.now + 1000)  # a request without an answer is under way, however long that takes
    talk.say(process=OK)
    assert talk.read.rests(talk.now)
    talk.say(client=GET, process=UNTIL_THE_END)
    assert not talk.read.rests(talk.now)
    assert talk.read.rests(talk.now + 2 * STREAMS)  # it streams, and that does not end


def test_what_is_not_read_rests_when_the_process_has_spoken_last_or_long_ago() -> None:
    talk = Talk().say(client=b"\0\1\2", process=b"yes")
    assert not talk.read.rests(talk.now)
    assert talk.read.rests(talk.now + UNANSWERED / 2)
    talk.say(client=b"and?")
    assert not talk.read.rests(talk.now + UNANSWERED / 2)
    assert talk.read.rests(talk.now + 2 * UNANSWERED)


# ---- what is shown ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("target", "text"),
    [
        (b"/search?q=shoes&token=abc&flag", "/search?q=...&token=...&flag"),
        (b"/a%20b", "/a%20b"),
        (b"/caf\xc3\xa9", "/caf\xc3\xa9".encode("latin-1").decode("latin-1")),
        (b"/\x1b[31m", "/\\x1b[31m"),
        (b"*", "*"),
        (b"/?", "/?"),
    ],
)
def test_a_path_is_shown_printable_and_without_what_may_be_secret(target: bytes, text: str) -> None:
    assert shown(target) == text

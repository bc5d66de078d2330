"""The control protocol: parse and render are inverses, and nothing else is taken for a message."""

import contextlib
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.wire import messages
from bridge.wire.messages import (
    Decoder,
    Ending,
    Guard,
    GuardState,
    Hello,
    LineBuffer,
    LineTooLong,
    Listening,
    Mount,
    Ping,
    Pong,
    Probe,
    Probed,
    Refused,
    Report,
    VersionMismatch,
    WireError,
    negotiate,
    parse,
    render,
)

ids = st.integers(0, 2**53 - 1)
# Lone surrogates too: that is how bytes of a file that is no UTF-8 travel.
texts = st.text(st.characters(exclude_categories=()))
ports = st.lists(st.integers(1, 65535)).map(tuple)
mounts = st.builds(Mount, path=texts, kind=texts, read_only=st.booleans())
reports = st.builds(
    Report,
    environ=st.binary(),
    resolv_conf=texts,
    hosts=texts,
    hostname=texts,
    pod_ips=st.lists(texts).map(tuple),
    mounts=st.lists(mounts).map(tuple),
    listening=ports,
    version=ids,
)
all_messages = st.one_of(
    st.builds(Hello, token=texts, version=ids),
    reports,
    st.builds(Listening, ports=ports),
    st.builds(Probe, ids),
    st.builds(Probed, ids, st.booleans()),
    st.builds(Ping, ids),
    st.builds(Pong, ids),
    st.builds(Refused, texts),
    st.builds(Guard, st.sampled_from(GuardState), texts),
    st.just(Ending()),
)


def feed_in_pieces(decoder, stream, cuts):
    """What comes out when the stream arrives cut at these places."""
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [item for start, end in itertools.pairwise(places) for item in decoder.feed(stream[start:end])]


@given(all_messages)
def test_what_is_rendered_is_parsed_to_the_same(message):
    line = render(message)
    assert parse(line) == message
    assert line.isascii()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1


@given(st.lists(all_messages), st.lists(st.integers(0)))
def test_a_stream_gives_the_same_messages_however_it_is_cut(sent, cuts):
    stream = b"".join(render(message) for message in sent)
    assert feed_in_pieces(Decoder(len(stream) + 1), stream, cuts) == sent


@given(st.binary())
def test_any_bytes_are_a_message_or_a_wire_error(line):
    with contextlib.suppress(WireError):
        parse(line)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(all_messages, st.data())
def test_a_field_of_another_kind_is_a_wire_error_and_nothing_else(message, data):
    fields = json.loads(render(message))
    fields[data.draw(st.sampled_from(sorted(fields)))] = data.draw(json_values)
    try:
        parsed = parse(json.dumps(fields).encode())
    except WireError:
        return
    assert parse(render(parsed)) == parsed


@given(all_messages)
def test_a_field_of_a_later_version_is_ignored(message):
    fields = json.loads(render(message)) | {"of a later version": {"a": [1]}}
    if isinstance(message, Report):
        fields["mounts"] = [mount | {"size": 1} for mount in fields["mounts"]]
    assert parse(json.dumps(fields).encode()) == message


def test_the_spelling_of_the_first_version_stays():
    hello = b'{"op":"hello","version":1,"token":"t"}'
    report = (
        b'{"op":"report","version":1,"environ":"QT0xCgBCPf8A","resolv_conf":"nameserver 10.96.0.10\\n","hosts":"",'
        b'"hostname":"web-1","pod_ips":["10.244.0.7","fd00::7"],'
        b'"mounts":[{"path":"/etc/config","kind":"configmap","read_only":true}],"listening":[6379]}'
    )
    assert parse(hello) == Hello("t", 1)
    assert parse(report) == Report(
        environ=b"A=1\n\0B=\xff\0",
        resolv_conf="nameserver 10.96.0.10\n",
        hosts="",
        hostname="web-1",
        pod_ips=("10.244.0.7", "fd00::7"),
        mounts=(Mount("/etc/config", "configmap", read_only=True),),
        listening=(6379,),
        version=1,
    )
    assert parse(b'{"op":"probe","id":7}') == Probe(7)
    assert parse(b'{"op":"probed","id":7,"ready":true}') == Probed(7, ready=True)
    assert parse(b'{"op":"ping","id":0}') == Ping(0)
    assert parse(b'{"op":"pong","id":0}') == Pong(0)
    assert parse(b'{"op":"listening","ports":[80]}') == Listening((80,))
    assert parse(b'{"op":"refused","reason":"no"}') == Refused("no")


def test_the_spelling_of_the_second_version_stays():
    assert parse(b'{"op":"ending"}') == Ending()
    for state in ("armed", "unarmed", "restoring", "restored", "taken"):
        guard = Guard(GuardState[state.upper()], "why")
        assert parse(b'{"op":"guard","state":"%s","reason":"why"}' % state.encode()) == guard


def test_a_laptop_tells_that_its_session_is_over_by_how_the_reason_begins():
    assert messages.OVER_REASONS == ("restoring", "restored", "taken")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"op":"shutdown"}',
        b'{"op":["hello"]}',
        b'{"id":1}',
        b'{"op":"ping","id":true}',
        b'{"op":"ping","id":-1}',
        b'{"op":"ping","id":1.0}',
        b'{"op":"ping","id":9007199254740992}',
        b'{"op":"probed","id":1,"ready":1}',
        b'{"op":"listening","ports":[0]}',
        b'{"op":"listening","ports":[65536]}',
        b'{"op":"listening","ports":"80"}',
        b'{"op":"hello","version":1}',
        b'{"op":"guard","state":"asleep","reason":""}',
        b'{"op":"guard","state":"armed"}',
    ],
)
def test_what_is_no_message_is_a_wire_error(line):
    with pytest.raises(WireError):
        parse(line)


def test_an_environment_that_is_no_base64_is_a_wire_error():
    fields = json.loads(render(an_empty_report()))
    for environ in ("QT0x!", "QQ", "é"):
        with pytest.raises(WireError, match="environ"):
            parse(json.dumps(fields | {"environ": environ}).encode())


def test_an_environment_of_six_mebibytes_fits_a_line():
    largest = 6 * 1024 * 1024
    line = render(an_empty_report(environ=b"A=" + b"x" * largest + b"\0"))
    (report,) = Decoder(messages.MAX_REPORT_LINE).feed(line)
    assert len(report.environ) == largest + 3


@given(st.integers(0, 40), st.binary(max_size=80), st.lists(st.integers(0)))
def test_a_line_buffer_gives_lines_up_to_the_limit_and_fails_beyond_it(limit, data, cuts):
    *lines, rest = data.split(b"\n")
    buffer = LineBuffer(limit)
    if max(len(part) for part in (*lines, rest)) > limit:
        with pytest.raises(LineTooLong):
            feed_in_pieces(buffer, data, cuts)
    else:
        assert feed_in_pieces(buffer, data, cuts) == lines


def test_the_version_in_force_is_the_highest_that_both_speak():
    assert negotiate(messages.VERSION) == messages.VERSION
    assert negotiate(messages.VERSION + 5) == messages.VERSION
    with pytest.raises(VersionMismatch, match="too old"):
        negotiate(messages.OLDEST_VERSION - 1)


def test_neither_a_token_nor_an_environment_shows_in_a_repr_or_an_error():
    assert "s3cret" not in repr(Hello("s3cret"))
    assert "s3cret" not in repr(an_empty_report(environ=b"PASSWORD=s3cret\0"))
    with pytest.raises(WireError) as caught:
        parse(b'{"op":"hello","token":"s3cret" oops')
    assert "s3cret" not in str(caught.value)


def an_empty_report(environ=b""):
    return Report(
        environ=environ, resolv_conf="", hosts="", hostname="", pod_ips=(), mounts=(), listening=()
    )  # fmt: skip

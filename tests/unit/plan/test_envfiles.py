import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.plan.envfiles import render_dotenv, render_json
from tests.unit.plan.dotenv_reader import read

variable_names = st.from_regex(rb"[A-Za-z_][A-Za-z0-9_.]{0,8}", fullmatch=True)
tricky = st.lists(
    st.sampled_from(
        [
            b"'",
            b'"',
            b"\\",
            b"$",
            b"${X}",
            b"$$",
            b"\n",
            b"\r\n",
            b"#",
            b" ",
            b"=",
            b"n",
            b"0",
            b"x",
            b"\xc3\xa4",
            b"\xff",
        ]
    )
).map(b"".join)
values = st.one_of(st.binary(max_size=20).map(lambda value: value.replace(b"\0", b"")), tricky)


@given(st.dictionaries(variable_names, values))
@example({b"A": b"\\'"})
@example({b"A": b"'\\"})
@example({b"A": b"'$$X\\0"})
def test_docker_compose_reads_back_every_byte(variables: dict[bytes, bytes]) -> None:
    written = render_dotenv(variables)
    assert read(written.content) == variables
    assert not written.notes


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (b"plain", b"A='plain'\n"),
        (b"", b"A=''\n"),
        (b'{"a": "$b"}', b'A=\'{"a": "$b"}\'\n'),
        (b"two\nlines", b"A='two\nlines'\n"),
        (b"it's $5\n", b'A="it\'s \\$5\\n"\n'),
        (b"C:\\", b'A="C:\\\\"\n'),
    ],
)
def test_lines_are_as_plain_as_they_can_be(value: bytes, line: bytes) -> None:
    assert render_dotenv({b"A": value}).content == line


@pytest.mark.parametrize("name", [b"1A", b"a b", b"a%", b"\xff", b"a'"])
def test_a_name_that_dotenv_can_not_hold_is_said(name: bytes) -> None:
    written = render_dotenv({name: b"secret", b"B": b"2"})
    assert written.content == b"B='2'\n"
    assert len(written.notes) == 1
    assert "secret" not in written.notes[0]


@given(st.dictionaries(st.text(min_size=1, max_size=9), st.text(max_size=20)))
def test_json_holds_all_text(variables: dict[str, str]) -> None:
    written = render_json({name.encode(): value.encode() for name, value in variables.items()})
    assert json.loads(written.content) == variables
    assert not written.notes


def test_bytes_that_are_no_text_are_not_in_json_and_said() -> None:
    written = render_json({b"A": b"\xff\xfe", b"B": b"b"})
    assert json.loads(written.content) == {"B": "b"}
    assert written.notes == ("A is not in the file: its value is not UTF-8, which JSON needs",)

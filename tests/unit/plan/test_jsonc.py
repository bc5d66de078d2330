"""Texts of JSON with comments: read as VS Code reads them, and changed without touching anything else."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.plan.jsonc import DEEPEST, NotJsonc, parse, with_item, with_member

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False, width=16)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
BLANKS = st.lists(
    st.sampled_from([" ", "\n", "\t", "\r\n", "// a, [comment] {\n", '/* "b": 1, \n ]} */', "/***/", "//\n"]),
    max_size=2,
).map("".join)


@st.composite
def written(draw: st.DrawFn, value: object) -> str:
    """The value as somebody may have written it: blanks, comments and trailing commas anywhere."""

    def put(value: object) -> str:
        match value:
            case dict():
                parts = [f"{json.dumps(key)}{draw(BLANKS)}:{put(each)}" for key, each in value.items()]
                return "{" + joined(parts) + "}"
            case list():
                return "[" + joined([put(each) for each in value]) + "]"
        return draw(BLANKS) + json.dumps(value) + draw(BLANKS)

    def joined(parts: list[str]) -> str:
        trailing = "," if parts and draw(st.booleans()) else ""
        return ",".join(draw(BLANKS) + each + draw(BLANKS) for each in parts) + trailing + draw(BLANKS)

    return draw(BLANKS) + put(value) + draw(BLANKS)


@given(st.data(), VALUES)
def test_blanks_comments_and_trailing_commas_are_no_part_of_the_value(data: st.DataObject, value: object) -> None:
    text = data.draw(written(value))
    node = parse(text)
    assert node.value == value
    assert parse(text[node.start : node.end]).value == value


def rest_is_kept(before: str, after: str) -> bool:
    """Whether all characters of ``before`` are still there, in their order: whatever came was put between them."""
    rest = iter(after)
    return all(character in rest for character in before if not character.isspace())


@given(st.data(), st.lists(VALUES, max_size=3), VALUES)
def test_an_item_is_added_and_the_rest_kept(data: st.DataObject, items: list[object], new: object) -> None:
    text = data.draw(written(items))
    after = with_item(text, parse(text), new)
    assert parse(after).value == [*items, new]
    assert rest_is_kept(text, after)


@given(st.data(), st.dictionaries(st.text(max_size=3), VALUES, max_size=3), st.text(max_size=3), VALUES)
def test_a_member_is_set_and_the_rest_kept(
    data: st.DataObject, members: dict[str, object], key: str, new: object
) -> None:
    text = data.draw(written(members))
    after = with_member(text, parse(text), key, new)
    assert parse(after).value == {**members, key: new}
    assert with_member(after, parse(after), key, new) == after
    if key not in members:
        assert rest_is_kept(text, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[]", '[\n    {\n        "a": 1\n    }\n]'),
        ("[\n]", '[\n    {\n        "a": 1\n    }\n]'),
        ("[1, 2 ]", '[1, 2,\n    {\n        "a": 1\n    }\n]'),
        ("[\n  1, // one\n]", '[\n  1, // one\n  {\n    "a": 1\n  },\n]'),
        ("[\n  1 // one\n]", '[\n  1, // one\n  {\n    "a": 1\n  }\n]'),
        ("[\n\t1\n\t// no more\n]\n", '[\n\t1,\n\t{\n\t\t"a": 1\n\t}\n\t// no more\n]\n'),
        ("[\r\n  1\r\n]\r\n", '[\r\n  1,\r\n  {\r\n    "a": 1\r\n  }\r\n]\r\n'),
        ("\ufeff[ /* none */ ]", '\ufeff[ /* none */\n    {\n        "a": 1\n    }\n]'),
    ],
)
def test_new_text_is_laid_out_as_the_rest(before: str, after: str) -> None:
    assert with_item(before, parse(before), {"a": 1}) == after


def test_a_value_is_replaced_in_its_place() -> None:
    text = '{\n  "args": ["a"], // these\n  "b": 2\n}'
    assert with_member(text, parse(text), "args", ["x", "y"]) == '{\n  "args": ["x", "y"], // these\n  "b": 2\n}'


@pytest.mark.parametrize(
    ("text", "line", "column", "what"),
    [
        ("", 1, 1, "the text ends, and a value is missing here"),
        ('{\n  "a": 1\n  "b": 2\n}', 3, 3, 'a "," or "}" is missing here'),
        ('{\n  "a" 1}', 2, 7, 'a ":" is missing here'),
        ("{\n  a: 1}", 2, 3, "a name in double quotes is missing here"),
        ('["a\nb"]', 1, 2, "this string has no end in its line, or a character that may not be in one"),
        ("[1, /* and so on", 1, 5, "this comment has no end"),
        ("[1] 2", 1, 5, "there is something behind the end"),
        ("[,]", 1, 2, "a value is missing here"),
        ("[1", 1, 3, 'the text ends, and a "," or "]" is missing here'),
        ("[nul]", 1, 2, "a value is missing here"),
        ("[" * (DEEPEST + 1), 1, DEEPEST + 1, "this is nested too deeply"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, line: int, column: int, what: str) -> None:
    with pytest.raises(NotJsonc) as raised:
        parse(text)
    assert (raised.value.line, raised.value.column, raised.value.what) == (line, column, what)


@given(st.text(alphabet='{}[]",:/*\n\\ 1e-tu.', max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(NotJsonc):
        parse(text)

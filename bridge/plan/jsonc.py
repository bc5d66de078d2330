"""JSON with comments, as VS Code's files are: read with positions, and changed in one place, all else byte for byte.

    value     = object | array | string | number | "true" | "false" | "null"
    object    = "{" [ member *( "," member ) [ "," ] ] "}"          member = string ":" value
    array     = "[" [ value *( "," value ) [ "," ] ] "]"
    between any two of these: white space, // to the end of the line, /* to */

The rest is RFC 8259. What a parser and a printer would lose (comments, trailing commas, order, indentation, line ends)
is what these files' owners have put in by hand, so nothing is ever printed but what is new.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

DEEPEST = 100
"""Levels; a file of an editor has five."""

_BLANK = re.compile(r"(?:[ \t\r\n]+|//[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_REST_OF_LINE = re.compile(r"(?:[ \t]+|/\*[^\r\n]*?\*/)*(?://[^\r\n]*)?")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_SCALAR = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")
_MARK = "\ufeff"


class NotJsonc(ValueError):
    """The text is no JSON with comments. ``line`` and ``column`` count from 1, as editors do."""

    def __init__(self, what: str, text: str, at: int) -> None:
        super().__init__(what)
        self.what = what
        self.line = text.count("\n", 0, at) + 1
        self.column = at - text.rfind("\n", 0, at)


@dataclass(frozen=True)
class Node:
    """A value and where it stands: ``text[start:end]``. Of members with the same key the last counts."""

    start: int
    end: int
    value: object = None
    members: Mapping[str, "Node"] = field(default_factory=dict)
    items: tuple["Node", ...] = ()
    first: int | None = None
    """Where the first member or item begins."""

    @property
    def last(self) -> int | None:
        """Where the last member or item ends."""
        return max((each.end for each in (*self.members.values(), *self.items)), default=None)

    @property
    def is_object(self) -> bool:
        """Whether it is an object."""
        return isinstance(self.value, dict)

    @property
    def is_array(self) -> bool:
        """Whether it is an array."""
        return isinstance(self.value, list)


def parse(text: str) -> Node:
    """Read a whole text. Raises NotJsonc."""
    return _Parser(text).document()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = len(_MARK) if text.startswith(_MARK) else 0
        self.depth = 0

    def document(self) -> Node:
        node = self.value()
        self.blank()
        if self.at < len(self.text):
            raise self.wrong("there is something behind the end")
        return node

    def value(self) -> Node:
        self.blank()
        match self.text[self.at : self.at + 1]:
            case "{":
                return self.nested(self.object)
            case "[":
                return self.nested(self.array)
            case '"':
                return self.string()
        found = _SCALAR.match(self.text, self.at)
        if found is None:
            raise self.wrong("a value is missing here")
        start, self.at = self.at, found.end()
        return Node(start, self.at, json.loads(found[0]))

    def nested(self, read: Callable[[], Node]) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.wrong("this is nested too deeply")
        node = read()
        self.depth -= 1
        return node

    def object(self) -> Node:
        start, first = self.at, None
        members: dict[str, Node] = {}
        self.at += 1
        while not self.closed("}"):
            first = self.at if first is None else first
            if self.text[self.at : self.at + 1] != '"':
                raise self.wrong("a name in double quotes is missing here")
            key = self.string()
            self.blank()
            self.take(":")
            members[str(key.value)] = self.value()
            self.separated("}")
        return Node(start, self.at, {key: node.value for key, node in members.items()}, members, first=first)

    def array(self) -> Node:
        start = self.at
        items: list[Node] = []
        self.at += 1
        while not self.closed("]"):
            items.append(self.value())
            self.separated("]")
        first = items[0].start if items else None
        return Node(start, self.at, [node.value for node in items], items=tuple(items), first=first)

    def closed(self, bracket: str) -> bool:
        self.blank()
        if self.text[self.at : self.at + 1] != bracket:
            return False
        self.at += 1
        return True

    def separated(self, bracket: str) -> None:
        """Go behind the comma, which may be missing before the bracket."""
        self.blank()
        if self.text[self.at : self.at + 1] != bracket:
            self.take(",", f' or "{bracket}"')

    def string(self) -> Node:
        found = _STRING.match(self.text, self.at)
        if found is None:
            raise self.wrong("this string has no end in its line, or a character that may not be in one")
        start, self.at = self.at, found.end()
        return Node(start, self.at, json.loads(found[0]))

    def take(self, character: str, otherwise: str = "") -> None:
        if self.text[self.at : self.at + 1] != character:
            raise self.wrong(f'a "{character}"{otherwise} is missing here')
        self.at += 1

    def blank(self) -> None:
        found = _BLANK.match(self.text, self.at)
        assert found is not None  # it may be empty
        self.at = found.end()
        if self.text.startswith("/*", self.at):
            raise self.wrong("this comment has no end")

    def wrong(self, what: str) -> NotJsonc:
        return NotJsonc(what if self.at < len(self.text) else f"the text ends, and {what}", self.text, self.at)


# ---- changes ---------------------------------------------------------------------------------------------------------
def with_member(text: str, node: Node, key: str, value: object) -> str:
    """Return ``text`` in which the object ``node`` has this member: its value replaced, or behind the last member."""
    there = node.members.get(key)
    if there is None:
        style = Style.inside(text, node)
        return _inserted(text, node, f"{_string(key)}: {style.render(value)}", style)
    if json.dumps(there.value) == json.dumps(value):  # for ``==``, true is 1
        return text
    style = Style(_indentation(text, there.start), _unit(text), _newline(text))
    return text[: there.start] + style.render(value) + text[there.end :]


def with_item(text: str, node: Node, value: object) -> str:
    """Return ``text`` in which the array ``node`` has one more item at its end."""
    style = Style.inside(text, node)
    return _inserted(text, node, style.render(value), style)


def _inserted(text: str, node: Node, new: str, style: "Style") -> str:
    """Put ``new`` behind the last child, in lines of its own; a comment behind that child in its line stays there."""
    last = node.start + 1 if node.last is None else node.last
    comma = _BLANK.match(text, last).end()  # type: ignore[union-attr]  # it may be empty, so it always matches
    trailing = node.last is not None and text[comma] == ","
    behind = comma + 1 if trailing else last
    line_end = _REST_OF_LINE.match(text, behind).end()  # type: ignore[union-attr]  # the same
    on_the_line = text[last:line_end]
    closing = ""
    if not re.match(r"\r?\n|/\*", text[line_end:]):  # the bracket is in the same line
        on_the_line = on_the_line.rstrip()
        closing = style.newline + _indentation(text, node.start)
    separator = "" if trailing or node.last is None else ","
    added = f"{style.newline}{style.indent}{new}{',' if trailing else ''}{closing}"
    return text[:last] + separator + on_the_line + added + text[line_end:]


@dataclass(frozen=True)
class Style:
    """How new text is laid out: the indentation of its line, of one level more, and what ends a line."""

    indent: str
    unit: str
    newline: str

    @classmethod
    def inside(cls, text: str, node: Node) -> "Style":
        """The style of what stands in an object or array."""
        unit = _unit(text)
        indent = _indentation(text, node.start) + unit
        if node.first is not None and not text[_line_start(text, node.first) : node.first].strip():
            indent = _indentation(text, node.first)
        return cls(indent, unit, _newline(text))

    def render(self, value: object) -> str:
        """Lay out a value; an array of scalars in one line, as these files mostly have it."""
        if isinstance(value, dict):
            return self._lines("{}", [f"{_string(key)}: {self._deeper().render(each)}" for key, each in value.items()])
        if isinstance(value, list) and any(isinstance(each, dict | list) for each in value):
            return self._lines("[]", [self._deeper().render(each) for each in value])
        return json.dumps(value, ensure_ascii=False)

    def _deeper(self) -> "Style":
        return Style(self.indent + self.unit, self.unit, self.newline)

    def _lines(self, brackets: str, parts: list[str]) -> str:
        inner = self.newline + self.indent + self.unit
        return f"{brackets[0]}{inner}{f',{inner}'.join(parts)}{self.newline}{self.indent}{brackets[1]}"


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def _indentation(text: str, at: int) -> str:
    found = re.match(r"[ \t]*", text[_line_start(text, at) : at])
    return found[0] if found else ""


def _unit(text: str) -> str:
    """One level of indentation: the shortest that is in use. One space is that of a comment with stars."""
    return min(re.findall(r"^(?:\t|  +)(?=\S)", text, re.MULTILINE), key=len, default="    ")

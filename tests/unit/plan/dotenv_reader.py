"""Reads dotenv files as docker compose does: the reference for what bridge writes.

Written from the behaviour of compose-go's ``dotenv`` and ``template`` packages (2.16), for complete quoted assignments;
anything else is an error here, since bridge writes nothing else.
"""

import re

ESCAPES = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
ESCAPES |= {b"\\": b"\\", b'"': b'"', b"$": b"$$"}
ESCAPE = re.compile(rb'\\(?:([abfnrtv$"\\])|0([0-7]{0,3}))')
VARIABLE = re.compile(rb"\$(?:(\$)|[A-Za-z_]|\{)")


def read(data: bytes) -> dict[bytes, bytes]:
    result, rest = {}, data
    while rest:
        name, _, rest = rest.partition(b"=")
        result[name], rest = quoted(rest)
        assert rest[:1] in (b"\n", b""), rest
        rest = rest.lstrip()
    return result


def quoted(text: bytes) -> tuple[bytes, bytes]:
    quote, content, position = text[:1], b"", 1
    assert quote in (b"'", b'"')
    while text[position : position + 1] != quote:
        if text[position : position + 2] == b"\\" + quote:
            content, position = content + quote, position + 2
        elif text[position : position + 1] == b"\\":
            content, position = content + text[position : position + 2], position + 2
        else:
            assert position < len(text), "unterminated"
            content, position = content + text[position : position + 1], position + 1
    return (expanded(content) if quote == b'"' else content), text[position + 1 :]


def expanded(content: bytes) -> bytes:
    def unescape(match: re.Match[bytes]) -> bytes:
        return ESCAPES[match[1]] if match[1] else bytes([int(match[2] or b"0", 8)])

    def substitute(match: re.Match[bytes]) -> bytes:
        assert match[1], f"a variable in {content!r}"
        return b"$"

    return VARIABLE.sub(substitute, ESCAPE.sub(unescape, content))

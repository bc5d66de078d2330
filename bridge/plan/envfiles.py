r"""The cluster's variables as a file: dotenv as docker compose reads it, and JSON.

What compose-go's ``dotenv`` package does with a line (read from its source, version 2.16):

    NAME='text'   text as it is, newlines too, but ``\'`` is a quote: so a backslash can't stand before a quote
    NAME="text"   ``\a \b \c \f \n \r \t \v \\ \" \$`` and octal ``\0ddd`` are escapes; ``$NAME`` and ``${NAME}`` are
                  replaced, ``$$`` and ``\$`` are a dollar
    NAME          letters, digits and ``_ . - [ ]``; a name that starts with a digit is dropped without a word

So: single quotes wherever they can, which shells and other dotenv readers understand alike, else double quotes with
escapes. What a format can't hold is left out and said; a file that is wrong in silence is worse than one that is short.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_.\-\[\]]*")
_ESCAPED = {b"\\": rb"\\", b'"': rb"\"", b"$": rb"\$", b"\n": rb"\n", b"\r": rb"\r"}


@dataclass(frozen=True)
class EnvFile:
    """A file's content, and a line for each variable that is not in it."""

    content: bytes
    notes: tuple[str, ...] = ()


def render_dotenv(variables: Mapping[bytes, bytes]) -> EnvFile:
    """Write ``variables`` as a dotenv file, sorted by name."""
    fitting = {name: value for name, value in variables.items() if _NAME.fullmatch(name)}
    lines = [name + b"=" + _quote(value) + b"\n" for name, value in sorted(fitting.items())]
    notes = [
        f"{_shown(name)} is not in the file: a dotenv file can't hold such a name"
        for name in variables
        if name not in fitting
    ]
    return EnvFile(b"".join(lines), tuple(sorted(notes)))


def _quote(value: bytes) -> bytes:
    if b"'" not in value and not value.endswith(b"\\"):
        return b"'" + value + b"'"
    return b'"' + re.sub(rb'[\\"$\n\r]', lambda match: _ESCAPED[match[0]], value) + b'"'


def render_json(variables: Mapping[bytes, bytes]) -> EnvFile:
    """Write ``variables`` as one JSON object of strings, sorted by name. JSON is text: other bytes can't be in it."""
    texts: dict[str, str] = {}
    notes = []
    for name, value in sorted(variables.items()):
        try:
            texts[name.decode()] = value.decode()
        except UnicodeDecodeError:
            notes.append(f"{_shown(name)} is not in the file: its value is not UTF-8, which JSON needs")
    return EnvFile(json.dumps(texts, indent=2, ensure_ascii=False).encode() + b"\n", tuple(notes))


def _shown(name: bytes) -> str:
    return name.decode(errors="backslashreplace")

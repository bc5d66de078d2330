"""Logging: to stderr, quiet unless asked, and never with a secret in it (invariant 4).

Loggers are ``bridge.<package>.<module>``. What bridge *tells* the user (steps, results, failures) is not logging: see
``session.narrator``. With ``--verbose`` the loggers say what happens underneath.

Redaction is the last step before a line is written, over the finished text, so it also holds for tracebacks and for
arguments. A secret is registered where it is made or read (a token, a key, a variable's value).
"""

import logging
import sys
from collections.abc import Iterable
from typing import TextIO

MASK = "[secret]"
SHORTEST = 6  # shorter values would mask ordinary words; nothing that short is kept by being secret

_secrets: set[str] = set()


def register_secret(*values: str | bytes) -> None:
    """Mask ``values`` in every line logged from now on; of one with several lines (a key), each line."""
    for value in values:
        text = value.decode(errors="surrogateescape") if isinstance(value, bytes) else value
        _secrets.update(part for part in (text, *_own_lines(text)) if len(part) >= SHORTEST)


def _own_lines(text: str) -> Iterable[str]:
    """Return the lines of a text of several: each is masked where it stands alone, or between escaped newlines."""
    lines = text.splitlines()
    return [line.strip() for line in lines if not line.startswith("-----")] if len(lines) > 1 else []


def redact(text: str) -> str:
    """Return ``text`` with each registered secret masked, the longest first: one may hold another."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


class RedactingFormatter(logging.Formatter):
    """Formats a record, and masks registered secrets in the result."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line (or lines, with a traceback) to write."""
        return redact(super().format(record))


def configure(*, verbose: bool, stream: TextIO | None = None) -> None:
    """Send logs to ``stream`` (stderr): bridge's own from DEBUG on if ``verbose``, else warnings.

    Libraries' loggers get no further than warnings, and those only if ``verbose``: at DEBUG they log whole requests,
    and what they warn of is told by bridge's own errors.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(RedactingFormatter("%(asctime)s.%(msecs)03d %(name)s: %(message)s", "%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING if verbose else logging.CRITICAL)
    logging.getLogger("bridge").setLevel(logging.DEBUG if verbose else logging.WARNING)

"""By which rule the proxy pod is Ready.

    PROBE = "port" | "process" | "http:" PATH ["@" PORT]

    port            something accepts connections on a port that the cluster sends to
    process         the process runs
    http:/healthz   GET of that path, on the first port that the cluster sends to (or on the laptop's PORT), answers
                    with 2xx or 3xx

Under every rule a process that is paused, by a debugger or SIGSTOP, counts as alive. The kernel accepts for it, which
is what `port` sees; and once a program has answered well, one that takes a request without answering it in time is
paused or busy, not broken.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Self

from bridge.errors import UsageError

_HTTP = re.compile(r"http:(/[^\s@]*)(?:@([0-9]{1,5}))?")


class Rule(Enum):
    """What is looked at."""

    PORT = "port"
    PROCESS = "process"
    HTTP = "http"


@dataclass(frozen=True)
class Probe:
    """A rule; with HTTP its path, and the port of the laptop where it isn't the first one (None)."""

    rule: Rule = Rule.PORT
    path: str = ""
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a PROBE. Raise UsageError."""
        if text in (Rule.PORT.value, Rule.PROCESS.value):
            return cls(Rule(text))
        match = _HTTP.fullmatch(text)
        port = int(match[2]) if match and match[2] else None
        if match is None or not (port is None or 1 <= port <= 65535):
            raise UsageError(
                f"{text!r} is no probe",
                hint="Write --probe port, process, or http:PATH: http:/healthz, http:/healthz@9000.",
            )
        return cls(Rule.HTTP, match[1], port)

    def __str__(self) -> str:
        at = "" if self.port is None else f"@{self.port}"
        return f"http:{self.path}{at}" if self.rule is Rule.HTTP else self.rule.value

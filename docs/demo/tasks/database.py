"""Redis as tasks needs it, in its wire protocol (RESP2): so few lines that no client library is needed.

One connection for each question: at a demo's pace that costs nothing, and a connection that broke in the
meantime (the database's pod restarted) is nobody's problem.
"""

import socket
from dataclasses import dataclass
from typing import BinaryIO


class DatabaseError(Exception):
    """The database answered with an error, or with nothing."""


@dataclass(frozen=True)
class Database:
    host: str
    port: int
    password: str

    def ask(self, *command: str) -> object:
        """Send one command, and return its answer: text, a number, a list of these, or None."""
        with socket.create_connection((self.host, self.port), timeout=3) as connection:
            # Both at once: through a tunnel each wait for an answer is one round trip to the cluster.
            connection.sendall(encode("AUTH", self.password) + encode(*command))
            with connection.makefile("rb") as answers:
                decode(answers)
                return decode(answers)


def encode(*command: str) -> bytes:
    """Write a command as RESP has it: an array of strings, each with its length in bytes."""
    words = [word.encode() for word in command]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def decode(answers: BinaryIO) -> object:
    """Read one answer. Its first byte says what it is (https://redis.io/docs/latest/develop/reference/protocol-spec/)."""
    line = answers.readline()
    kind, value = line[:1], line[1:-2]
    match kind:
        case b"+":
            return value.decode()
        case b":":
            return int(value)
        case b"$" if value == b"-1":
            return None
        case b"$":
            return answers.read(int(value) + 2)[:-2].decode()
        case b"*":
            return [decode(answers) for _ in range(int(value))]
    raise DatabaseError(value.decode() or "the database closed the connection")

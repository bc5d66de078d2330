"""A visit to a session of this laptop: what another terminal asks of it over its socket (see ``local``).

Apart from the side that answers, because a command that only asks is not to wait for the imports of an event loop.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from bridge.errors import BridgeError
from bridge.laptop import messages
from bridge.paths import session_socket

ANSWERS_WITHIN = 5.0


class Gone(BridgeError):
    """The session's bridge does not answer on its socket."""


class Visitor:
    """The other side: a terminal that asks a session. Raises Gone when its bridge does not answer."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(ANSWERS_WITHIN)
        try:
            self._socket.connect(str(session_socket(pid, os.environ)))
        except OSError as error:
            self._socket.close()
            raise self._gone() from error
        self._lines = self._socket.makefile("rb")

    def ask(self, wish: str) -> dict[str, Any]:
        """Ask for something; return the answer."""
        try:
            self._socket.sendall(json.dumps({"do": wish}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(self._lines.readline() or b"null") or {}
        except (OSError, ValueError) as error:
            raise self._gone() from error
        if not answer:
            raise self._gone()
        return answer

    def ask_descriptors(self, wish: str) -> list[int]:
        """Ask for descriptors; return them, they are the caller's. Raises BridgeError when the session can't."""
        try:
            self._socket.sendall(json.dumps({"do": wish}).encode() + b"\n")
            line, descriptors = messages.receive_bytes(self._socket)
            answer: dict[str, Any] = json.loads(line or b"{}")
        except (OSError, ValueError) as error:
            raise self._gone() from error
        if "error" in answer:
            raise BridgeError(answer["error"], hint=answer.get("hint", ""))
        if not answer:
            raise self._gone()
        return descriptors

    def wait_until_gone(self, timeout: float) -> bool:
        """Wait until the session's bridge has ended; False if it has not within ``timeout`` seconds."""
        self._socket.settimeout(timeout)
        try:
            while self._lines.readline():
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Let go of the socket."""
        self._lines.close()
        self._socket.close()

    def _gone(self) -> Gone:
        return Gone(f"the bridge of process {self._pid} does not answer", hint="Is it stopped (Ctrl-Z)? See `ps`.")

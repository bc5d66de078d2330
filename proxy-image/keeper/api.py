"""The API server, as the guard asks it: one kept connection, plain JSON, and errors that say what to do next.

    Unreachable     no answer: it, or the way to it, is away
    MissingRight    401, 403
    NotFound        404
    Conflict        409: what was read has changed meanwhile; read it again
    Rejected        400, 422: we may, but it won't have this; also a webhook that knows no dry runs
    ApiError        the others

Any request may be sent twice (an answer that is lost is not known to be): patches carry the resourceVersion that they
were made for, and what is deleted twice is gone.
"""

import contextlib
import json
import socket
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]

_MERGE_PATCH = "application/merge-patch+json"
_SHORT = 3.0  # seconds for an answer while there is time to ask again
_PATIENT = 15.0  # for what must be done: admission webhooks may take 10 s each


class ApiError(Exception):
    """The API server's answer is no; the text is its own words."""


class Unreachable(ApiError):
    """There is no answer."""


class MissingRight(ApiError):
    """It does not know us, or we may not."""


class NotFound(ApiError):
    """There is no such object."""


class Conflict(ApiError):
    """The object is not as it was read."""


class Rejected(ApiError):
    """We may ask for it, but it is not done."""


_ERRORS = {400: Rejected, 422: Rejected, 401: MissingRight, 403: MissingRight, 404: NotFound, 409: Conflict}


class Api:
    """The API server at ``host``, ``port``, with the account in ``folder`` (``token``, ``ca.crt``).

    ``now``: the time by its clock, as of its latest answer. ``patience``: seconds for each answer.
    """

    def __init__(self, host: str, port: int, folder: str) -> None:
        self.now = datetime.fromtimestamp(0, UTC)
        self.patience = _SHORT
        self._host = host.encode()  # a str would be looked at as IDNA, whose tables take a megabyte
        self._port = port
        self._folder = folder
        self._token = ""
        self._kept: HTTPConnection | None = None

    def be_patient(self) -> None:
        """Wait longer for each answer from now on."""
        self.patience = _PATIENT
        self.close()

    def get(self, path: str) -> Object:
        """Read an object."""
        return self._call("GET", path)

    def patch(self, path: str, patch: Object, *, dry_run: bool = False) -> Object:
        """Apply a JSON merge patch."""
        return self._call("PATCH", path + ("?dryRun=All" if dry_run else ""), patch)

    def delete(self, path: str, options: Object | None = None, *, dry_run: bool = False) -> Object:
        """Delete an object. ``options``: DeleteOptions, none for a dry run (they would hide the query's)."""
        if dry_run:
            return self._call("DELETE", f"{path}?dryRun=All")
        return self._call("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", **(options or {})})

    def close(self) -> None:
        """Forget the kept connection."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def _call(self, method: str, path: str, body: Object | None = None) -> Object:
        status, answer = self._ask(method, path, body)
        if status == 401:  # the token may have been renewed
            self._token = ""
            status, answer = self._ask(method, path, body)
        if status >= 300:
            raise _ERRORS.get(status, ApiError)(f"{answer.get('message') or 'no reason given'} ({status})")
        return answer

    def _ask(self, method: str, path: str, body: Object | None) -> tuple[int, Object]:
        """Ask, a second time where it was the kept connection that failed."""
        if self._kept is not None:
            with contextlib.suppress(Unreachable):
                return self._exchange(self._kept, method, path, body)
        return self._exchange(self._connect(), method, path, body)

    def _exchange(self, connection: HTTPConnection, method: str, path: str, body: Object | None) -> tuple[int, Object]:
        text = None if body is None else json.dumps(body)
        try:
            connection.request(method, path, text, self._headers(method))
            response = connection.getresponse()
            content = response.read()
        except (OSError, HTTPException) as error:
            self.close()
            raise Unreachable(_words(error)) from error
        self._take_time(response)
        return response.status, _json(content)

    def _headers(self, method: str) -> dict[str, str]:
        if not self._token:
            with open(f"{self._folder}/token") as file:  # noqa: PTH123  # pathlib takes 5 ms to import
                self._token = file.read().strip()
        kind = _MERGE_PATCH if method == "PATCH" else "application/json"
        return {
            "Authorization": f"Bearer {self._token}", "Accept": "application/json",
            "Content-Type": kind, "User-Agent": "bridge-keeper",
        }  # fmt: skip

    def _connect(self) -> HTTPConnection:
        connection = HTTPConnection(self._host.decode(), self._port)
        connection.auto_open = 0  # or it would connect again by itself, without TLS
        try:
            connection.sock = self._secured()
        except OSError as error:
            raise Unreachable(_words(error)) from error
        self._kept = connection
        return connection

    def _secured(self) -> ssl.SSLSocket:
        """Connect, and see that it is the API server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(f"{self._folder}/ca.crt")
        sock = socket.create_connection((self._host, self._port), _SHORT)  # type: ignore[arg-type]  # see __init__
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            secured = context.wrap_socket(sock, server_hostname=self._host)
        except BaseException:
            sock.close()
            raise
        secured.settimeout(self.patience)
        return secured

    def _take_time(self, response: HTTPResponse) -> None:
        stamp = response.getheader("Date")
        if stamp:
            with contextlib.suppress(ValueError):  # a proxy's own idea of a date
                self.now = parsedate_to_datetime(stamp)


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _json(content: bytes) -> Object:
    """Read an answer; one that is no JSON object is not the API server's, and says nothing."""
    try:
        answer = json.loads(content)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}

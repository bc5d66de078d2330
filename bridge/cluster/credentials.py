"""As whom we speak to the API server: the user entry of a kubeconfig, turned into headers and a client certificate.

    entry                                   where it comes from                        renewed
    --------------------------------------  -----------------------------------------  --------------------------
    token, username + password              the kubeconfig                             after a 401
    client-certificate(-data), client-key   the kubeconfig, or the files it names      after a 401
    tokenFile                               the file                                   read for each request
    exec                                    a program (``execplugin``)                 at its end, and after a 401
    auth-provider                           ``kubernetes.config``: OpenID Connect      after a 401
    as, as-groups, as-uid, as-user-extra    headers that impersonate                   -

After a 401 the entry itself is read anew, too: who logs in again while a session lasts, in whatever way, is seen.

A token in the kubeconfig wins over ``exec`` and ``auth-provider``; a certificate is shown besides any of them
(client-go's ``rest.Config`` does it so).
"""

from __future__ import annotations

import base64
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from bridge.cluster.authproviders import token_of_provider
from bridge.cluster.execplugin import run_plugin
from bridge.cluster.kubeconfig import file_or_data
from bridge.cluster.tls import ClientCertificate
from bridge.errors import BridgeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.cluster.kubeconfig import Access

SKEW = timedelta(seconds=60)
"""Renew that much before the end: the laptop's clock is not the one that counts."""


@dataclass(frozen=True)
class Held:
    """Credentials of this moment. ``expires``: None where only the API server knows."""

    kind: str
    authorization: str = field(default="", repr=False)
    certificate: ClientCertificate | None = None
    expires: datetime | None = None


class Credentials:
    """Gives the credentials for a request; thread-safe, so that a plugin runs once for requests in parallel.

    Also where it fails: it may have asked for a login, which should not be asked for again by each that waited.
    """

    def __init__(self, access: Access, reload: Callable[[], Access] | None = None) -> None:
        self._access = access
        self._reload = reload
        self._read = _source(access)
        self._lock = threading.Lock()
        self._held: Held | None = None
        self._failure: BridgeError | None = None
        """Why there were none at the last try."""

    def current(self) -> Held:
        """Return what to show, renewed if it is about to expire. Raise ClusterError or UsageError."""
        before = self._failure
        with self._lock:
            if self._held is None or _passing(self._held) or self._access.user.get("tokenFile"):
                self._held = self._got(before)
            return self._held

    def renewed(self, refused: Held) -> bool:
        """After a 401: try to get others than the ``refused`` ones. Tell whether there are."""
        before = self._failure
        with self._lock:
            if self._held is refused:
                self._read_anew()
                self._held = self._got(before)
            return self._held != refused

    def _got(self, before: BridgeError | None) -> Held:
        """Get them; raise what another one has failed with since ``before``, while this one waited for the lock."""
        if self._failure is not None and self._failure is not before:
            raise self._failure
        try:
            held = self._read()
        except BridgeError as error:
            self._failure = error
            raise
        self._failure = None
        return held

    def _read_anew(self) -> None:
        if self._reload is not None:
            with suppress(UsageError):  # it is being written, or gone: what there was is all there is
                self._access = self._reload()
                self._read = _source(self._access)

    def headers(self, held: Held) -> list[tuple[str, str]]:
        """Return the headers that say who asks; a list, as ``Impersonate-Group`` may be there several times."""
        own = [("Authorization", held.authorization)] if held.authorization else []
        return own + impersonation(self._access.user)


def _passing(held: Held) -> bool:
    return held.expires is not None and datetime.now(UTC) >= held.expires - SKEW


def _source(access: Access) -> Callable[[], Held]:
    """Choose how the credentials are got."""
    user = access.user
    if user.get("tokenFile") or user.get("token"):
        return lambda: _with_certificate(access, _token(access))
    if user.get("username"):
        return lambda: _with_certificate(access, _basic(access))
    if user.get("exec"):
        return lambda: _with_certificate(access, _of_plugin(access))
    if user.get("auth-provider"):
        return lambda: _with_certificate(access, _of_provider(access))
    return lambda: _with_certificate(access, Held("no credentials"))


def _token(access: Access) -> Held:
    path = access.user.get("tokenFile")
    if not path:
        return Held("token", f"Bearer {access.user['token']}")
    content = file_or_data({"tokenFile": path}, "tokenFile", access.directory) or b""
    return Held("token file", f"Bearer {content.decode().strip()}")


def _basic(access: Access) -> Held:
    pair = f"{access.user['username']}:{access.user.get('password', '')}"
    return Held("password", f"Basic {base64.b64encode(pair.encode()).decode()}")


def _of_plugin(access: Access) -> Held:
    issued = run_plugin(access)
    token = f"Bearer {issued.token}" if issued.token else ""
    return Held(issued.kind, token, issued.certificate, issued.expires)


def _of_provider(access: Access) -> Held:
    return Held(f"auth provider {access.user['auth-provider'].get('name')}", token_of_provider(access))


def _with_certificate(access: Access, held: Held) -> Held:
    """Add the kubeconfig's own certificate, where the plugin gave none."""
    chain = file_or_data(access.user, "client-certificate", access.directory)
    if chain is None or held.certificate is not None:
        return held
    key = file_or_data(access.user, "client-key", access.directory)
    if key is None:
        raise UsageError(
            f"user {access.user_name!r} of the kubeconfig has a client certificate without a key",
            hint="Add client-key or client-key-data, or get a new kubeconfig.",
        )
    kind = held.kind if held.authorization else "client certificate"
    return replace(held, kind=kind, certificate=ClientCertificate(chain, key))


def impersonation(user: dict[str, object]) -> list[tuple[str, str]]:
    """Return the headers for ``as`` and what belongs to it (authentication: user impersonation)."""
    if not user.get("as"):
        return []
    headers = [("Impersonate-User", str(user["as"]))]
    if user.get("as-uid"):
        headers.append(("Impersonate-Uid", str(user["as-uid"])))
    groups, extra = user.get("as-groups"), user.get("as-user-extra")
    headers += [("Impersonate-Group", str(group)) for group in (groups if isinstance(groups, list) else [])]
    for key, values in (extra if isinstance(extra, dict) else {}).items():
        headers += [(f"Impersonate-Extra-{quote(key, safe='')}", str(value)) for value in values]
    return headers

"""Why the API server can't be reached, in words that say what to look at. Pure: an exception in, an error out.

urllib3 wraps what the socket, OpenSSL or a proxy said; what is of use lies at the bottom of the chain of causes.
"""

from __future__ import annotations

import errno
import socket
import ssl
from typing import TYPE_CHECKING

import urllib3.exceptions as http

from bridge.cluster.errors import Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.cluster.kubeconfig import Access

FAILURES = (http.HTTPError, OSError)
"""What a request may raise when there is no answer. (ssl.SSLError, socket.timeout and the like are OSErrors.)"""

# X509_V_ERR_* of OpenSSL's x509_vfy.h
_UNKNOWN_AUTHORITY = {2, 18, 19, 20, 21}
_NOT_YET, _EXPIRED = 9, 10
_OTHER_NAME = {62, 64}
_GARBLED = ("DECODE_ERROR", "BAD_RECORD_MAC", "UNEXPECTED_MESSAGE", "DECRYPT_ERROR", "INTERNAL_ERROR")
"""In the names of alerts (RFC 8446, 6.2), and of OpenSSL's own complaints, by which nobody refuses anything: what came
was not what was sent, or a peer is in trouble."""


def unreachable(error: BaseException, access: Access, timeout: float) -> Unreachable:
    """Return the error to show for a request to ``access`` that got no answer within ``timeout`` seconds."""
    why, hint = _explain(error, access, timeout)
    return Unreachable(f"the API server {access.server} (context {access.context}) can't be reached: {why}", hint=hint)


def never_sent(error: BaseException) -> bool:
    """Tell whether the request surely did not reach the server, so that anything may be sent again."""
    return isinstance(error, http.NewConnectionError | http.ConnectTimeoutError)


def stays(error: BaseException) -> bool:
    """Tell a failure that trying again does not mend: the TLS handshake was understood, and refused."""
    refusals = [cause for cause in _chain(error) if isinstance(cause, ssl.SSLError)]
    if not refusals or isinstance(refusals[0], ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return False
    return not _is_garbled(refusals[0])


def _explain(error: BaseException, access: Access, timeout: float) -> tuple[str, str]:
    causes = list(_chain(error))
    if any(isinstance(cause, http.ProxyError) for cause in causes):
        return f"the proxy {access.proxy} on the way says {_last(causes)}", (
            "See proxy-url in the kubeconfig, HTTPS_PROXY and NO_PROXY."
        )
    for cause in causes:
        if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return "the connection was cut", "Try again: the API server, or a proxy on the way, may be restarting."
        if isinstance(cause, ssl.SSLError):
            return _tls(cause, access)
    if any(isinstance(cause, http.NameResolutionError | socket.gaierror) for cause in causes):
        return "its name is not known here (DNS)", "Is the VPN up? Is it the right --context?"
    return _of_socket(causes, timeout)


def _of_socket(causes: list[BaseException], timeout: float) -> tuple[str, str]:
    # To urllib3 a refused connection is a kind of timeout: look at what the system said first.
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return "connection refused", "Is the cluster running? Is it the right --context?"
    unroutable = {errno.ENETUNREACH, errno.EHOSTUNREACH}
    if any(isinstance(cause, OSError) and cause.errno in unroutable for cause in causes):
        return f"there is no way to it ({_last(causes)})", "Is this laptop online? Is the VPN up?"
    if any(isinstance(cause, http.TimeoutError | TimeoutError) for cause in causes):
        return f"no answer within {timeout:.0f} s", "Is the VPN up? Is a firewall in between? Is the cluster running?"
    if any(isinstance(cause, ConnectionResetError | BrokenPipeError | http.ProtocolError) for cause in causes):
        return f"the connection was cut ({_last(causes)})", "Try again: the API server may be restarting."
    return _last(causes), "Try `kubectl version` with the same kubeconfig."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Walk from an exception to what caused it; urllib3 keeps the original in various places."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = [arg for arg in (getattr(error, "original_error", None), *error.args) if isinstance(arg, BaseException)]
        error = inner[0] if inner else error.__cause__ or error.__context__


def _last(causes: list[BaseException]) -> str:
    deepest = causes[-1]
    text = (deepest.strerror if isinstance(deepest, OSError) else None) or str(deepest) or type(deepest).__name__
    return text.rstrip(".")


def _is_garbled(error: ssl.SSLError) -> bool:
    return any(name in _reason(error) for name in _GARBLED)


def _reason(error: ssl.SSLError) -> str:
    return str(getattr(error, "reason", None) or error)  # one that Python itself has raised has none


def _tls(error: ssl.SSLError, access: Access) -> tuple[str, str]:
    code = getattr(error, "verify_code", None)
    if code in _UNKNOWN_AUTHORITY:
        return "its TLS certificate is of an unknown authority", (
            "The cluster was made anew since the kubeconfig was written, or something reads the traffic in between: "
            "get a new kubeconfig (certificate-authority-data)."
        )
    if code in (_EXPIRED, _NOT_YET):
        return f"its TLS certificate {'has expired' if code == _EXPIRED else 'is not valid yet'}", (
            "Is this laptop's clock right? Else who runs the cluster must renew it."
        )
    if code in _OTHER_NAME:
        return f"its TLS certificate is for another name ({getattr(error, 'verify_message', '')})", (
            "Use a name that the certificate has, or set tls-server-name in the kubeconfig's cluster."
        )
    return _handshake(error, access)


def _handshake(error: ssl.SSLError, access: Access) -> tuple[str, str]:
    reason = _reason(error)
    said = reason.lower().replace("_", " ")
    if "WRONG_VERSION_NUMBER" in reason or "HTTP_REQUEST" in reason:
        return "it does not speak TLS", "Is the port right? Is the server's address http:// instead?"
    if _is_garbled(error):
        return f"TLS failed ({said})", "Try again: the API server, or a proxy on the way, is in trouble."
    if "ALERT" not in reason:
        return f"TLS failed ({said})", "Try `kubectl version` with the same kubeconfig."
    if _has_certificate(access):
        hint = "It does not take this client certificate: get a new kubeconfig."
    elif "CERTIFICATE" in reason:
        hint = "It asks for a client certificate, and the kubeconfig has none: get a new kubeconfig."
    else:
        hint = "Try `kubectl version` with the same kubeconfig."
    return f"it ended the TLS handshake ({said})", hint


def _has_certificate(access: Access) -> bool:
    return any(key.startswith("client-certificate") or key == "exec" for key in access.user)

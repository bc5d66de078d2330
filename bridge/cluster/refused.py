"""A 401, told so that the user knows which credentials, since when, and what to type. Pure.

The API server says only "Unauthorized". What was shown to it says the rest: a token is mostly a JWT with an end in it,
a client certificate has one always.
"""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bridge.cluster.errors import Unauthenticated

if TYPE_CHECKING:
    from bridge.cluster.calls import Call
    from bridge.cluster.credentials import Held


def unauthenticated(call: Call, held: Held, *, who: str, now: datetime) -> Unauthenticated:
    """Return the error. ``who``: user and context, as the user knows them; ``now``: the API server's time."""
    end = expiry(held)
    if end is not None and end <= now:
        why = f"it expired at {end:%Y-%m-%d %H:%M} UTC, {_ago(now, end)} ago"
    else:
        why = "it was revoked, or is for another cluster" if _shown(held) else "none were sent"
    return Unauthenticated(
        f"the API server does not accept the {held.kind} of {who}: {why}"
        if _shown(held)
        else f"the API server asks for credentials, and {who} has none",
        hint=_next(held),
        status=401,
        reason="Unauthorized",
        subject=call.subject,
    )


def _shown(held: Held) -> bool:
    return bool(held.authorization or held.certificate)


def _next(held: Held) -> str:
    if held.kind.startswith(("plugin", "auth provider")):
        return "Log in again, as for kubectl, then try `kubectl get pods`."
    if held.kind == "client certificate":
        return "Get a new kubeconfig from who runs the cluster (local clusters write one anew when they start)."
    if held.kind.startswith("token"):
        return "Get a new token (`kubectl create token` makes one for a service account), or log in again."
    return "Choose another --context, or set the user of this one."


def expiry(held: Held) -> datetime | None:
    """Return when these credentials end, as far as they tell."""
    if held.authorization.startswith("Bearer "):
        return held.expires or _end_of_jwt(held.authorization.removeprefix("Bearer "))
    if held.certificate is not None:
        return held.expires or _end_of_certificate(held.certificate.chain)
    return held.expires


def _end_of_jwt(token: str) -> datetime | None:
    """Read ``exp`` of a JSON Web Token (RFC 7519). The signature is the API server's business."""
    parts = token.split(".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return datetime.fromtimestamp(claims["exp"], UTC)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, binascii.Error):
        return None


def _end_of_certificate(chain: bytes) -> datetime | None:
    from cryptography import x509  # start-up time: only who is refused needs it

    try:
        return x509.load_pem_x509_certificate(chain).not_valid_after_utc
    except ValueError:
        return None


def _ago(now: datetime, then: datetime) -> str:
    minutes = int((now - then).total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days"

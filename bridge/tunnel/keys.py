"""A session's own keys: one pair for the client, one for the pod's sshd.

Made for each session and pinned on both sides, so that nobody else who can reach the pod can use the tunnel, and no one
in between can pose as the pod. Never written on the laptop.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True, kw_only=True)
class SessionKeys:
    """Two ed25519 pairs as OpenSSH text: private in PEM, public as one ``ssh-ed25519 AAAA...`` line."""

    client_private: str = field(repr=False)
    client_public: str
    host_private: str = field(repr=False)
    host_public: str


def make_session_keys() -> SessionKeys:
    """Make fresh keys; takes well under a millisecond."""
    client, host = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    return SessionKeys(
        client_private=_private_text(client),
        client_public=_public_text(client),
        host_private=_private_text(host),
        host_public=_public_text(host),
    )


def _private_text(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    ).decode()


def _public_text(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()

"""The TLS context for the API server: for requests and for WebSockets alike.

It trusts what kubectl would trust. So ``ssl.create_default_context`` is not used: since Python 3.13 it sets
``VERIFY_X509_STRICT``, and the authorities of many clusters lack the extensions that this asks for; and Go takes a
certificate that is named as an authority for one even where it is not self-signed (OpenSSL: partial chain).

A client key that the kubeconfig holds is never written to a disk: OpenSSL reads keys from files only, so it gets one
that exists in memory.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.cluster.kubeconfig import Tls


@dataclass(frozen=True)
class ClientCertificate:
    """A certificate chain and its key, PEM."""

    chain: bytes
    key: bytes = field(repr=False)


def client_context(tls: Tls, certificate: ClientCertificate | None) -> ssl.SSLContext:
    """Make the context. Raise UsageError when authorities or certificate can't be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        _trust(context, tls.authorities)
    if certificate is not None:
        _present(context, certificate)
    return context


def _trust(context: ssl.SSLContext, authorities: bytes | None) -> None:
    if authorities is None:
        context.load_default_certs()
        return
    try:
        context.load_verify_locations(cadata=authorities.decode("ascii", "replace"))
    except ssl.SSLError as error:
        raise UsageError(
            f"the kubeconfig's certificate-authority is no PEM certificate: {error.reason or error}",
            hint="Get a new kubeconfig.",
        ) from error


def _present(context: ssl.SSLContext, certificate: ClientCertificate) -> None:
    with _in_memory(certificate.chain + b"\n" + certificate.key) as path:
        try:
            context.load_cert_chain(path, password=_no_password)
        except ssl.SSLError as error:
            raise UsageError(
                f"the kubeconfig's client certificate and key can't be used: {error.reason or error}",
                hint="Get a new kubeconfig, or new credentials from who runs the cluster.",
            ) from error


def _no_password() -> str:
    # Without this OpenSSL would ask on the terminal, which belongs to the user's process.
    raise UsageError("the client key is encrypted, which kubectl does not take either", hint="Decrypt it.")


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """Give ``content`` a path for a moment."""
    if not hasattr(os, "memfd_create"):  # not Linux
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name
        return
    descriptor = os.memfd_create("bridge-client-certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)

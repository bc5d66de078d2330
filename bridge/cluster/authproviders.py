"""Credentials from a kubeconfig's ``auth-provider``: left to ``kubernetes.config``, which has them built in.

It renews an OpenID Connect token and writes the new one to the kubeconfig, as kubectl does. Its import takes 0.26 s,
which only who has such an entry pays.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bridge.errors import ClusterError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.cluster.kubeconfig import Access

PROVIDERS = ("oidc", "gcp")


def token_of_provider(access: Access) -> str:
    """Return the ``Authorization`` header's value. Raise ClusterError or UsageError."""
    name = access.user["auth-provider"].get("name")
    if name not in PROVIDERS:
        raise UsageError(
            f"user {access.user_name!r} of the kubeconfig has the auth-provider {name!r}, which is gone since 1.26",
            hint="Use its exec plugin; for Azure: kubelogin convert-kubeconfig.",
        )
    return _token(access, str(name))


def _token(access: Access, name: str) -> str:
    from kubernetes.client import Configuration
    from kubernetes.config import load_kube_config

    load: Callable[..., None] = load_kube_config  # untyped there
    configuration = Configuration()
    try:
        load(
            config_file=os.pathsep.join(map(str, access.files)),
            context=access.context,
            client_configuration=configuration,
        )
    except Exception as error:  # what oauthlib, requests and it may raise is open
        raise ClusterError(
            f"the auth-provider {name} gave no token: {error}", hint="Log in again, as for kubectl."
        ) from error
    token = configuration.api_key.get("BearerToken")
    if not token:
        raise ClusterError(f"the auth-provider {name} gave no token", hint="Log in again, as for kubectl.")
    return str(token)

"""What the session's tests share with those of the tunnel and of the cluster: sshd, the loop, the API server."""

from __future__ import annotations

from tests.component.cluster.conftest import _no_proxy, api, authority, client, own  # noqa: F401  # fixtures
from tests.component.tunnel.conftest import run, sshd  # noqa: F401  # fixtures

"""Where a WebSocket to a pod is opened: url, credentials of this moment, TLS, proxy.

Asked for anew for each stream: a token may have been renewed since the last one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from urllib3 import HTTPHeaderDict

from bridge import __version__
from bridge.plan.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.cluster.client import Cluster


def portforward_endpoint(cluster: Cluster, pod: str, port: int) -> Endpoint:
    """Return the endpoint of one port of a pod."""
    return pod_endpoint(cluster, pod, "portforward", [("ports", str(port))])


def pod_endpoint(cluster: Cluster, pod: str, subresource: str, query: Sequence[tuple[str, str]]) -> Endpoint:
    """Return the endpoint of a subresource of a pod that speaks WebSocket."""
    transport = cluster.transport
    access = transport.access
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{pod}/{subresource}?{urlencode(query)}"
    return Endpoint(
        url="ws" + access.server.removeprefix("http") + path,
        # Impersonate-Group may be there several times: its items() yields each.
        headers=HTTPHeaderDict([*transport.headers(), ("User-Agent", f"bridge/{__version__}")]),
        ssl=transport.context(),
        server_hostname=access.tls.server_name,
        proxy=access.proxy,
    )

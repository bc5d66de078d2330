"""Where a stream is opened: one port-forward of one pod, spelled out for a WebSocket client.

``cluster`` makes it from the kubeconfig (it knows credentials and proxies), ``tunnel`` opens it (it knows WebSockets),
and neither imports the other. A value: nothing here does I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ssl import SSLContext


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One port of one pod, behind the API server.

    ``url`` is ``wss://HOST/api/v1/namespaces/NS/pods/POD/portforward?ports=PORT`` (or ``ws://``). ``headers`` hold
    the credentials, so they are left out of ``repr``. ``server_hostname`` is set when the certificate is for another
    name than the url's host (kubeconfig's ``tls-server-name``). ``proxy`` is an ``http://``, ``https://`` or
    ``socks5://`` url.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ssl: SSLContext | None = None
    server_hostname: str | None = None
    proxy: str | None = None

    @property
    def port(self) -> int:
        """The pod's port, 0 where the url names none."""
        return int(parse_qs(urlsplit(self.url).query).get("ports", ["0"])[0])

"""The harness's own small client of the API server: a certificate, JSON, and watches to wait on."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from .system import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Api:
    """Requests as the one of a kubeconfig that `certs` wrote. Objects are plain JSON."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        address = urlsplit(cluster["server"])
        self.host, self.port = address.hostname or "", address.port or 443
        self.tls = ssl.create_default_context(cadata=_decoded(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile() as identity:  # the ssl module takes a file only
            identity.write(_decoded(user["client-certificate-data"]) + _decoded(user["client-key-data"]))
            identity.flush()
            self.tls.load_cert_chain(identity.name)

    def request(
        self, method: str, path: str, body: object = None, *, kind: str = "application/json", timeout: float = 10
    ) -> tuple[int, bytes]:
        """One request; status and body. An `OSError` if nobody answers."""
        connection = http.client.HTTPSConnection(self.host, self.port, context=self.tls, timeout=timeout)
        try:
            content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, content, {"Content-Type": kind, "Accept": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """An object or a list; None if there is none."""
        status, body = self.request("GET", path)
        if status == http.HTTPStatus.NOT_FOUND:
            return None
        if status >= http.HTTPStatus.BAD_REQUEST:
            raise HarnessError(f"GET {path}: {status} {body.decode(errors='replace')[:300]}")
        return json.loads(body)

    def ready(self) -> bool:
        """Whether the API server says that it is."""
        try:
            status, _ = self.request("GET", "/readyz", timeout=2)
        except (OSError, http.client.HTTPException):
            return False
        return status == http.HTTPStatus.OK

    def forget_node(self, name: str) -> None:
        """Delete a node that is no more, if it is known, and its pods, which nobody is left to end."""
        if self.request("DELETE", f"/api/v1/nodes/{name}")[0] == http.HTTPStatus.NOT_FOUND:
            return
        for pod in self.get(f"/api/v1/pods?fieldSelector=spec.nodeName%3D{name}")["items"]:
            about = pod["metadata"]
            self.request("DELETE", f"/api/v1/namespaces/{about['namespace']}/pods/{about['name']}?gracePeriodSeconds=0")

    def wait_for(self, what: str, collection: str, name: str, so: Callable[[Any], bool], *, timeout: float) -> None:
        """Wait for an object of a collection to be so, by a watch."""
        deadline = time.monotonic() + timeout
        while (remaining := deadline - time.monotonic()) > 0:
            if any(so(event["object"]) for event in self._watch(collection, name, remaining)):
                return
        raise HarnessError(f"{what}: not within {timeout:g} s")

    def _watch(self, collection: str, name: str, timeout: float) -> Iterator[Any]:
        """Events of one object, what it is now first, until the server ends the watch."""
        selection = {"watch": "1", "fieldSelector": f"metadata.name={name}", "timeoutSeconds": str(int(timeout) + 1)}
        connection = http.client.HTTPSConnection(self.host, self.port, context=self.tls, timeout=timeout)
        try:
            connection.request("GET", f"{collection}?{urlencode(selection)}")
            answer = connection.getresponse()
            while answer.status == http.HTTPStatus.OK and (line := answer.readline()):
                event = json.loads(line)
                if event["type"] in {"ADDED", "MODIFIED"}:
                    yield event
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text)


def condition(kind: str) -> Callable[[Any], bool]:
    """Whether an object has this condition: True."""

    def holds(thing: Any) -> bool:
        conditions = thing.get("status", {}).get("conditions", [])
        return any(entry["type"] == kind and entry["status"] == "True" for entry in conditions)

    return holds

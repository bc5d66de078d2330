"""An API server for each test, and authorities for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.cluster import Cluster, connect

from .apiserver import ApiServer, Certificate, certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def authority() -> Certificate:
    return certificate("the cluster's authority")


@pytest.fixture(scope="session")
def own(authority: Certificate) -> Certificate:
    return certificate("kube-apiserver", by=authority, names=["127.0.0.1", "localhost", "kubernetes"])


@pytest.fixture
def api(authority: Certificate, own: Certificate) -> Iterator[ApiServer]:
    with ApiServer(own, authority) as server:
        yield server


@pytest.fixture
def client(api: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    """Timeout: 2 s."""
    with connect(kubeconfig=api.kubeconfig(tmp_path), timeout=2) as found:
        yield found

"""What the session's tests share with those of the tunnel and of the cluster: sshd, the loop, the API server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.cluster import connect
from bridge.session import traffic
from tests.component.cluster.conftest import _no_proxy, api, authority, own  # noqa: F401  # fixtures
from tests.component.session.world import World
from tests.component.tunnel.conftest import run, sshd  # noqa: F401  # fixtures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge.cluster import Cluster
    from tests.component.cluster.apiserver import ApiServer


@pytest.fixture(autouse=True)
def _nodes_follow_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "SETTLE", 0.0)
    monkeypatch.setattr(traffic, "SEEN_WITHIN", 1.0)


@pytest.fixture
def client(api: ApiServer, tmp_path: Path) -> Iterator[Cluster]:  # noqa: F811
    """With a session's own time limits: what they are for is tested with the cluster's package, and not by a machine
    that is so busy that an answer takes two seconds.
    """
    with connect(kubeconfig=api.kubeconfig(tmp_path)) as found:
        yield found


@pytest.fixture
def world(api: ApiServer, client: Cluster, tmp_path: Path) -> World:  # noqa: F811
    return World(api, client, tmp_path / "ours")

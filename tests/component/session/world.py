"""A target behind a Service in `Kube`, and a swap of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from bridge.plan.target import TargetSpec
from bridge.session.intend import Credentials, Plan, Situation, intend
from bridge.session.request import RunRequest
from bridge.session.signals import Signals
from bridge.session.store import Store
from bridge.session.swap import Means, Swap
from bridge.tunnel.keys import SessionKeys
from bridge.wire.lease import micro_time
from bridge.wire.marks import SESSION_LABEL
from tests.component.session.kube import DEPLOYMENTS, LEASES, PODS, SERVICES, Kube, dumped
from tests.unit.plan.worlds import deployment, service
from tests.unit.session.telling import Told

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.cluster import Cluster
    from tests.component.cluster.apiserver import ApiServer

WEB, SERVICE = f"{DEPLOYMENTS}/web", f"{SERVICES}/web"
LEASE = f"{LEASES}/bridge-deployment-web"
S = "abcd2345"
KEYS = SessionKeys(client_public="a", client_private="b", host_public="c", host_private="d")
CREDENTIALS = Credentials(host_key="d", authorized_keys="a", token="t")


class World:
    """A Deployment of two replicas behind a Service, and a swap of it that is intended."""

    def __init__(self, api: ApiServer, client: Cluster, folder: Path, **request: Any) -> None:
        self.kube, self.api, self.cluster, self.folder = Kube(), api, client, folder
        api.answers = [self.kube]
        self.kube.put(DEPLOYMENTS, {**deployment(), "metadata": {"name": "web", "namespace": "ns"}})
        self.kube.put(SERVICES, service("web", {"port": 80, "targetPort": 8080}))
        self.before = self.as_is()
        self.told = Told()
        self.signals = Signals()
        self.store = Store(folder / "sessions")
        self.request = RunRequest(command=("app",), target=TargetSpec.parse("web"), image="i", timeout=5, **request)
        self.situation = self.situated()

    def situated(self, **changes: Any) -> Situation:
        fields = {
            "namespace": "ns",
            "workload": {**self.kube.objects[WEB], "kind": "Deployment"},
            "services": (self.kube.objects[SERVICE],),
            "now": datetime.now(UTC),
            "holder": "ann@laptop",
        }
        return Situation(**(fields | changes))

    def plan(self, session: str = S) -> Plan:
        return intend(self.request, self.situation, session=session, credentials=CREDENTIALS)

    def means(self) -> Means:
        return Means(
            request=self.request,
            cluster=self.cluster,
            narrator=self.told,
            signals=self.signals,
            store=self.store,
        )

    def swap(self, session: str = S) -> Swap:
        return Swap(self.means(), self.plan(session), KEYS, "t")

    @property
    def proxy(self) -> str:
        return f"bridge-web-{S}-0"

    def whole(self, swap: Swap) -> None:
        """All of the way in."""
        swap.begin()
        swap.take(self.proxy)

    def dies(self) -> None:
        """No heartbeat of the session on the Lease comes any more, and nobody answers the probe of its pod."""
        long_ago = micro_time(datetime.now(UTC) - timedelta(seconds=90))
        self.kube.change(LEASE, {"spec": {"renewTime": long_ago}})
        unready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
        self.kube.change(f"{PODS}/{self.proxy}", unready)

    # ---- what is there ----------------------------------------------------------------------------------------------
    def as_is(self) -> tuple[Any, ...]:
        """What a session may change of what it has not made."""
        web, there = self.kube.objects[WEB], self.kube.objects[SERVICE]
        pods = sorted(own for own in self.kube.objects if own.startswith(PODS))
        return web["spec"], web["metadata"].get("annotations") or {}, there["spec"]["selector"], pods

    def is_as_before(self) -> None:
        assert self.as_is() == self.before, dumped(self.kube)
        assert self.kube.of_session() == [], dumped(self.kube)
        assert LEASE not in self.kube.objects
        assert self.store.sessions() == []

    def replicas(self) -> int:
        return int(self.kube.objects[WEB]["spec"]["replicas"])

    def selected(self) -> str | None:
        return self.kube.objects[SERVICE]["spec"]["selector"].get(SESSION_LABEL)

"""Intent: from what was asked and what is there to what will be done. Pure; ids, keys and time come in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.plan.manifest import Proxy, ProxySettings, build_bare_proxy, build_proxy, build_secret
from bridge.plan.names import secret_name
from bridge.plan.objects import Object, name_of
from bridge.plan.placement import pod_template
from bridge.plan.ports import InternalPorts, PortMap, internal_ports, port_maps, port_notes
from bridge.plan.target import choose_container, describe
from bridge.plan.undo import new_record
from bridge.wire.undo import ObjectName, UndoRecord

if TYPE_CHECKING:
    from bridge.plan.access import Right
    from bridge.session.request import RunRequest


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is there. ``now``: RFC 3339, by the API server's clock; ``holder``: ``user@laptop``.

    ``lacking``: optional rights that the user does not have. ``replacing``: the dead session that holds the target.
    """

    namespace: str
    workload: Object | None
    services: tuple[Object, ...]
    now: str
    holder: str
    lacking: tuple[Right, ...] = ()
    replacing: str = ""

    def may(self, verb: str, resource: str) -> bool:
        """Tell whether an optional right is there."""
        return not any((right.verb, right.resource) == (verb, resource) for right in self.lacking)


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What the two ends of the tunnel prove themselves with, as the pod gets it."""

    host_key: str
    authorized_keys: str
    token: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a session will do: the objects to create, the ports to take over, the record that undoes it."""

    session: str
    namespace: str
    target: str
    container: str
    ports: tuple[PortMap, ...]
    internal: InternalPorts
    secret: Object
    proxy: Proxy
    record: UndoRecord | None
    replacing: str
    notes: tuple[str, ...]


def intend(
    request: RunRequest,
    situation: Situation,
    *,
    session: str,
    credentials: Credentials,
    keep_resources: bool = False,
) -> Plan:
    """Decide everything that is decided before anything changes. Raise TargetError or UsageError.

    ``keep_resources``: the proxy asks of its node what the original asks, not less (a LimitRange wants it so).
    """
    workload = situation.workload
    template = pod_template(workload) if workload else {"spec": {"containers": []}}
    container = ""
    if workload:
        container = choose_container(template, request.target.container if request.target else None)
    ports = port_maps(template, container, situation.services, request.exposes)
    settings = ProxySettings(
        session=session,
        namespace=situation.namespace,
        image=request.image,
        holder=situation.holder,
        internal=internal_ports(template, ports),
    )
    if workload is None:
        proxy = build_bare_proxy(settings, ports)
    else:
        proxy = build_proxy(
            workload,
            settings,
            container=container,
            ports=ports,
            run_init_containers=request.run_init_containers,
            keep_resources=keep_resources,
        )
    return Plan(
        session=session,
        namespace=situation.namespace,
        target=describe(workload) if workload else "",
        container=container or "bridge",
        ports=ports,
        internal=settings.internal,
        secret=build_secret(
            settings,
            host_key=credentials.host_key,
            authorized_keys=credentials.authorized_keys,
            token=credentials.token,
            target=describe(workload) if workload else "",
        ),
        proxy=proxy,
        record=_record(workload, proxy, settings, situation) if workload else None,
        replacing=situation.replacing,
        notes=(*port_notes(template, container, situation.services), *proxy.notes) if workload else proxy.notes,
    )


def _record(workload: Object, proxy: Proxy, settings: ProxySettings, situation: Situation) -> UndoRecord:
    objects = (
        ObjectName("Secret", secret_name(settings.session)),
        ObjectName("ReplicaSet", name_of(proxy.replica_set)),
    )
    return new_record(
        workload,
        session=settings.session,
        holder=situation.holder,
        since=situation.now,
        image=settings.image,
        objects=objects,
    )

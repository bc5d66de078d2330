"""Intent: from what was asked and what is there to what will be done. Pure; ids, keys and time come in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.errors import TargetError
from bridge.plan.lease import build_lease, lease_name
from bridge.plan.manifest import Proxy, ProxySettings, build_bare_proxy, build_proxy, build_secret
from bridge.plan.names import secret_name
from bridge.plan.objects import Object, labels_of, name_of
from bridge.plan.placement import pod_template
from bridge.plan.ports import InternalPorts, PortMap, internal_ports, port_maps, port_notes, selecting_services
from bridge.plan.protection import Guard, Protection, build_guard, choose_protection, guard_token_name
from bridge.plan.services import Narrowing, choose_services
from bridge.plan.target import choose_container, describe
from bridge.plan.undo import new_record
from bridge.wire.orders import Orders
from bridge.wire.undo import ObjectName, UndoRecord

if TYPE_CHECKING:
    from datetime import datetime

    from bridge.plan.access import Right
    from bridge.session.request import RunRequest


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is there. ``now``: the API server's time; ``holder``: ``user@laptop``.

    ``pods``: those that Services of the target select; ``workloads``: those of the namespace, as far as they may be
    listed. ``lacking``: optional rights that the user does not have.
    ``replacing``: the session that holds the target and may be replaced. ``prepared``: whether an administrator has
    prepared an account for keepers.
    """

    namespace: str
    workload: Object | None
    services: tuple[Object, ...]
    now: datetime
    holder: str
    pods: tuple[Object, ...] = ()
    workloads: tuple[Object, ...] = ()
    lacking: tuple[Right, ...] = ()
    replacing: str = ""
    prepared: bool = False

    def may(self, verb: str, resource: str) -> bool:
        """Tell whether an optional right is there."""
        return not any((right.verb, right.resource) == (verb, resource) for right in self.lacking)

    @property
    def may_create_roles(self) -> bool:
        """Tell whether the keeper can be given rights of its own."""
        return all(self.may("create", resource) for resource in ("serviceaccounts", "roles", "rolebindings"))

    @property
    def may_use_leases(self) -> bool:
        """Tell whether the target can be claimed by a Lease."""
        return all(self.may(verb, "leases") for verb in ("create", "get", "patch", "delete"))


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
    services: tuple[str, ...]
    """The Services that are narrowed to the proxy pod."""
    unnarrowed: tuple[str, ...]
    """Those that select it, too, and stay as they are."""
    internal: InternalPorts
    secret: Object
    lease: Object | None
    guard: Guard | None
    protection: Protection
    proxy: Proxy
    record: UndoRecord | None
    replacing: str
    notes: tuple[str, ...]
    template: Object | None = None
    """The target's pod template, of which the proxy pod was made."""


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
    narrowing = _narrowing(request, situation)
    protection = choose_protection(may_create_roles=situation.may_create_roles, prepared=situation.prepared)
    guarded = protection is not Protection.WATCHDOG
    settings = ProxySettings(
        session=session,
        namespace=situation.namespace,
        image=request.image,
        holder=situation.holder,
        internal=internal_ports(template, ports),
        guard=guard_token_name(session) if guarded else "",
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
    target = describe(workload) if workload else ""
    record = _record(request, situation, settings, proxy, narrowing)
    lease = _lease(request, situation, settings, protection, record)
    orders = Orders(
        session=session,
        namespace=situation.namespace,
        grace=request.grace,
        root=secret_name(session),
        lease=name_of(lease) if lease else "",
        record=record,
    )
    return Plan(
        session=session,
        namespace=situation.namespace,
        target=target,
        container=container or "bridge",
        ports=ports,
        services=narrowing.services,
        unnarrowed=_unnarrowed(situation, template, narrowing),
        internal=settings.internal,
        secret=build_secret(
            settings,
            host_key=credentials.host_key,
            authorized_keys=credentials.authorized_keys,
            token=credentials.token,
            target=target,
            orders=orders.render() if guarded else "",
        ),
        lease=lease,
        guard=_guard(situation, orders, target, protection) if guarded else None,
        protection=protection,
        proxy=proxy,
        record=record,
        replacing=situation.replacing,
        notes=(*_port_notes(situation, template, container), *narrowing.notes, *proxy.notes),
        template=template if workload else None,
    )


def _port_notes(situation: Situation, template: Object, container: str) -> tuple[str, ...]:
    return port_notes(template, container, situation.services) if situation.workload else ()


def _narrowing(request: RunRequest, situation: Situation) -> Narrowing:
    """Choose the Services that will send to the proxy pod alone. TargetError where none can, but one must."""
    workload = situation.workload
    if workload is None:
        return Narrowing((), ())
    services, notes = list(situation.services), list[str]()
    if request.left != 0:
        headless = selecting_services(filter(_is_headless, services), labels_of(pod_template(workload)))
        services = [service for service in services if not _is_headless(service)]
        notes = [
            f"service/{name_of(service)} is headless: it is not narrowed, or the names of the pods that stay would go"
            for service in headless
        ]
    found = choose_services(workload, services, situation.pods, situation.workloads)
    narrowing = Narrowing(found.services, (*found.notes, *notes))
    if narrowing.services and not (situation.may("patch", "services") and situation.may("get", "services")):
        why = "you may not get and patch services: the original shares the traffic until it has ended"
        narrowing = Narrowing((), (*narrowing.notes, why))
    if request.left != 0 and narrowing.notes and not narrowing.services:
        option = "--keep-original" if request.keep_original else "--fallback"
        raise TargetError(
            f"{option} needs a Service that sends to the proxy pod alone, and there is none: {narrowing.notes[-1]}",
            hint=f"Leave {option} out: then the original ends while the session lasts.",
        )
    return narrowing


def _unnarrowed(situation: Situation, template: Object, narrowing: Narrowing) -> tuple[str, ...]:
    selecting = map(name_of, selecting_services(situation.services, labels_of(template)))
    return tuple(name for name in selecting if name not in narrowing.services)


def _is_headless(service: Object) -> bool:
    return bool(service["spec"].get("clusterIP") == "None")


def _lease(
    request: RunRequest,
    situation: Situation,
    settings: ProxySettings,
    protection: Protection,
    record: UndoRecord | None,
) -> Object | None:
    workload = situation.workload
    if workload is None or record is None or not situation.may_use_leases:
        return None
    return build_lease(
        name=lease_name(workload["kind"], name_of(workload)),
        namespace=situation.namespace,
        session=settings.session,
        holder=situation.holder,
        target=describe(workload),
        grace=request.grace,
        now=situation.now,
        takeover=request.allow_takeover,
        protection=protection.value,
        record=record.render(),
    )


def _record(
    request: RunRequest,
    situation: Situation,
    settings: ProxySettings,
    proxy: Proxy,
    narrowing: Narrowing,
) -> UndoRecord | None:
    workload = situation.workload
    if workload is None:
        return None
    objects = [
        ObjectName("Secret", secret_name(settings.session)),
        ObjectName("ReplicaSet", name_of(proxy.replica_set)),
    ]
    if situation.may_use_leases:
        objects.append(ObjectName("Lease", lease_name(workload["kind"], name_of(workload))))
    return new_record(
        workload,
        session=settings.session,
        holder=situation.holder,
        since=situation.now.isoformat(timespec="seconds"),
        image=settings.image,
        objects=tuple(objects),
        services=narrowing.services,
        left=request.left,
        grace=request.grace,
        takeover=request.allow_takeover,
    )


def _guard(situation: Situation, orders: Orders, target: str, protection: Protection) -> Guard:
    return build_guard(
        session=orders.session,
        namespace=orders.namespace,
        holder=situation.holder,
        target=target,
        record=orders.record,
        root=orders.root,
        lease=orders.lease,
        prepared=protection is Protection.PREPARED,
    )

"""Ports: what comes in through the proxy pod, and to which port of the laptop.

    EXPOSE = [LAPTOP ":"] POD          both 1..65535; one number stands for both

Taken without being asked for are the TCP ports at which the cluster can know the chosen container:

    where a port is named                       taken as
    its own containerPorts                      that port
    a Service that selects the template's pods  its targetPort: a number, a container port's name, or (absent) its port
    --expose                                    as said: it adds, and it wins over the two above

Not taken, unless exposed: a port that another container of the pod declares (that one still runs, and answers it
itself). Left out with a note: UDP and SCTP, which SSH does not forward.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from bridge.errors import UsageError
from bridge.plan.objects import Object, labels_of, name_of, running_containers

FIRST_INTERNAL_PORT = 52022
FIRST_ORDINARY_PORT = 1024  # ports below it need a capability, or the sysctl ip_unprivileged_port_start
_EXPOSE = re.compile(r"(?:([0-9]{1,5}):)?([0-9]{1,5})")


@dataclass(frozen=True)
class Expose:
    """A port of the pod, and the port of the laptop that answers it."""

    pod: int
    laptop: int

    def __post_init__(self) -> None:
        for port in (self.pod, self.laptop):
            if not 1 <= port <= 65535:
                raise UsageError(f"{port} is no port", hint="Ports are 1 to 65535.")

    @classmethod
    def parse(cls, text: str) -> "Expose":
        """Read ``[LAPTOP:]POD``. Raise UsageError."""
        match = _EXPOSE.fullmatch(text)
        if not match:
            raise UsageError(
                f"{text!r} can't be exposed",
                hint="Write --expose [LAPTOP:]POD: with 8000:9001, what the cluster sends to 9001 goes to 8000 here.",
            )
        pod = int(match[2])
        return cls(pod=pod, laptop=int(match[1] or pod))

    def __str__(self) -> str:
        return str(self.pod) if self.pod == self.laptop else f"{self.laptop}:{self.pod}"


@dataclass(frozen=True)
class PortMap:
    """One inbound port: ``pod`` is listened on in the proxy pod, ``laptop`` is dialled on the laptop.

    ``name`` is the port's name in the cluster (possibly empty), ``origin`` says who asked for it: ``container``,
    ``service/NAME`` or ``--expose``.
    """

    pod: int
    laptop: int
    name: str
    origin: str

    def __str__(self) -> str:
        return str(self.pod) if self.pod == self.laptop else f"{self.pod} -> {self.laptop}"


@dataclass(frozen=True)
class InternalPorts:
    """The ports that the proxy pod needs for itself: two on its loopback, and the readiness probe's."""

    ssh: int = FIRST_INTERNAL_PORT
    keeper: int = FIRST_INTERNAL_PORT + 1
    probe: int = FIRST_INTERNAL_PORT + 2


def selecting_services(services: Iterable[Object], labels: dict[str, str]) -> tuple[Object, ...]:
    """Return the Services whose selector selects pods with ``labels``.

    A Service without selector has its endpoints from elsewhere; an ExternalName is only a DNS alias.
    """
    return tuple(service for service in services if _selects(service.get("spec") or {}, labels))


def _selects(spec: Object, labels: dict[str, str]) -> bool:
    selector: dict[str, str] = spec.get("selector") or {}
    return spec.get("type") != "ExternalName" and bool(selector) and selector.items() <= labels.items()


def port_maps(
    template: Object, container: str, services: Iterable[Object], exposes: Sequence[Expose] = ()
) -> tuple[PortMap, ...]:
    """Return the inbound ports, each port of the pod once. Raise UsageError for two exposes of one port."""
    others = _declared(template, lambda name: name != container) - _declared(template, lambda name: name == container)
    maps: dict[int, PortMap] = {}
    for found in _found(template, container, services):
        if found.protocol == "TCP" and found.owner in ("", container) and found.port not in others:
            maps.setdefault(found.port, PortMap(found.port, found.port, found.name, found.origin))
    return tuple((maps | _exposed(exposes, maps)).values())


def _exposed(exposes: Sequence[Expose], maps: dict[int, PortMap]) -> dict[int, PortMap]:
    exposed: dict[int, PortMap] = {}
    for expose in exposes:
        earlier = exposed.get(expose.pod)
        if earlier and earlier.laptop != expose.laptop:
            raise UsageError(
                f"--expose gives the pod's port {expose.pod} to both {earlier.laptop} and {expose.laptop} here",
                hint="Keep one of them.",
            )
        name = maps[expose.pod].name if expose.pod in maps else ""
        exposed[expose.pod] = PortMap(expose.pod, expose.laptop, name, "--expose")
    return exposed


def port_notes(template: Object, container: str, services: Iterable[Object]) -> tuple[str, ...]:
    """Say which ports of the target stay without an answer, one line each."""
    lines = [
        f"{found.protocol} port {found.port} ({found.origin}) is not taken over: only TCP reaches the laptop"
        for found in _found(template, container, services)
        if found.protocol != "TCP" and found.owner in ("", container)
    ]
    return tuple(dict.fromkeys(lines))


def internal_ports(template: Object, maps: Iterable[PortMap]) -> InternalPorts:
    """Choose the proxy pod's own ports, clear of every port that its containers declare or bridge listens on."""
    taken = _declared(template, lambda _: True) | {port_map.pod for port_map in maps}
    free = (port for port in range(FIRST_INTERNAL_PORT, 65536) if port not in taken)
    return InternalPorts(ssh=next(free), keeper=next(free), probe=next(free))


@dataclass(frozen=True)
class _Found:
    """A port that somebody names. ``owner``: the container that declares it, empty where none does."""

    port: int
    protocol: str
    name: str
    origin: str
    owner: str


def _found(template: Object, container: str, services: Iterable[Object]) -> Iterator[_Found]:
    for port in _ports_of(template, container):
        yield _Found(port["containerPort"], _protocol(port), port.get("name") or "", "container", container)
    for service in selecting_services(services, labels_of(template)):
        for port in service["spec"].get("ports") or []:
            yield from _target(template, service, port)


def _target(template: Object, service: Object, port: Object) -> Iterator[_Found]:
    """Resolve a Service's targetPort as the endpoints controller does: a name is looked up with its protocol."""
    target = port.get("targetPort") or port["port"]
    origin, protocol = f"service/{name_of(service)}", _protocol(port)
    if isinstance(target, int):
        yield _Found(target, protocol, port.get("name") or "", origin, "")
        return
    for owner in running_containers(template):
        for declared in owner.get("ports") or []:
            if declared.get("name") == target and _protocol(declared) == protocol:
                yield _Found(declared["containerPort"], protocol, target, origin, owner["name"])
                return


def _ports_of(template: Object, container: str) -> list[Object]:
    return [
        port for item in running_containers(template) if item["name"] == container for port in item.get("ports") or []
    ]


def _declared(template: Object, of: Callable[[str], bool]) -> set[int]:
    return {
        port["containerPort"]
        for item in running_containers(template)
        if of(item["name"])
        for port in item.get("ports") or []
        if _protocol(port) == "TCP"
    }


def _protocol(port: Object) -> str:
    return port.get("protocol") or "TCP"

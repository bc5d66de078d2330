"""The target: which workload is swapped, and which of its containers.

    TARGET    = [KIND "/"] NAME [":" CONTAINER]
    KIND      = deployment | statefulset | replicaset     (and kubectl's short forms: deploy, sts, rs, plurals, .apps)
    NAME      a DNS subdomain (RFC 1123), CONTAINER a DNS label

Pure: the workloads of the namespace come in as JSON, the chosen one goes out. The messages name what is there,
because most wrong targets are slips of the keys or a forgotten kind.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from bridge.errors import TargetError, UsageError
from bridge.plan.names import near_names, one_of
from bridge.plan.objects import (
    Object,
    annotations_of,
    containers_of,
    controller_of,
    init_containers_of,
    is_ending,
    is_sidecar,
    labels_of,
    name_of,
)
from bridge.wire.marks import SESSION_LABEL, UNDO_ANNOTATION

DEFAULT_CONTAINER_ANNOTATION = "kubectl.kubernetes.io/default-container"

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_CONTAINER = re.compile(_LABEL)


API_GROUP = "apps"
API_VERSION = "apps/v1"


class WorkloadKind(Enum):
    """The kinds that can be swapped: they have ``spec.replicas`` and ``spec.template``."""

    DEPLOYMENT = ("Deployment", "deployments", ("deploy",))
    STATEFUL_SET = ("StatefulSet", "statefulsets", ("sts",))
    REPLICA_SET = ("ReplicaSet", "replicasets", ("rs",))

    def __init__(self, kind: str, plural: str, short: tuple[str, ...]) -> None:
        self.kind = kind
        self.plural = plural
        self.short = short

    def __str__(self) -> str:
        return self.kind.lower()

    def path(self, namespace: str, name: str | None = None) -> str:
        """Return the API path of the kind's collection in ``namespace``, or of one object in it."""
        collection = f"/apis/{API_VERSION}/namespaces/{namespace}/{self.plural}"
        return f"{collection}/{name}" if name else collection

    def stamp(self, item: Object) -> Object:
        """Return ``item`` with its kind: the API server leaves it out of the items of a list."""
        return {**item, "apiVersion": API_VERSION, "kind": self.kind}

    @classmethod
    def of(cls, item: Object) -> "WorkloadKind":
        """Return the kind of an object that has its ``kind``."""
        return next(kind for kind in cls if kind.kind == item["kind"])

    @classmethod
    def parse(cls, text: str) -> "WorkloadKind":
        """Read a kind as kubectl takes it. Raise TargetError for one that can't be swapped, UsageError for none."""
        word = text.lower().removesuffix(".apps").removesuffix(".v1")
        for kind in cls:
            if word in (str(kind), kind.plural, *kind.short):
                return kind
        if word in _UNSWAPPABLE:
            what, why = _UNSWAPPABLE[word]
            raise TargetError(f"a {what} can't be swapped: {why[0]}", hint=why[1])
        words = [word for kind in cls for word in (str(kind), kind.plural, *kind.short)]
        raise UsageError(
            f"there is no kind {text!r}", hint=f"Use {one_of(near_names(word, words) or [str(k) for k in cls])}."
        )


_SERVICE = (
    "it only sends traffic on; what answers is a workload behind it",
    "Name the Deployment or StatefulSet that it selects: `kubectl get endpointslices` shows its pods.",
)
_NO_REPLICAS = ("it has no replicas to take out", "Run `bridge run` without --swap beside it, or swap a Deployment.")
_POD = (
    "nothing would bring it back after the session",
    "Name the Deployment, StatefulSet or ReplicaSet that owns it (ownerReferences in `kubectl get pod NAME -o yaml`).",
)
_JOB = ("it runs to its end and serves no traffic", "Run `bridge run` without --swap to join the cluster.")
_UNSWAPPABLE = {
    word: (what, why)
    for what, words, why in (
        ("DaemonSet", "daemonset daemonsets ds", _NO_REPLICAS),
        ("Job", "job jobs job.batch", _JOB),
        ("CronJob", "cronjob cronjobs cj cronjob.batch", _JOB),
        ("Pod", "pod pods po", _POD),
        ("Service", "service services svc", _SERVICE),
    )
    for word in words.split()
}


@dataclass(frozen=True)
class TargetSpec:
    """A target as the user wrote it: ``[KIND/]NAME[:CONTAINER]``."""

    name: str
    kind: WorkloadKind | None = None
    container: str | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.name) > 253:
            raise UsageError(f"{self.name!r} can't be the name of a workload", hint=_GRAMMAR)
        if self.container is not None and not _CONTAINER.fullmatch(self.container):
            raise UsageError(f"{self.container!r} can't be the name of a container", hint=_GRAMMAR)

    @classmethod
    def parse(cls, text: str) -> "TargetSpec":
        """Read ``[KIND/]NAME[:CONTAINER]``. Raise UsageError, or TargetError for a kind that can't be swapped."""
        workload, colon, container = text.partition(":")
        kind, slash, name = workload.rpartition("/")
        return cls(
            name=name,
            kind=WorkloadKind.parse(kind) if slash else None,
            container=container if colon else None,
        )

    def means(self, target: str, session: str) -> bool:
        """Tell whether the words mean a session: its target (``deployment/web``, possibly empty), or its id."""
        kind, _, name = target.partition("/")
        return self.name in (name, session) and self.kind in (None, WorkloadKind.parse(kind) if kind else None)

    def __str__(self) -> str:
        kind = f"{self.kind}/" if self.kind else ""
        container = f":{self.container}" if self.container else ""
        return f"{kind}{self.name}{container}"


_GRAMMAR = "Write a target as [KIND/]NAME[:CONTAINER], for example deployment/web:app."


def describe(workload: Object) -> str:
    """Name a workload as the user would write it: ``deployment/web``."""
    return f"{WorkloadKind.of(workload)}/{name_of(workload)}"


def choose(spec: TargetSpec, candidates: Iterable[Object]) -> Object:
    """Return the one workload that ``spec`` means.

    ``candidates``: all workloads of the namespace, each with its kind (``WorkloadKind.stamp``). Raise TargetError when
    there is none, more than one, or when it is managed by what should be swapped instead.
    """
    there = [item for item in candidates if SESSION_LABEL not in labels_of(item)]
    named = [item for item in there if name_of(item) == spec.name]
    matching = [item for item in named if spec.kind in (None, WorkloadKind.of(item))]
    if not matching:
        raise _no_such_target(spec, named, there)
    if len(matching) > 1:
        choices = one_of(sorted(describe(item) for item in matching))
        raise TargetError(f"{spec.name} is ambiguous here", hint=f"Say {choices}.")
    _refuse_managed(matching[0])
    return matching[0]


def _no_such_target(spec: TargetSpec, named: Sequence[Object], there: Sequence[Object]) -> TargetError:
    what = f"there is no {spec.kind or 'workload'} named {spec.name}"
    if named:
        return TargetError(what, hint=f"There is {one_of([describe(item) for item in named])}.")
    swappable = {name_of(item): describe(item) for item in there if controller_of(item) is None}
    near = near_names(spec.name, swappable)
    if near:
        return TargetError(what, hint=f"Did you mean {one_of([swappable[name] for name in near])}?")
    return TargetError(what, hint=_what_is_there(sorted(swappable.values())))


def _what_is_there(described: Sequence[str]) -> str:
    if not described:
        return "This namespace has no workload at all: is it the right one (--namespace, --context)?"
    more = f" and {len(described) - 10} more" if len(described) > 10 else ""
    return f"There are: {', '.join(described[:10])}{more}. Is it the right namespace (--namespace, --context)?"


def _refuse_managed(workload: Object) -> None:
    """A ReplicaSet's Deployment would scale it up again at once."""
    owner = controller_of(workload)
    if owner and WorkloadKind.of(workload) is WorkloadKind.REPLICA_SET and owner["kind"] == "Deployment":
        raise TargetError(
            f"{describe(workload)} is managed by deployment/{owner['name']}, which would undo the swap",
            hint=f"Swap deployment/{owner['name']}.",
        )


def check_swappable(workload: Object) -> None:
    """Raise TargetError for a workload that is there but can't be swapped as it is.

    Without replicas there is no traffic to take over, unless a session set them to 0: see ``undo.check_unclaimed``; its
    record may be lost, which what is here can't tell.
    """
    name = describe(workload)
    if is_ending(workload):
        raise TargetError(f"{name} is being deleted", hint="Choose a workload that stays.")
    if workload["spec"]["template"]["spec"].get("os", {}).get("name") == "windows":
        raise TargetError(f"{name} runs on Windows nodes", hint="bridge's proxy pod needs Linux.")
    retention = workload["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    if retention.get("whenScaled") == "Delete":
        raise TargetError(
            f"{name} deletes its volumes when it is scaled down: a swap would lose its data",
            hint="Set spec.persistentVolumeClaimRetentionPolicy.whenScaled to Retain, at least during the session.",
        )
    if is_idle(workload):
        raise TargetError(
            f"{name} has 0 replicas: there is no traffic to take over",
            hint=f"Scale it up first: kubectl scale {name} --replicas=1",
        )


def is_idle(workload: Object) -> bool:
    """Tell whether ``workload`` has no replicas, and no record says that a session has taken them."""
    return workload["spec"].get("replicas") == 0 and UNDO_ANNOTATION not in annotations_of(workload)


def choose_container(template: Object, wanted: str | None) -> str:
    """Return the name of the container to replace.

    That is the one ``wanted``; else the one that the template's annotation names, as for kubectl; else the first.
    Raise TargetError when ``wanted`` isn't an ordinary container of the template.
    """
    names = [str(container["name"]) for container in containers_of(template)]
    if wanted is None:
        annotated = annotations_of(template).get(DEFAULT_CONTAINER_ANNOTATION)
        return annotated if annotated in names else names[0]
    if wanted in names:
        return wanted
    raise _no_such_container(template, wanted, names)


def _no_such_container(template: Object, wanted: str, names: Sequence[str]) -> TargetError:
    hint = f"Its containers: {', '.join(names)}."
    for container in init_containers_of(template):
        if container["name"] == wanted:
            what = "a sidecar (an init container that keeps running)" if is_sidecar(container) else "an init container"
            return TargetError(f"{wanted} is {what}: only an ordinary container can be swapped", hint=hint)
    return TargetError(f"there is no container named {wanted}", hint=hint)

"""The options that several commands have."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from bridge.session.request import MountMode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.session.request import ClusterChoice, RunRequest

Swap = Annotated[
    str | None,
    typer.Option(
        "--swap",
        "-s",
        metavar="[KIND/]NAME[:CONTAINER]",
        help="The workload whose place is taken on this laptop; without it the namespace is just joined.",
    ),
]
Exposes = Annotated[
    list[str] | None,
    typer.Option("--expose", "-e", metavar="[LAPTOP:]POD", help="A port of the pod, to a port on the laptop."),
]
Kubeconfig = Annotated[
    str | None,
    typer.Option("--kubeconfig", metavar="FILE", help="The kubeconfig (default: as kubectl finds it)."),
]
Context = Annotated[str | None, typer.Option("--context", metavar="NAME", help="The kubeconfig's context.")]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", metavar="NS", help="The namespace (default: the context's)."),
]
EnvFile = Annotated[
    Path | None, typer.Option("--env-file", metavar="FILE", help="Write the pod's environment there (dotenv).")
]
EnvJson = Annotated[
    Path | None, typer.Option("--env-json", metavar="FILE", help="Write the pod's environment there (JSON).")
]
Image = Annotated[str | None, typer.Option("--image", metavar="REF", help="The proxy image.")]
RunInitContainers = Annotated[
    bool, typer.Option("--run-init-containers", help="Run the target's init containers again in the proxy pod.")
]
Grace = Annotated[
    float | None,
    typer.Option("--grace", metavar="S", min=3, help="Put the original back S s after this laptop is gone (30)."),
]
Hold = Annotated[
    float | None,
    typer.Option("--hold", metavar="S", min=0, help="Let connections wait S s for a process that restarts (10)."),
]
ReadyWhen = Annotated[
    str | None,
    typer.Option(
        "--probe", metavar="PROBE", help="When the pod is Ready: port (something accepts), process, http:PATH\\[@PORT]."
    ),
]
KeepOriginal = Annotated[
    bool, typer.Option("--keep-original", help="Swap the traffic only; the original keeps running.")
]
Fallback = Annotated[
    bool, typer.Option("--fallback", help="Keep one replica, which answers what the process does not within --hold.")
]


Mount = Annotated[
    MountMode,
    typer.Option("--mount", help="The pod's volumes, at their paths: mounted (small ones copied), copied, or not."),
]
MountAt = Annotated[
    Path | None,
    typer.Option("--mount-at", metavar="DIR", help="Have copies of the volumes below DIR as well, for an IDE."),
]
CopyLimit = Annotated[
    str | None,
    typer.Option("--copy-limit", metavar="SIZE", help="Copy volumes up to this without asking (100Mi)."),
]
Takeover = Annotated[
    bool, typer.Option("--takeover", help="Take a target whose session is dead, or whose holder allows it.")
]
AllowTakeover = Annotated[bool, typer.Option("--allow-takeover", help="Let others take the target from this session.")]
LogRequests = Annotated[
    bool, typer.Option("--log-requests", help="Show each HTTP request from the cluster: path, status, time, who asked.")
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="S", min=1, help="Seconds that the cluster may take for a step (default 60)."),
]
Verbose = Annotated[bool, typer.Option("--verbose", help="Log to stderr what goes on inside.")]


class Format(StrEnum):
    """How a result is written."""

    TEXT = "text"
    JSON = "json"


Output = Annotated[Format, typer.Option("--output", "-o", help="How the result is written.")]


def cluster_choice(kubeconfig: str | None, context: str | None, namespace: str | None) -> ClusterChoice:
    """Put together which cluster is meant."""
    from bridge.session.request import ClusterChoice

    return ClusterChoice(kubeconfig=kubeconfig, context=context, namespace=namespace)


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """What ``run`` and ``up`` have in common, as it was given; in the order of their help."""

    swap: Swap = None
    expose: Exposes = None
    context: Context = None
    namespace: Namespace = None
    kubeconfig: Kubeconfig = None
    env_file: EnvFile = None
    env_json: EnvJson = None
    image: Image = None
    run_init_containers: RunInitContainers = False
    grace: Grace = None
    hold: Hold = None
    probe: ReadyWhen = None
    keep_original: KeepOriginal = False
    fallback: Fallback = False
    mount: Mount = MountMode.LIVE
    mount_at: MountAt = None
    copy_limit: CopyLimit = None
    takeover: Takeover = False
    allow_takeover: AllowTakeover = False
    log_requests: LogRequests = False
    output: Output = Format.TEXT
    timeout: Timeout = None
    verbose: Verbose = False

    def request(
        self, command: Sequence[str], *, reload: tuple[str, ...] | None = None, linger: str | None = None
    ) -> RunRequest:
        """Put together what is asked for; what was not given is as configured."""
        from bridge.config import Config, parse_duration, parse_size
        from bridge.laptop.command import working_directory
        from bridge.plan.ports import Expose
        from bridge.plan.probe import Probe
        from bridge.plan.sources import Sources
        from bridge.plan.target import TargetSpec
        from bridge.session.request import RunRequest

        config = Config.load()
        return RunRequest(
            command=tuple(command),
            where=cluster_choice(self.kubeconfig, self.context, self.namespace),
            target=None if self.swap is None else TargetSpec.parse(self.swap),
            exposes=tuple(Expose.parse(each) for each in self.expose or ()),
            env_file=self.env_file,
            env_json=self.env_json,
            image=self.image or config.image,
            timeout=self.timeout or config.timeout,
            run_init_containers=self.run_init_containers,
            grace=config.grace if self.grace is None else self.grace,
            hold=config.hold if self.hold is None else self.hold,
            probe=Probe() if self.probe is None else Probe.parse(self.probe),
            keep_original=self.keep_original,
            fallback=self.fallback,
            mount=self.mount,
            mount_at=self.mount_at,
            copy_limit=config.copy_limit if self.copy_limit is None else parse_size(self.copy_limit, "--copy-limit"),
            takeover=self.takeover,
            allow_takeover=self.allow_takeover,
            log_requests=self.log_requests,
            reload=None if reload is None else Sources.parse(reload, working_directory()),
            linger=0.0 if linger is None else parse_duration(linger, "--linger"),
        )


def with_session_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of SessionOptions: typer sees each, the command gets all as its ``options``."""
    own = inspect.signature(command, eval_str=True)
    types = get_type_hints(SessionOptions, include_extras=True)
    shared = [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=types[each.name])
        for each in fields(SessionOptions)
    ]

    @wraps(command)
    def called(**given: Any) -> None:
        options = SessionOptions(**{each.name: given.pop(each.name) for each in shared})
        command(**given, options=options)

    parameters = [each for name, each in own.parameters.items() if name != "options"]
    called.__signature__ = own.replace(parameters=[*parameters, *shared])  # type: ignore[attr-defined]  # PEP 362
    called.__annotations__ = {each.name: each.annotation for each in (*parameters, *shared)}
    return called

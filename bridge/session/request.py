"""What the user asked for, as one value: made by the command line, read by everything after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from bridge.errors import UsageError
from bridge.plan.probe import Probe

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.plan.ports import Expose
    from bridge.plan.sources import Sources
    from bridge.plan.target import TargetSpec


class MountMode(StrEnum):
    """How the pod's volumes come to the laptop."""

    OFF = "off"
    COPY = "copy"
    LIVE = "live"


@dataclass(frozen=True, kw_only=True)
class ClusterChoice:
    """Which cluster and namespace: flags as given; ``None`` leaves it to the kubeconfig."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """``bridge run``, ``bridge up``: the target (``None``: just join the namespace), the command, and how."""

    command: tuple[str, ...]
    """Empty: there is no process of bridge's own, whatever listens here answers."""
    where: ClusterChoice = field(default_factory=ClusterChoice)
    target: TargetSpec | None = None
    exposes: tuple[Expose, ...] = ()
    env_file: Path | None = None
    env_json: Path | None = None
    image: str
    timeout: float
    run_init_containers: bool = False
    grace: float = 30.0
    """Seconds without this laptop after which the keeper puts the original back."""
    hold: float = 10.0
    """Seconds that a connection waits for a process that does not accept."""
    probe: Probe = field(default_factory=Probe)
    """By which rule the proxy pod is Ready."""
    keep_original: bool = False
    """Only the traffic is swapped; the original keeps running."""
    fallback: bool = False
    """One replica of the original stays, and answers what the process does not within ``hold``."""
    mount: MountMode = MountMode.LIVE
    mount_at: Path | None = None
    """Where the volumes are copied to for programs outside of the sandbox, too."""
    copy_limit: int = 100 * 1024 * 1024
    """Bytes that a volume may hold to be copied without a question."""
    takeover: bool = False
    """Take a target whose session is dead, or whose holder allows it."""
    allow_takeover: bool = False
    """Let others take the target from this session."""
    log_requests: bool = False
    """Show each HTTP request that the cluster makes."""
    reload: Sources | None = None
    """Start the command again whenever one of these files has changed."""
    linger: float = 0.0
    """Seconds for which the proxy pod is kept after the command has ended, for the same command again."""

    def __post_init__(self) -> None:
        """Raise UsageError for what contradicts itself."""
        if self.mount_at and self.mount is MountMode.OFF:
            raise UsageError("--mount-at wants the volumes, --mount off does not", hint="Leave one of them away.")
        if self.linger and self.reload is not None:
            raise UsageError(
                "--linger is for a command that is started again by hand, --reload starts it again by itself",
                hint="Leave one of them away.",
            )

    @property
    def left(self) -> int | None:
        """How many replicas of the original are left running; None: all, untouched."""
        if self.keep_original:
            return None
        return 1 if self.fallback else 0


@dataclass(frozen=True, kw_only=True)
class RestoreRequest:
    """``bridge restore``: one target by name, or (``None``) all that dead sessions left in the namespace."""

    where: ClusterChoice = field(default_factory=ClusterChoice)
    name: str | None = None
    timeout: float

"""The options that several commands have."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bridge.session.request import ClusterChoice

Kubeconfig = Annotated[
    str | None,
    typer.Option("--kubeconfig", metavar="FILE", help="The kubeconfig (default: as kubectl finds it)."),
]
Context = Annotated[str | None, typer.Option("--context", metavar="NAME", help="The kubeconfig's context.")]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", metavar="NS", help="The namespace (default: the context's)."),
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

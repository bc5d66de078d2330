"""Credentials from a program: the exec plugins of a kubeconfig (``aws eks get-token``, ``gke-gcloud-auth-plugin``...).

The protocol (KEP-541, https://kubernetes.io/docs/reference/config-api/client-authentication.v1/): the program is told
in $KUBERNETES_EXEC_INFO what is wanted and writes an ExecCredential to stdout, with a token, a certificate, or both.
That it failed, and what it said of it, is what the user must see: nine of ten expired logins end here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.cluster.tls import ClientCertificate
from bridge.errors import ClusterError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.cluster.kubeconfig import Access
    from bridge.plan.objects import Object

VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
LONGEST = 180.0
"""Seconds for a plugin: some open a browser and wait for a log-in there."""


@dataclass(frozen=True)
class Issued:
    """What the plugin gave."""

    kind: str
    token: str = field(default="", repr=False)
    certificate: ClientCertificate | None = None
    expires: datetime | None = None


def run_plugin(access: Access) -> Issued:
    """Run the plugin of the access' user. Raise ClusterError when it fails, UsageError when the entry is wrong."""
    plugin: Object = access.user["exec"]
    version = plugin.get("apiVersion")
    if version not in VERSIONS or not plugin.get("command"):
        raise UsageError(
            f"user {access.user_name!r} of the kubeconfig has an exec plugin of version {version!r}",
            hint=f"It needs a command and one of {', '.join(VERSIONS)}: get a new kubeconfig.",
        )
    interactive = _interactive(plugin)
    output = _run(plugin, access, interactive=interactive)
    return _issued(output, str(version), _name(plugin))


def _name(plugin: Object) -> str:
    return f"plugin {Path(plugin['command']).name}"


def _interactive(plugin: Object) -> bool:
    mode, terminal = plugin.get("interactiveMode") or "IfAvailable", sys.stdin is not None and sys.stdin.isatty()
    if mode == "Always" and not terminal:
        raise ClusterError(f"the credential {_name(plugin)} wants a terminal", hint="Run bridge in a terminal.")
    return terminal and mode != "Never"


def _run(plugin: Object, access: Access, *, interactive: bool) -> str:
    command = [_command(plugin, access), *map(str, plugin.get("args") or [])]
    try:
        done = subprocess.run(
            command,
            stdin=None if interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if interactive else subprocess.PIPE,  # it may ask there
            env=_environment(plugin, access, interactive=interactive),
            timeout=LONGEST,
            check=False,
        )
    except (FileNotFoundError, PermissionError) as error:
        raise ClusterError(
            f"the credential {_name(plugin)} of the kubeconfig can't be run: {error.strerror}: {plugin['command']}",
            hint=str(plugin.get("installHint") or "").strip() or f"Install it, or add it to PATH: {plugin['command']}",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(
            f"the credential {_name(plugin)} did not end within {LONGEST:.0f} s", hint=_try_it(command)
        ) from error
    if done.returncode:
        raise ClusterError(
            f"the credential {_name(plugin)} failed ({_ending(done.returncode)}){_said(done.stderr)}",
            hint=f"Log in again, as for kubectl. {_try_it(command)}",
        )
    return done.stdout.decode(errors="replace")


def _command(plugin: Object, access: Access) -> str:
    """Find the program as client-go does: with a slash in it, beside the kubeconfig; else on PATH."""
    command = str(plugin["command"])
    return str(access.directory / command) if os.sep in command else command


def _environment(plugin: Object, access: Access, *, interactive: bool) -> Mapping[str, str]:
    named = {str(item["name"]): str(item["value"]) for item in plugin.get("env") or []}
    spec: Object = {"interactive": interactive}
    if plugin.get("provideClusterInfo"):
        spec["cluster"] = _cluster_info(access)
    info = {"apiVersion": plugin["apiVersion"], "kind": "ExecCredential", "spec": spec}
    return os.environ | named | {"KUBERNETES_EXEC_INFO": json.dumps(info)}


def _cluster_info(access: Access) -> Object:
    import base64

    passed = ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url")
    info = {key: access.cluster[key] for key in passed if access.cluster.get(key)}
    if access.tls.authorities:
        info["certificate-authority-data"] = base64.b64encode(access.tls.authorities).decode()
    for extension in access.cluster.get("extensions") or []:
        if extension.get("name") == "client.authentication.k8s.io/exec":
            info["config"] = extension.get("extension")
    return info


def _try_it(command: list[str]) -> str:
    import shlex

    return f"To see it fail: {shlex.join(command)}"


def _ending(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"signal {-code}"


def _said(stderr: bytes | None) -> str:
    lines = (stderr or b"").decode(errors="replace").strip().splitlines()
    return f": {' / '.join(line.strip() for line in lines[-3:])}" if lines else ""


def _issued(output: str, version: str, name: str) -> Issued:
    """Read an ExecCredential. Its text is never repeated in an error: it holds secrets."""
    try:
        credential = json.loads(output)
        status = credential["status"]
        answered = credential["apiVersion"]
    except (ValueError, KeyError, TypeError) as error:
        raise ClusterError(
            f"the credential {name} wrote no ExecCredential", hint="Update the plugin, or get a new kubeconfig."
        ) from error
    if answered != version:
        raise ClusterError(
            f"the credential {name} answers in {answered}, the kubeconfig asks for {version}",
            hint="Set the exec entry's apiVersion to what the plugin speaks.",
        )
    chain, key, expires = (status.get(k) for k in ("clientCertificateData", "clientKeyData", "expirationTimestamp"))
    if not status.get("token") and not (chain and key):
        raise ClusterError(f"the credential {name} gave neither a token nor a certificate", hint="Log in again.")
    return Issued(
        f"{name}",
        status.get("token") or "",
        ClientCertificate(chain.encode(), key.encode()) if chain and key else None,
        datetime.fromisoformat(expires) if expires else None,
    )

"""Where the cluster is and as whom to ask: the kubeconfig, read as kubectl reads it.

    which files   --kubeconfig FILE; else $KUBECONFIG (several, separated by ``:``; missing ones are passed over);
                  else ~/.kube/config; else, in a pod, the pod's own service account, which ``--context in-cluster``
                  means, too, unless a kubeconfig has a context of that name
    merging       of each cluster, context and user the first file that has it counts, whole; so does the first
                  current-context that says something
    paths         in a file are relative to that file
    namespace     --namespace; else the context's; else "default"

(https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/#merging-kubeconfig-files)

Why not ``kubernetes.config``: importing it takes 0.26 s of the 2.5 s in which a session shall be up; its merge lets
the *last* current-context win; and it only logs why an exec plugin failed. It serves the legacy auth providers still
(``authproviders``). This module reads; it runs nothing and asks nobody.
"""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.cluster.proxies import proxy_for
from bridge.errors import UsageError
from bridge.paths import kubeconfig_files
from bridge.plan.names import near_names, one_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bridge.plan.objects import Object

DEFAULT_NAMESPACE = "default"
IN_CLUSTER = "in-cluster"
"""What stands for a context's name where a pod's own service account is used; so sessions are recorded by it."""
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_KINDS = ("clusters", "contexts", "users")


@dataclass(frozen=True, kw_only=True)
class Tls:
    """How the API server proves who it is. ``authorities``: PEM, or None for the system's."""

    authorities: bytes | None = None
    verify: bool = True
    server_name: str | None = None


@dataclass(frozen=True, kw_only=True)
class Access:
    """One context, resolved. ``user`` is the kubeconfig's entry: it holds secrets, so ``repr`` leaves it out."""

    context: str
    namespace: str
    server: str
    user_name: str
    user: Object = field(repr=False)
    directory: Path  # relative paths in ``user`` begin here
    tls: Tls = Tls()
    proxy: str | None = None
    cluster: Object = field(default_factory=dict, repr=False)  # for exec plugins that ask for it
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Entry:
    name: str
    value: Object
    directory: Path


_NOBODY = _Entry("", {}, Path())


@dataclass(frozen=True)
class _Merged:
    files: tuple[Path, ...]
    entries: Mapping[str, Mapping[str, _Entry]]
    current_context: str

    @property
    def source(self) -> str:
        return one_of([str(path) for path in self.files])


def load_access(
    *,
    kubeconfig: str | None = None,
    context: str | None = None,
    namespace: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Access:
    """Find and read the kubeconfig, and resolve ``context`` (default: the current one). Raise UsageError."""
    environ = os.environ if environ is None else environ
    files = kubeconfig_files(kubeconfig, environ)
    merged = _merge(files)
    if kubeconfig is None and _in_pod(environ) and _is_the_pod(context, merged):
        return _of_the_pod(namespace, environ)
    if not merged.files:
        raise _no_kubeconfig(files, environ)
    return _resolve(merged, context, namespace, environ)


def _no_kubeconfig(files: Sequence[Path], environ: Mapping[str, str]) -> UsageError:
    said = str(files[0]) in environ.get("KUBECONFIG", "").split(os.pathsep)
    return UsageError(
        f"there is no kubeconfig: {one_of([str(path) for path in files])}{' ($KUBECONFIG)' if said else ''} "
        "does not exist",
        hint="Get one from who runs the cluster, then set KUBECONFIG or give --kubeconfig FILE.",
    )


# -- reading and merging -------------------------------------------------------------------------------------------


def _merge(files: Sequence[Path]) -> _Merged:
    entries: dict[str, dict[str, _Entry]] = {kind: {} for kind in _KINDS}
    current = ""
    for path in files:
        content = _read(path)
        current = current or str(content.get("current-context") or "")
        for kind in _KINDS:
            for entry in _entries(content, kind, path):
                entries[kind].setdefault(entry.name, entry)
    return _Merged(tuple(path for path in files if path.exists()), entries, current)


def _read(path: Path) -> Object:
    import yaml  # start-up time

    # libyaml reads a kubeconfig of a hundred clusters in milliseconds; not every build of PyYAML has it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506  # it is a safe loader
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read: {error}", hint="Mend it, or give --kubeconfig FILE.") from error
    except yaml.YAMLError as error:
        raise _no_config(path, str(error)) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise _no_config(path, f"it holds a {type(content).__name__}")
    return content


def _no_config(path: Path, why: str) -> UsageError:
    return UsageError(f"{path} is no kubeconfig: {why}", hint="`kubectl config view` shows what kubectl makes of it.")


def _entries(content: Object, kind: str, path: Path) -> list[_Entry]:
    listed = content.get(kind) or []
    singular = kind.removesuffix("s")
    try:
        return [_Entry(str(item["name"]), item.get(singular) or {}, path.absolute().parent) for item in listed]
    except (TypeError, KeyError, AttributeError) as error:
        raise _no_config(path, f"{kind} must be a list of entries with a name") from error


# -- resolving a context -------------------------------------------------------------------------------------------


def _resolve(merged: _Merged, context: str | None, namespace: str | None, environ: Mapping[str, str]) -> Access:
    chosen = _context(merged, context)
    cluster = _named(merged, "clusters", chosen.value.get("cluster"), chosen)
    # A context without user is legal: an API server that lets anyone in, or a proxy that adds who it is.
    user = _named(merged, "users", chosen.value["user"], chosen) if chosen.value.get("user") else _NOBODY
    server = _server(cluster)
    return Access(
        context=chosen.name,
        namespace=namespace or str(chosen.value.get("namespace") or DEFAULT_NAMESPACE),
        server=server,
        user_name=user.name,
        user=user.value,
        directory=user.directory,
        tls=_tls(cluster),
        proxy=cluster.value.get("proxy-url") or proxy_for(server, environ),
        cluster=cluster.value,
        files=merged.files,
    )


def _context(merged: _Merged, wanted: str | None) -> _Entry:
    contexts = merged.entries["contexts"]
    name = wanted or merged.current_context
    there = ", ".join(sorted(contexts)[:10])
    if not name:
        raise UsageError(
            f"{merged.source} has no current context",
            hint=f"Give --context, one of: {there}." if contexts else "It has no contexts at all.",
        )
    if name not in contexts:
        near = near_names(name, contexts)
        raise UsageError(
            f"there is no context {name!r} in {merged.source}",
            hint=f"Did you mean {one_of(near)}?" if near else f"There are: {there or 'none'}.",
        )
    return contexts[name]


def _named(merged: _Merged, kind: str, name: object, context: _Entry) -> _Entry:
    entry = merged.entries[kind].get(str(name))
    if entry is None:
        what = kind.removesuffix("s")
        raise UsageError(
            f"context {context.name!r} names the {what} {name!r}, which is not in {merged.source}",
            hint=f"Mend the kubeconfig: kubectl config set-context {context.name} --{what}=...",
        )
    return entry


def _server(cluster: _Entry) -> str:
    server = str(cluster.value.get("server") or "").rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise UsageError(
            f"cluster {cluster.name!r} of the kubeconfig has no server address (it says {server!r})",
            hint=f"Set it: kubectl config set-cluster {cluster.name} --server=https://...",
        )
    return server


def _tls(cluster: _Entry) -> Tls:
    return Tls(
        authorities=file_or_data(cluster.value, "certificate-authority", cluster.directory),
        verify=not cluster.value.get("insecure-skip-tls-verify"),
        server_name=cluster.value.get("tls-server-name") or None,
    )


def file_or_data(entry: Mapping[str, Any], key: str, directory: Path) -> bytes | None:
    """Return the content of ``KEY-data`` (base64), else of the file that ``KEY`` names; None where neither is."""
    data, path = entry.get(f"{key}-data"), entry.get(key)
    if data:
        try:
            return base64.b64decode(data)
        except (binascii.Error, TypeError, ValueError) as error:
            raise UsageError(f"{key}-data in the kubeconfig is not base64", hint="Get a new kubeconfig.") from error
    if not path:
        return None
    file = directory / Path(path).expanduser()
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{key}: {file} can't be read: {error.strerror}", hint="Mend the path in the kubeconfig."
        ) from error


# -- in a pod ------------------------------------------------------------------------------------------------------


def _in_pod(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("KUBERNETES_SERVICE_HOST")) and (SERVICE_ACCOUNT / "token").exists()


def _is_the_pod(context: str | None, merged: _Merged) -> bool:
    """Tell whether the pod itself is meant; by its name also where there is a kubeconfig by now."""
    if context is None:
        return not merged.files
    return context == IN_CLUSTER and context not in merged.entries["contexts"]


def _of_the_pod(namespace: str | None, environ: Mapping[str, str]) -> Access:
    """Speak as the pod that we run in (a development environment inside the cluster)."""
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    own = (SERVICE_ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
    return Access(
        context=IN_CLUSTER,
        namespace=namespace or own or DEFAULT_NAMESPACE,
        server=server,
        user_name="the pod's service account",
        user={"tokenFile": str(SERVICE_ACCOUNT / "token")},
        directory=SERVICE_ACCOUNT,
        tls=Tls(authorities=(SERVICE_ACCOUNT / "ca.crt").read_bytes()),
        proxy=proxy_for(server, environ),
    )

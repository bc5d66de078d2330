"""Keys, certificates and kubeconfigs: ECDSA P-256, one year, by openssl (the standard library makes none)."""

from __future__ import annotations

import base64
import json
import secrets
from typing import TYPE_CHECKING

from .system import run

if TYPE_CHECKING:
    from pathlib import Path

    from .settings import Settings

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_DAYS = "365"

COMPONENTS = ("kube-controller-manager", "kube-scheduler", "kube-proxy")
"""The clients of the API server that are one user wherever they run; a kubelet is its node."""


def make(settings: Settings) -> None:
    """Make all of them, if the last one made is not there yet."""
    if settings.kubeconfig.exists():
        return
    folder = settings.certificates
    node = settings.node
    authority(folder, "ca", "bridge-ca")
    authority(folder, "front-ca", "bridge-front-ca")
    service = [f"kubernetes{suffix}" for suffix in ("", ".default", ".default.svc")]
    names = [*service, f"{service[-1]}.{settings.cluster_domain}", "localhost", node.name]
    addresses = [settings.api_service, node.address, "127.0.0.1"]
    server(folder, "apiserver", "kube-apiserver", names, addresses)
    client(folder, "apiserver-kubelet", "/O=system:masters/CN=apiserver-kubelet-client")
    client(folder, "front", "/CN=front-proxy-client", issuer="front-ca")
    client(folder, "admin", "/O=system:masters/CN=bridge-admin")
    for name in COMPONENTS:
        client(folder, name, f"/CN=system:{name}")
        kubeconfig(folder, name, settings.api_address, folder / f"{name}.kubeconfig")
    make_for_node(settings)
    service_account_key(folder)
    kubeconfig(folder, "admin", settings.api_address, settings.laptop_kubeconfig)
    kubeconfig(folder, "admin", f"https://127.0.0.1:{settings.root_port}", settings.kubeconfig)


def make_for_node(settings: Settings) -> None:
    """What a node's kubelet shows to the API server, as its client and as the server that it is for logs and exec."""
    folder, node = settings.certificates, settings.node
    path = folder / f"{node.name}.kubeconfig"
    if path.exists():
        return
    server(folder, f"{node.name}-server", node.name, [node.name], [node.address, "127.0.0.1"])
    client(folder, node.name, f"/O=system:nodes/CN=system:node:{node.name}")
    kubeconfig(folder, node.name, settings.api_address, path)


def authority(folder: Path, name: str, common_name: str) -> None:
    """A certificate authority."""
    usage = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature")
    extensions = [word for extension in usage for word in ("-addext", extension)]
    files = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt")
    run(["openssl", "req", "-x509", *_KEY, "-days", _DAYS, "-subj", f"/CN={common_name}", *files, *extensions])


def server(folder: Path, name: str, common_name: str, names: list[str], addresses: list[str]) -> None:
    """A server's certificate, for these names and addresses."""
    alternatives = ",".join([*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses)])
    _issue(folder, name, "ca", f"/CN={common_name}", f"extendedKeyUsage=serverAuth\nsubjectAltName={alternatives}")


def client(folder: Path, name: str, subject: str, *, issuer: str = "ca") -> None:
    """A client's certificate; Kubernetes takes the user from CN, the groups from O."""
    _issue(folder, name, issuer, subject, "extendedKeyUsage=clientAuth")


def service_account_key(folder: Path) -> None:
    """The key that signs ServiceAccount tokens."""
    private = folder / "sa.key"
    run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", private])
    run(["openssl", "pkey", "-in", private, "-pubout", "-out", folder / "sa.pub"])


def kubeconfig(folder: Path, user: str, server: str, path: Path) -> None:
    """A kubeconfig (JSON is YAML) with the certificates in it, for its owner's eyes only."""
    authority, certificate, key = (_encoded(folder / name) for name in ("ca.crt", f"{user}.crt", f"{user}.key"))
    identity = {"client-certificate-data": certificate, "client-key-data": key}
    write_kubeconfig(path, {"server": server, "certificate-authority-data": authority}, identity, user=user)


def write_kubeconfig(
    path: Path, cluster: dict[str, str], identity: dict[str, str], *, user: str, namespace: str = "default"
) -> None:
    """One cluster, one user, one context called ``bridge-local``."""
    context = {"cluster": "bridge-local", "user": user, "namespace": namespace}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bridge-local", "cluster": cluster}],
        "users": [{"name": user, "user": identity}],
        "contexts": [{"name": "bridge-local", "context": context}],
        "current-context": "bridge-local",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1) + "\n")


def _issue(folder: Path, name: str, issuer: str, subject: str, extensions: str) -> None:
    request = folder / f"{name}.csr"
    run(["openssl", "req", "-new", *_KEY, "-subj", subject, "-keyout", folder / f"{name}.key", "-out", request])
    always = "basicConstraints=CA:FALSE\nkeyUsage=digitalSignature,keyEncipherment\n"
    signer = (
        "-CA",
        folder / f"{issuer}.crt",
        "-CAkey",
        folder / f"{issuer}.key",
        "-set_serial",
        f"0x{secrets.token_hex(8)}",
    )
    result = ("-days", _DAYS, "-out", folder / f"{name}.crt", "-extfile", "/dev/stdin")
    run(["openssl", "x509", "-req", "-in", request, *signer, *result], text=f"{always}{extensions}\n")
    request.unlink()


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()

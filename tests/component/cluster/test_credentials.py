"""Credentials that are shown, renewed and refused; exec plugins are real programs here."""

from __future__ import annotations

import base64
import json
import os
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from bridge.cluster import connect
from bridge.cluster.errors import Unauthenticated
from bridge.cluster.kubeconfig import load_access
from bridge.cluster.portforward import portforward_endpoint
from bridge.errors import BridgeError, ClusterError, UsageError
from bridge.session.signals import SignalReceived, Signals

from .apiserver import ApiServer, Certificate, certificate, reply, status

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "/version"
REFUSED = status(401, "Unauthorized", "Unauthorized")
API_VERSION = "client.authentication.k8s.io/v1"


def get(api: ApiServer, folder: Path, user: dict[str, Any], *, times: int = 1) -> list[str]:
    """Ask; return the Authorization of each request."""
    with connect(kubeconfig=api.kubeconfig(folder, user=user), timeout=2) as client:
        for _ in range(times):
            client.get(VERSION)
    return [seen.headers.get("Authorization", "") for seen in api.seen]


def refused(api: ApiServer, folder: Path, user: dict[str, Any]) -> BridgeError:
    api.answers = [REFUSED]
    with pytest.raises(BridgeError) as caught:
        get(api, folder, user)
    return caught.value


def jwt(expires: datetime) -> str:
    def part(content: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none'})}.{part({'exp': int(expires.timestamp())})}.sig"


def plugin(folder: Path, script: str, **entry: Any) -> dict[str, Any]:
    """Write a plugin beside the kubeconfig."""
    path = folder / "plugin"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"exec": {"apiVersion": API_VERSION, "command": "./plugin", "interactiveMode": "Never", **entry}}


def credential(**status: Any) -> str:
    return json.dumps({"apiVersion": API_VERSION, "kind": "ExecCredential", "status": status})


# -- what is shown -------------------------------------------------------------------------------------------------


def test_a_password(api: ApiServer, tmp_path: Path) -> None:
    api.answers = [reply({})]
    assert get(api, tmp_path, {"username": "ann", "password": "ä"}) == [
        f"Basic {base64.b64encode('ann:ä'.encode()).decode()}"
    ]


def test_a_token_file_is_read_for_each_request(api: ApiServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("one\n")
    api.answers = [lambda handler: ((tmp_path / "token").write_text("two\n"), reply({})(handler))]
    assert get(api, tmp_path, {"tokenFile": "token"}, times=2) == ["Bearer one", "Bearer two"]


def test_impersonation(api: ApiServer, tmp_path: Path) -> None:
    api.answers = [reply({})]
    user = {"token": "t", "as": "eve", "as-groups": ["a", "b"], "as-user-extra": {"example.com/x": ["1"]}}
    get(api, tmp_path, user)
    headers = api.seen[0].headers
    assert headers["Impersonate-User"] == "eve"
    assert headers["Impersonate-Extra-example.com%2Fx"] == "1"
    with connect(kubeconfig=api.kubeconfig(tmp_path, user=user)) as client:
        shown = list(portforward_endpoint(client, "p", 1).headers.items())
    assert ("Impersonate-Group", "a") in shown
    assert ("Impersonate-Group", "b") in shown


def test_a_port_forward_has_the_same_credentials_and_hides_them(api: ApiServer, tmp_path: Path) -> None:
    path = api.kubeconfig(tmp_path, cluster={"tls-server-name": "kubernetes"})
    with connect(kubeconfig=path, namespace="other") as client:
        endpoint = portforward_endpoint(client, "pod-1", 52022)
    assert endpoint.url == f"wss://127.0.0.1:{api.port}/api/v1/namespaces/other/pods/pod-1/portforward?ports=52022"
    assert endpoint.headers["Authorization"] == "Bearer t0ken"
    assert endpoint.ssl is not None
    assert endpoint.server_hostname == "kubernetes"
    assert "t0ken" not in repr(endpoint)
    assert "t0ken" not in repr(load_access(kubeconfig=path))


# -- plugins -------------------------------------------------------------------------------------------------------


def test_a_plugin_is_told_what_it_asks_for_and_runs_once(api: ApiServer, tmp_path: Path) -> None:
    script = f"echo \"$KUBERNETES_EXEC_INFO\" >> info; echo '{credential(token='made')}'"
    user = plugin(
        tmp_path,
        f'cd {tmp_path}; test "$A" = b || exit 9; {script}',
        env=[{"name": "A", "value": "b"}],
        provideClusterInfo=True,
    )
    api.answers = [reply({})]
    assert get(api, tmp_path, user, times=3) == ["Bearer made"] * 3
    (line,) = (tmp_path / "info").read_text().splitlines()
    info = json.loads(line)
    assert info["apiVersion"] == API_VERSION
    assert info["spec"]["interactive"] is False
    assert info["spec"]["cluster"]["server"] == api.url
    assert base64.b64decode(info["spec"]["cluster"]["certificate-authority-data"]) == api.authority.pem


def test_a_plugins_token_is_renewed_at_its_end(api: ApiServer, tmp_path: Path) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=10)).isoformat().replace("+00:00", "Z")
    made = credential(token="$(wc -l < n)", expirationTimestamp=soon).replace('"', '\\"')
    user = plugin(tmp_path, f'cd {tmp_path}; echo >> n; echo "{made}"')
    api.answers = [reply({})]
    assert get(api, tmp_path, user, times=2)[-2:] != ["Bearer 1", "Bearer 1"]


def test_a_refused_token_is_renewed_once(api: ApiServer, tmp_path: Path) -> None:
    made = credential(token="$(wc -l < n)").replace('"', '\\"')
    user = plugin(tmp_path, f'cd {tmp_path}; echo >> n; echo "{made}"')
    api.answers = [REFUSED, reply({})]
    assert get(api, tmp_path, user) == ["Bearer 1", "Bearer 2"]
    api.answers = [REFUSED]
    with pytest.raises(Unauthenticated, match="does not accept the plugin plugin of user 'ann'"):
        get(api, tmp_path, user)
    assert len(api.seen) == 4


def test_a_plugin_may_give_a_certificate(api: ApiServer, authority: Certificate, tmp_path: Path) -> None:
    mine = certificate("ann-of-plugin", by=authority)
    output = credential(clientCertificateData=mine.pem.decode(), clientKeyData=mine.key_pem.decode())
    (tmp_path / "output").write_text(output)
    api.answers = [reply({})]
    get(api, tmp_path, plugin(tmp_path, f"cat {tmp_path}/output"))
    assert (("commonName", "ann-of-plugin"),) in api.seen[0].peer["subject"]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'your session has expired' >&2; exit 4", r"plugin failed \(exit code 4\): your session has expired"),
        ("echo nonsense-with-s3cret", "wrote no ExecCredential"),
        ('echo \'{"apiVersion": "client.authentication.k8s.io/v1beta1", "status": {}}\'', "answers in client"),
        (f"echo '{credential()}'", "gave neither a token nor a certificate"),
    ],
)
def test_a_plugin_that_fails_says_why(api: ApiServer, tmp_path: Path, script: str, message: str) -> None:
    with pytest.raises(ClusterError, match=message) as caught:
        get(api, tmp_path, plugin(tmp_path, script))
    assert "s3cret" not in caught.value.message + caught.value.hint
    assert not api.seen


def test_a_plugin_that_is_not_installed(api: ApiServer, tmp_path: Path) -> None:
    user = {"exec": {"apiVersion": API_VERSION, "command": "no-such-plugin", "installHint": "Get it at example.com."}}
    with pytest.raises(ClusterError, match="can't be run: No such file or directory: no-such-plugin") as caught:
        get(api, tmp_path, user)
    assert caught.value.hint == "Get it at example.com."


def test_a_plugin_of_an_unknown_version(api: ApiServer, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"exec plugin of version .*v1alpha1"):
        get(api, tmp_path, plugin(tmp_path, "true", apiVersion="client.authentication.k8s.io/v1alpha1"))


def test_a_signal_ends_the_plugin_and_starts_no_other(api: ApiServer, tmp_path: Path) -> None:
    """Questions at the same time wait for the one login; each of them would begin another one."""
    read = "head -c 300000 /dev/zero"  # more than a pipe holds: bridge waits for its end by now
    user = plugin(tmp_path, f"echo >> {tmp_path}/runs; {read}; kill -TERM $PPID; exec sleep 30")
    with (
        connect(kubeconfig=api.kubeconfig(tmp_path, user=user), timeout=2) as client,
        Signals() as signals,
        pytest.raises(SignalReceived),
        signals.interruptible(),
    ):
        client.gather(*[lambda: client.get(VERSION)] * 3)
    assert (tmp_path / "runs").read_text() == "\n"


class Door:
    """A lock that tells who comes to it."""

    def __init__(self) -> None:
        self.came: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self.came.put(threading.get_ident())
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_who_waits_for_a_plugin_that_fails_does_not_run_it_again(api: ApiServer, tmp_path: Path) -> None:
    runs, go = tmp_path / "runs", tmp_path / "go"
    os.mkfifo(go)
    script = f"""
        cd {tmp_path}; echo >> runs
        case $(wc -l < runs) in
            1) read line < go; exit 1;;
            2) exit 1;;
        esac
        echo '{credential(token="made")}'
    """
    with connect(kubeconfig=api.kubeconfig(tmp_path, user=plugin(tmp_path, script))) as client:
        credentials, door = client.transport.credentials, Door()
        credentials._lock = door  # type: ignore[assignment]
        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(credentials.current) for _ in range(3)]
            for _ in waiting:
                door.came.get(timeout=20)
            go.write_text("\n")
            for each in waiting:
                with pytest.raises(ClusterError, match=r"plugin failed \(exit code 1\)"):
                    each.result()
        assert runs.read_text() == "\n"
        with pytest.raises(ClusterError, match="plugin failed"):
            credentials.current()
        assert credentials.current().authorization == "Bearer made"


# -- auth providers ------------------------------------------------------------------------------------------------


def test_an_open_id_token_is_taken_from_the_kubeconfig(api: ApiServer, tmp_path: Path) -> None:
    token = jwt(datetime.now(UTC) + timedelta(hours=1))
    api.answers = [reply({})]
    user = {"auth-provider": {"name": "oidc", "config": {"id-token": token, "idp-issuer-url": "https://i.invalid"}}}
    assert get(api, tmp_path, user) == [f"Bearer {token}"]


def test_an_auth_provider_that_is_gone(api: ApiServer, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'azure', which is gone") as caught:
        get(api, tmp_path, {"auth-provider": {"name": "azure"}})
    assert "kubelogin" in caught.value.hint


# -- refused -------------------------------------------------------------------------------------------------------


def test_an_expired_token_is_told_with_its_end(api: ApiServer, tmp_path: Path) -> None:
    error = refused(api, tmp_path, {"token": jwt(datetime.now(UTC) - timedelta(hours=3, minutes=1))})
    assert "does not accept the token of user 'ann' (context here): it expired at " in error.message
    assert error.message.endswith(" UTC, 3 h ago")
    assert "kubectl create token" in error.hint


def test_an_expired_client_certificate_is_told_with_its_end(
    own: Certificate, authority: Certificate, tmp_path: Path
) -> None:
    old = certificate("ann", by=authority, days=(-30, -20))
    user = {
        "client-certificate-data": base64.b64encode(old.pem).decode(),
        "client-key-data": base64.b64encode(old.key_pem).decode(),
    }
    # kube-apiserver takes any certificate in the handshake, and answers 401 to an expired one. OpenSSL can't be made
    # to: so this server does not ask for it.
    with ApiServer(own, authority, asks=False) as api:
        error = refused(api, tmp_path, user)
    assert "does not accept the client certificate of user 'ann' (context here): it expired at " in error.message
    assert error.message.endswith(" UTC, 20 days ago")
    assert "Get a new kubeconfig" in error.hint


def test_no_credentials_at_all(api: ApiServer, tmp_path: Path) -> None:
    api.answers = [REFUSED]
    path = api.kubeconfig(tmp_path, user={"unknown": 1})
    with connect(kubeconfig=path, timeout=2) as client, pytest.raises(Unauthenticated) as caught:
        client.get(VERSION)
    assert "asks for credentials, and user 'ann' (context here) has none" in caught.value.message


def test_the_servers_clock_decides_what_has_expired(api: ApiServer, tmp_path: Path) -> None:
    def answer(handler: Any) -> None:
        handler.date_time_string = lambda: "Fri, 01 Jan 2100 12:00:00 GMT"
        REFUSED(handler)

    api.answers = [answer]
    began = time.monotonic()
    with pytest.raises(Unauthenticated, match="it expired at "):
        get(api, tmp_path, {"token": jwt(datetime.now(UTC) + timedelta(hours=1))})
    assert time.monotonic() - began < 2

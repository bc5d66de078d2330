"""The kubeconfig, read as kubectl reads it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from bridge.cluster import kubeconfig
from bridge.cluster.kubeconfig import Access, Tls, load_access
from bridge.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def named(kind: str, **entries: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name.replace("_", "-"), kind: value} for name, value in entries.items()]


def config(**changes: Any) -> dict[str, Any]:
    return {
        "current-context": "dev",
        "contexts": named("context", dev={"cluster": "c", "user": "ann", "namespace": "tasks"}, prod={"cluster": "c"}),
        "clusters": named("cluster", c={"server": "https://api.example.com:6443/"}),
        "users": named("user", ann={"token": "t0ken"}),
        **changes,
    }


def write(path: Path, content: Any = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(config() if content is None else content))
    return path


def load(path: Path, environ: dict[str, str] | None = None, **options: Any) -> Access:
    return load_access(kubeconfig=str(path), environ=environ or {}, **options)


def refused(*arguments: Any, **options: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load(*arguments, **options)
    return caught.value


def test_the_current_context_is_resolved(tmp_path: Path) -> None:
    access = load(write(tmp_path / "config"))
    assert (access.context, access.namespace, access.user_name) == ("dev", "tasks", "ann")
    assert access.server == "https://api.example.com:6443"
    assert access.user == {"token": "t0ken"}
    assert access.tls == Tls()
    assert access.proxy is None


def test_flags_win(tmp_path: Path) -> None:
    path = write(tmp_path / "config")
    assert load(path, context="prod", namespace="x").namespace == "x"
    assert load(path, context="prod").namespace == "default"
    assert load(path, context="prod").user == {}


def test_yaml_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "config",
        "current-context: dev\ncontexts: [{name: dev, context: {cluster: c}}]\n"
        "clusters:\n- name: c\n  cluster: {server: 'http://localhost:8001'}\nusers: null\n",
    )
    assert load(path).server == "http://localhost:8001"


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    assert "t0ken" not in repr(load(write(tmp_path / "config")))


# -- which files ---------------------------------------------------------------------------------------------------


def test_the_home_directorys_file_is_the_default(tmp_path: Path) -> None:
    write(tmp_path / ".kube" / "config")
    assert load_access(environ={"HOME": str(tmp_path)}).context == "dev"


def test_of_several_files_the_first_that_says_something_counts(tmp_path: Path) -> None:
    first = write(
        tmp_path / "1" / "a",
        {"clusters": named("cluster", c={"server": "https://first", "certificate-authority": "ca"})},
    )
    (tmp_path / "1" / "ca").write_text("the first's")
    second = write(tmp_path / "2" / "b", config())
    third = write(tmp_path / "3", config(**{"current-context": "prod"}))
    paths = f"{first}:{tmp_path}/missing:{second}::{third}"
    access = load_access(environ={"KUBECONFIG": paths})
    assert (access.context, access.server) == ("dev", "https://first")
    assert access.tls.authorities == b"the first's"
    assert access.files == (first, second, third)


def test_no_kubeconfig(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"there is no kubeconfig: {tmp_path}/.kube/config does not exist"):
        load_access(environ={"HOME": str(tmp_path)})
    with pytest.raises(UsageError, match=rf"{tmp_path}/a or {tmp_path}/b \(\$KUBECONFIG\) does not exist"):
        load_access(environ={"KUBECONFIG": f"{tmp_path}/a:{tmp_path}/b"})
    assert "--kubeconfig FILE" in refused(tmp_path / "none").hint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no kubeconfig"),
        ("just text", "it holds a str"),
        ('{"contexts": [{}]}', "contexts must be a list of entries with a name"),
        ('{"users": {"ann": 1}}', "users must be a list"),
        ("", "has no current context"),
    ],
)
def test_what_is_no_kubeconfig(tmp_path: Path, content: str, message: str) -> None:
    assert message in refused(write(tmp_path / "config", content)).message


# -- in a pod ------------------------------------------------------------------------------------------------------

IN_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment in a pod, which has a service account and no kubeconfig."""
    account = tmp_path / "account"
    account.mkdir()
    for name, content in {"token": "t0ken", "namespace": "tasks\n", "ca.crt": "PEM"}.items():
        (account / name).write_text(content)
    monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", account)
    return {"HOME": str(tmp_path), **IN_POD}


def test_a_pod_without_kubeconfig_has_its_service_account(home: dict[str, str]) -> None:
    access = load_access(environ=home)
    assert (access.context, access.namespace, access.server) == ("in-cluster", "tasks", "https://10.0.0.1:6443")
    assert access.tls == Tls(authorities=b"PEM")


def test_a_pods_access_is_found_again_by_its_name(home: dict[str, str], tmp_path: Path) -> None:
    """By the watchdog, by who renews its credentials, by `bridge restore`; whoever has made a kubeconfig meanwhile."""
    access = load_access(environ=home)
    assert load_access(context=access.context, environ=home) == access
    write(tmp_path / ".kube" / "config")
    assert load_access(context=access.context, environ=home) == access
    assert load_access(environ=home).context == "dev"


def test_a_kubeconfigs_own_context_of_that_name_is_meant(home: dict[str, str], tmp_path: Path) -> None:
    contexts = [{"name": "in-cluster", "context": {"cluster": "c"}}]
    write(tmp_path / ".kube" / "config", config(contexts=contexts))
    assert load_access(context="in-cluster", environ=home).server == "https://api.example.com:6443"


def test_who_names_a_file_or_another_context_does_not_mean_the_pod(home: dict[str, str], tmp_path: Path) -> None:
    assert "there is no context 'in-cluster'" in refused(write(tmp_path / "x"), home, context="in-cluster").message
    with pytest.raises(UsageError, match="there is no kubeconfig"):
        load_access(context="dev", environ=home)
    with pytest.raises(UsageError, match="there is no kubeconfig"):
        load_access(context="in-cluster", environ={"HOME": home["HOME"]})


# -- what is not there ---------------------------------------------------------------------------------------------


def test_near_contexts_are_offered(tmp_path: Path) -> None:
    error = refused(write(tmp_path / "config"), context="prd")
    assert error.message == f"there is no context 'prd' in {tmp_path}/config"
    assert error.hint == "Did you mean prod?"
    assert refused(tmp_path / "config", context="zzz").hint == "There are: dev, prod."


def test_no_current_context(tmp_path: Path) -> None:
    error = refused(write(tmp_path / "config", config(**{"current-context": ""})))
    assert "has no current context" in error.message
    assert error.hint == "Give --context, one of: dev, prod."


def test_a_context_of_something_that_is_not_there(tmp_path: Path) -> None:
    assert "names the cluster 'c', which is not in" in refused(write(tmp_path / "a", config(clusters=[]))).message
    assert "names the user 'ann', which is not in" in refused(write(tmp_path / "b", config(users=[]))).message
    assert "has no server address" in refused(write(tmp_path / "c", config(clusters=named("cluster", c={})))).message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    clusters = named("cluster", c={"server": "https://x", "certificate-authority": "ca.pem"})
    error = refused(write(tmp_path / "config", config(clusters=clusters)))
    assert error.message == f"certificate-authority: {tmp_path}/ca.pem can't be read: No such file or directory"


# -- what the cluster's entry says ---------------------------------------------------------------------------------


def test_data_wins_over_a_file(tmp_path: Path) -> None:
    entry = {
        "server": "https://x",
        "certificate-authority": "missing",
        "certificate-authority-data": base64.b64encode(b"PEM").decode(),
        "tls-server-name": "kubernetes",
        "insecure-skip-tls-verify": True,
        "proxy-url": "http://proxy:3128",
    }
    access = load(write(tmp_path / "config", config(clusters=named("cluster", c=entry))), {"HTTPS_PROXY": "http://no"})
    assert access.tls == Tls(authorities=b"PEM", verify=False, server_name="kubernetes")
    assert access.proxy == "http://proxy:3128"


def test_data_that_is_not_base64(tmp_path: Path) -> None:
    clusters = named("cluster", c={"server": "https://x", "certificate-authority-data": "x"})
    assert "is not base64" in refused(write(tmp_path / "config", config(clusters=clusters))).message

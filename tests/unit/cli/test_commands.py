"""Flags become a request; what is done with it is replaced here by a note of it."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from bridge import __version__
from bridge.cli.app import app
from bridge.errors import ClusterError, TargetError
from bridge.plan.ports import Expose
from bridge.plan.probe import Probe, Rule
from bridge.plan.target import TargetSpec
from bridge.session.request import ClusterChoice, MountMode, RestoreRequest, RunRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.testing import Result


@pytest.fixture(autouse=True)
def _own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BRIDGE_IMAGE", "BRIDGE_TIMEOUT", "BRIDGE_GRACE", "BRIDGE_HOLD"):
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Each command sets up logging for a process of its own."""
    root, ours = logging.getLogger(), logging.getLogger("bridge")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:], level, own_level = before
    root.setLevel(level)
    ours.setLevel(own_level)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """``asked("run", ...)``: the arguments that the session's function of that command got."""
    seen: list[Any] = []

    def noted(result: object) -> Callable[..., object]:
        def note(*arguments: Any, **options: Any) -> object:
            seen.append((arguments, options))
            return result

        return note

    monkeypatch.setattr("bridge.session.run.run", noted(7))
    monkeypatch.setattr("bridge.session.restore.restore", noted(["restored deployment/web"]))
    monkeypatch.setattr("bridge.session.look.leave", noted("left deployment/web"))
    monkeypatch.setattr("bridge.session.look.local_status", noted([]))
    monkeypatch.setattr("bridge.session.look.list_sessions", noted(([], None)))
    monkeypatch.setattr("bridge.session.install.install", noted(["role/bridge-keeper created"]))
    monkeypatch.setattr("bridge.session.install.manifest", noted([{"kind": "Role"}]))

    def ask(*words: str, code: int = 0) -> Any:
        result = invoke(*words)
        assert result.exit_code == code, result.output
        return (*seen.pop(), result.stdout)

    return ask


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def request(asked: Callable[..., Any], *words: str) -> RunRequest:
    (request, _), _, _ = asked("run", *words, code=7)  # the exit code is the process's
    assert isinstance(request, RunRequest)
    return request


def test_without_flags_everything_is_as_configured(asked: Callable[..., Any]) -> None:
    assert request(asked, "python", "app.py") == RunRequest(
        command=("python", "app.py"), image=f"bridge-proxy:{__version__}", timeout=60.0, grace=30.0, hold=10.0
    )


def test_each_flag_reaches_the_request(asked: Callable[..., Any]) -> None:
    words = (
        "--swap deploy/web:app -e 8080 --expose 9090:90 --context kind -n shop --kubeconfig /k --env-file e "
        "--env-json j --image other:1 --run-init-containers --grace 12 --hold 0 --keep-original --fallback "
        "--probe http:/healthz --mount copy --mount-at d --copy-limit 2Gi "
        "--takeover --allow-takeover --timeout 5 -- python app.py --fallback"
    )
    assert request(asked, *words.split()) == RunRequest(
        command=("python", "app.py", "--fallback"),
        where=ClusterChoice(kubeconfig="/k", context="kind", namespace="shop"),
        target=TargetSpec.parse("deployment/web:app"),
        exposes=(Expose.parse("8080"), Expose.parse("9090:90")),
        env_file=Path("e"),
        env_json=Path("j"),
        image="other:1",
        timeout=5.0,
        run_init_containers=True,
        grace=12.0,
        hold=0.0,
        probe=Probe(Rule.HTTP, "/healthz"),
        mount=MountMode.COPY,
        mount_at=Path("d"),
        copy_limit=2 * 1024**3,
        keep_original=True,
        fallback=True,
        takeover=True,
        allow_takeover=True,
    )


def test_up_has_the_same_flags_and_no_command(asked: Callable[..., Any]) -> None:
    words = ["--swap", "web", "-e", "8000:8080", "--probe", "process", "--hold", "0", "--allow-takeover"]
    (of_up, _), _, _ = asked("up", *words, code=7)
    assert of_up == replace(request(asked, *words, "x"), command=())
    assert invoke("up", "x").exit_code == 2


def test_flags_after_the_command_are_the_commands(asked: Callable[..., Any]) -> None:
    found = request(asked, "--swap", "web", "curl", "--grace", "1", "-n", "x")
    assert found.command == ("curl", "--grace", "1", "-n", "x")
    assert found.grace == 30


def test_variables_are_the_defaults_and_flags_win(asked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"GRACE": "44", "HOLD": "3", "TIMEOUT": "9", "IMAGE": "of-variable:1"}.items():
        monkeypatch.setenv(f"BRIDGE_{name}", value)
    found = request(asked, "x")
    assert (found.grace, found.hold, found.timeout, found.image) == (44, 3, 9, "of-variable:1")
    found = request(asked, "--grace", "5", "--hold", "0", "x")
    assert (found.grace, found.hold) == (5, 0)


@pytest.mark.parametrize(
    "words",
    [
        *("--grace 2 x", "--grace soon x", "--hold -1 x", "--timeout 0 x", "--nonsense x", "--swap web"),
        *("--mount some x", "--copy-limit much x", "--mount off --mount-at d x"),
    ],
)
def test_what_can_not_be_meant_is_refused_before_anything(words: str) -> None:
    assert invoke("run", *words.split()).exit_code == 2


def test_a_name_that_is_none_is_told_with_its_own_exit_code(capfd: pytest.CaptureFixture[str]) -> None:
    assert invoke("run", "--swap", "svc/web", "x").exit_code == 3
    assert invoke("up", "--probe", "tcp").exit_code == 2


def test_restore_passes_on_what_is_to_be_restored(asked: Callable[..., Any]) -> None:
    (found, _), _, out = asked("restore", "web", "-n", "shop", "--timeout", "9")
    assert found == RestoreRequest(where=ClusterChoice(namespace="shop"), name="web", timeout=9)
    assert out == "restored deployment/web\n"
    (found, _), _, out = asked("restore", "--output", "json")
    assert found == RestoreRequest(timeout=60)
    assert json.loads(out) == {"version": 1, "done": ["restored deployment/web"]}


def test_leave_passes_on_the_name_and_how_long_to_wait(
    asked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked("leave", "web", "--timeout", "4") == (("web",), {"timeout": 4.0}, "left deployment/web\n")
    monkeypatch.setenv("BRIDGE_TIMEOUT", "8")
    _, options, out = asked("leave", "web", "-o", "json")
    assert options == {"timeout": 8.0}
    assert json.loads(out) == {"version": 1, "done": ["left deployment/web"]}


def test_list_passes_on_where_to_look(asked: Callable[..., Any]) -> None:
    assert asked("list", "-A", "--context", "kind") == (
        (ClusterChoice(context="kind"),),
        {"everywhere": True},
        "no sessions\n",
    )
    _, options, out = asked("list", "-o", "json")
    assert options == {"everywhere": False}
    assert json.loads(out) == {"version": 1, "sessions": []}


def test_status_says_that_there_is_none(asked: Callable[..., Any]) -> None:
    assert asked("status") == ((), {}, "no sessions on this laptop\n")
    assert json.loads(asked("status", "-o", "json")[2]) == {"version": 1, "sessions": []}


def test_install_writes_the_manifest_and_applies_it_only_when_told_to(asked: Callable[..., Any]) -> None:
    assert asked("install", "-n", "shop") == ((ClusterChoice(namespace="shop"),), {}, "kind: Role\n")
    assert asked("install", "--apply") == ((ClusterChoice(),), {}, "role/bridge-keeper created\n")
    assert json.loads(asked("install", "--apply", "-o", "json")[2]) == {
        "version": 1,
        "done": ["role/bridge-keeper created"],
    }


@pytest.mark.parametrize(("error", "code"), [(TargetError("no such target", hint="Look."), 3), (ClusterError("no"), 4)])
def test_an_error_ends_on_stderr_with_its_exit_code(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> object:
        raise error

    monkeypatch.setattr("bridge.session.look.local_status", fail)
    result = invoke("status")
    assert (result.exit_code, result.stdout) == (code, "")
    assert f"bridge: {error}" in result.stderr


def test_help_names_every_command() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    for command in ("run", "list", "status", "leave", "restore", "install", "ide"):
        assert command in result.stdout


def test_the_version_is_said() -> None:
    assert invoke("--version").stdout == f"bridge {__version__}\n"

"""`bridge ide`: flags become an entry; the result is a line about each file, or a diff."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from bridge.cli.app import app

if TYPE_CHECKING:
    from click.testing import Result


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("app.py").touch()


def ide(*words: str) -> Result:
    return CliRunner().invoke(app, ["ide", *words])


def entry() -> dict[str, object]:
    found: dict[str, object] = json.loads(Path(".vscode/launch.json").read_text())["configurations"][0]
    return found


def test_each_flag_is_in_the_entry() -> None:
    words = "--swap deploy/tasks -e 8000:80 --context kind -n shop --kubeconfig k --name mine app.py --name its -n own"
    assert ide("vscode", *words.split()).exit_code == 0
    assert entry()["name"] == "mine"
    assert entry()["program"] == "${workspaceFolder}/app.py"
    assert entry()["args"] == ["--name", "its", "-n", "own"]
    options = f"--swap deployment/tasks --context kind --namespace shop --kubeconfig {Path('k').absolute()} --expose"
    assert entry()["pythonArgs"] == [
        "${workspaceFolder}/.vscode/bridge_run.py", *options.split(), "8000:80", "--",
    ]  # fmt: skip


def test_a_module_takes_all_words_as_its_arguments() -> None:
    assert ide("vscode", "-s", "tasks", "-m", "uvicorn", "app:app", "--reload").exit_code == 0
    assert (entry()["module"], entry()["args"]) == ("uvicorn", ["app:app", "--reload"])


def test_the_result_is_text_json_or_a_diff() -> None:
    assert "+++ .run/bridge_tasks.run.xml" in ide("pycharm", "-s", "tasks", "--dry-run", "app.py").stdout
    assert not Path(".run").exists()
    made = [".run/bridge_run.py: made", ".run/bridge_tasks.run.xml: made"]
    assert ide("pycharm", "-s", "tasks", "app.py").stdout.splitlines() == made
    again = json.loads(ide("pycharm", "-s", "tasks", "-o", "json", "app.py").stdout)
    assert again == {"version": 1, "done": [line.replace("made", "as it was") for line in made]}


def test_what_can_not_be_meant_is_refused() -> None:
    assert ide("emacs").exit_code == 2
    assert ide("vscode", "--swap", "svc/tasks").exit_code == 3
    assert ide("vscode", "-e", "none").exit_code == 2
    assert ide("vscode", "nothing.py").exit_code == 2
    assert not Path(".vscode").exists()

"""The files in the project: made, changed, kept; never destroyed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.errors import UsageError
from bridge.plan.ide import Start
from bridge.plan.vscode import entry_of
from bridge.session import debuggee
from bridge.session.ide import Ide, prepare

TASKS = Start(name="bridge: tasks", options=("--swap", "tasks"), program="app.py")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "app.py").touch()
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("ide", "name"), [(Ide.VSCODE, ".vscode/launch.json"), (Ide.PYCHARM, ".run/bridge_tasks.run.xml")]
)
def test_the_files_are_made_once(project: Path, ide: Ide, name: str) -> None:
    runner = name.rpartition("/")[0] + "/bridge_run.py"
    [would_make_runner, would_make_entry] = prepare(ide, TASKS, project, dry_run=True)
    assert "+def main() -> int:" in would_make_runner
    assert "--swap" in would_make_entry
    assert list(files(project)) == ["app.py"]
    assert prepare(ide, TASKS, project) == [f"{runner}: made", f"{name}: made"]
    made = files(project)
    assert made[runner] == Path(debuggee.__file__).read_bytes()
    assert prepare(ide, TASKS, project) == [f"{runner}: as it was", f"{name}: as it was"]
    assert prepare(ide, TASKS, project, dry_run=True) == []
    assert files(project) == made


def test_mode_link_line_ends_and_mark_of_a_file_stay(project: Path) -> None:
    real, link = project / "dotfiles.json", project / ".vscode/launch.json"
    real.write_bytes(b'\xef\xbb\xbf{\r\n  "version": "0.2.0"\r\n}\r\n')
    real.chmod(0o640)
    link.parent.mkdir()
    link.symlink_to(real)
    prepare(Ide.VSCODE, TASKS, project)
    content = real.read_bytes()
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert content.startswith(b'\xef\xbb\xbf{\r\n  "version": "0.2.0",\r\n  "configurations": [\r\n')
    assert content.count(b"\n") == content.count(b"\r\n")


def test_a_broken_file_is_left_and_the_entry_told(project: Path) -> None:
    broken = b'{\n  "configurations": [\n    {"name": "x" "type": "y"}\n  ]\n}\n'
    (project / ".vscode").mkdir()
    (project / ".vscode/launch.json").write_bytes(broken)
    with pytest.raises(UsageError) as raised:
        prepare(Ide.VSCODE, TASKS, project)
    assert raised.value.message == '.vscode/launch.json:3:18: a "," or "}" is missing here'
    entry = raised.value.hint.partition("by hand:\n")[2]
    assert json.loads(entry) == entry_of(TASKS)
    assert (project / ".vscode/launch.json").read_bytes() == broken
    assert (project / ".vscode/bridge_run.py").exists()  # the entry needs it


@pytest.mark.parametrize(("content", "what"), [(b"\xff{}", "it is not in UTF-8"), (b"[]", "it is no object")])
def test_a_file_of_an_unexpected_kind_is_left(project: Path, content: bytes, what: str) -> None:
    (project / ".vscode").mkdir()
    (project / ".vscode/launch.json").write_bytes(content)
    with pytest.raises(UsageError, match=what):
        prepare(Ide.VSCODE, TASKS, project)
    assert (project / ".vscode/launch.json").read_bytes() == content


def test_a_configuration_is_changed_where_pycharm_has_put_it(project: Path) -> None:
    prepare(Ide.PYCHARM, TASKS, project)
    moved = project / ".idea/runConfigurations/bridge_tasks.xml"
    moved.parent.mkdir(parents=True)
    (project / ".run/bridge_tasks.run.xml").rename(moved)
    again = Start(name=TASKS.name, options=("--swap", "tasks", "-n", "dev"))
    assert prepare(Ide.PYCHARM, again, project)[1] == ".idea/runConfigurations/bridge_tasks.xml: changed"
    assert b"-n dev" in moved.read_bytes()


def test_the_module_is_the_one_that_pycharm_knows(project: Path) -> None:
    (project / ".idea").mkdir()
    (project / ".idea/shop.iml").touch()
    prepare(Ide.PYCHARM, TASKS, project)
    assert b'<module name="shop" />' in (project / ".run/bridge_tasks.run.xml").read_bytes()


def test_somebody_elses_file_is_not_written_over(project: Path) -> None:
    (project / ".vscode").mkdir()
    (project / ".vscode/bridge_run.py").write_text("print('mine')\n")
    with pytest.raises(UsageError, match="not written by bridge"):
        prepare(Ide.VSCODE, TASKS, project)
    assert (project / ".vscode/bridge_run.py").read_text() == "print('mine')\n"
    assert not (project / ".vscode/launch.json").exists()


def test_a_program_that_is_not_there_is_said(project: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file ap\.py"):
        prepare(Ide.VSCODE, Start(name="x", options=(), program="ap.py"), project)
    with pytest.raises(UsageError, match="PyCharm must be told what to start"):
        prepare(Ide.PYCHARM, Start(name="x", options=()), project)
    assert list(files(project)) == ["app.py"]


def test_a_file_in_the_place_of_the_folder_is_said(project: Path) -> None:
    (project / ".vscode").touch()
    with pytest.raises(UsageError, match="can't be read: Not a directory"):
        prepare(Ide.VSCODE, TASKS, project)

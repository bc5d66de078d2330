"""Which files start the process again."""

from __future__ import annotations

import pytest

from bridge.errors import UsageError
from bridge.plan.sources import Sources

HERE = "/home/ann/tasks"


def counted(*globs: str, of: tuple[str, ...]) -> list[str]:
    sources = Sources.parse(globs, HERE)
    return [path for path in of if sources.count(path if path.startswith("/") else f"{HERE}/{path}")]


def test_without_patterns_source_files_in_any_folder_count() -> None:
    wanted = ("app.py", "a/b/view.tsx", "settings.toml", ".env", "templates/index.html", "cmd/main.go")
    assert counted(of=wanted) == list(wanted)


def test_what_programs_write_does_not_count() -> None:
    assert (
        counted(of=("tasks.log", "db.sqlite3", "state.json", "upload.png", "Makefile", "/home/ann/other/app.py")) == []
    )


@pytest.mark.parametrize("folder", [".git", "node_modules", ".venv", "venv", "__pycache__", "a/.pytest_cache/b"])
def test_folders_of_tools_are_passed_over_even_when_a_pattern_names_their_files(folder: str) -> None:
    assert counted(of=(f"{folder}/x.py",)) == []
    assert counted("*", of=(f"{folder}/x.py",)) == []


def test_a_project_may_itself_be_in_such_a_folder() -> None:
    sources = Sources.parse((), "/srv/venv/project")
    assert sources.count("/srv/venv/project/app.py")
    assert not sources.count("/srv/venv/project/venv/app.py")


@pytest.mark.parametrize(
    "name", [".#app.py", "app.py~", ".app.py.swp", "#app.py#", "app.py___jb_tmp___", "flycheck_app.py"]
)
def test_what_editors_keep_for_themselves_does_not_count(name: str) -> None:
    assert counted("*", of=(name,)) == []


@pytest.mark.parametrize(
    ("glob", "matches", "others"),
    [
        ("*.txt", ("a.txt", "b/a.txt"), ("a.txt.bak", "a.TXT")),
        ("app.py", ("app.py", "b/app.py"), ("xapp.py", "appxpy")),
        ("./app.py", ("app.py",), ("b/app.py",)),
        ("templates/*.html", ("templates/a.html",), ("templates/b/a.html", "a.html")),
        ("templates/**/*.html", ("templates/a.html", "templates/b/c/a.html"), ("a.html",)),
        ("data/**", ("data/a", "data/b/c"), ("other/a",)),
        ("[!a]?.sql", ("bc.sql", "x/bc.sql"), ("ac.sql", "b.sql")),
        ("[a-c].sql", ("b.sql",), ("d.sql",)),
        ("../lib/**/*.go", ("/home/ann/lib/x/a.go",), ("/home/ann/a.go", "lib/a.go")),
        ("/etc/tasks/*", ("/etc/tasks/tasks.ini",), ("/etc/tasks/d/tasks.ini",)),
        ("a{b}.sql", ("a{b}.sql",), ("ab.sql",)),
    ],
)
def test_patterns(glob: str, matches: tuple[str, ...], others: tuple[str, ...]) -> None:
    assert counted(glob, of=matches) == list(matches)
    assert counted(glob, of=others) == []


def test_folders_outside_are_looked_through_as_far_as_a_pattern_needs() -> None:
    sources = Sources.parse(("*.py", "../lib/**/*.go", "/etc/tasks/*"), HERE)
    assert sources.roots == (HERE, "/home/ann/lib", "/etc/tasks")
    assert sources.watches("/home/ann/lib/x")
    assert not sources.watches("/home/ann")
    assert not sources.watches(f"{HERE}/.git/objects")


@pytest.mark.parametrize("glob", ["", "[z-a].py"])
def test_what_is_no_pattern_is_refused(glob: str) -> None:
    with pytest.raises(UsageError):
        Sources.parse((glob,), HERE)

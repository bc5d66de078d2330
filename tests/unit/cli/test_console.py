"""The account of a session, for people and for programs."""

from __future__ import annotations

import errno
import json
import subprocess
from typing import TYPE_CHECKING

from bridge.cli.console import Console, JsonLines
from bridge.laptop.support import explain

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_json_lines_are_versioned_and_say_the_event_and_its_facts(capsys: pytest.CaptureFixture[str]) -> None:
    account = JsonLines()
    account.doing("looking")
    account.done("started", event="started", pid=7)
    account.note("a note")
    account.warn("a\nwarning", event="exited", code=3)
    account.fail("it can't", "Try this.")
    told = lines(capsys)
    assert [each.pop("version") for each in told] == [1] * 5
    assert all(isinstance(each.pop("t"), float) for each in told)
    assert told == [
        {"event": "doing", "text": "looking"},
        {"event": "started", "text": "started", "pid": 7},
        {"event": "note", "text": "a note"},
        {"event": "exited", "text": "a\nwarning", "code": 3},
        {"event": "failed", "text": "it can't", "hint": "Try this."},
    ]


def test_for_people_events_are_sentences_only(capsys: pytest.CaptureFixture[str]) -> None:
    account = Console()
    account.done("started", event="started", pid=7)
    account.warn("careful", event="exited", code=3)
    written = capsys.readouterr().err
    assert [line.split("s ", 1)[1] for line in written.splitlines()] == ["+ started", "! careful"]


def test_the_apparmor_profile_of_a_hint_can_be_pasted_as_it_is_shown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ubuntu, own = {"kernel.apparmor_restrict_unprivileged_userns": "1"}, {"attr/current": "unconfined"}
    error = explain(
        "user namespace", errno.EPERM, "", sysctl=ubuntu.get, own=own.get, interpreter="/usr/bin/python3.12"
    )
    Console().fail(error.message, error.hint)
    _, shown = capsys.readouterr().err.split("that runs bridge:\n")
    commands, _ = shown.split("or to every program")
    sudo = 'sudo() { if [ "$1" = tee ]; then cat > profile; else echo "$@" > called; fi; }\n'
    subprocess.run(["/bin/sh"], input=sudo + commands, text=True, check=True, cwd=tmp_path)
    assert (tmp_path / "profile").read_text().splitlines() == [
        "abi <abi/4.0>,",
        "include <tunables/global>",
        "profile bridge /usr/bin/python3.12 flags=(unconfined) {",
        "  userns,",
        "}",
    ]
    assert (tmp_path / "called").read_text() == "apparmor_parser -r /etc/apparmor.d/bridge\n"

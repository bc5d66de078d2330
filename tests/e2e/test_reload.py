"""The hotfix loop: an edit is answered by the cluster's users' next requests, and none of them fails."""

from __future__ import annotations

import json
import secrets
import signal
import statistics
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.e2e.faults.traffic import traffic
from tests.e2e.running import Bridge, answered_by, ask, assert_restored, bridge, spec_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.access import AnyLaptop, Kubectl

EDITS = 20
TYPICAL, LONGEST = 1.0, 5.0  # seconds from an edit's save to its first answer


@dataclass
class Editor:
    """`apps/editor.py` on the laptop."""

    process: subprocess.Popen[str]
    folder: str

    def save(self, edit: str) -> float:
        """Save an edit; when that was."""
        assert self.process.stdin
        self.process.stdin.write(f"{edit}\n")
        self.process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()


@contextmanager
def editor(laptop: AnyLaptop) -> Iterator[Editor]:
    """A project of the user's on the laptop, for the time of the block."""
    home = laptop.run(["sh", "-c", "echo $HOME"]).stdout.strip()
    folder = f"{home}/reload-{secrets.token_hex(4)}"
    command = ["python", "tests/e2e/apps/editor.py", "tests/e2e/apps/edited.py", folder]
    with laptop.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield Editor(process, folder)
        assert process.stdin
        process.stdin.close()


def test_every_edit_is_answered_within_the_second_and_no_request_fails(
    laptop: AnyLaptop, kubectl: Kubectl, shop: str
) -> None:
    before = spec_of(kubectl)
    with (
        editor(laptop) as project,
        bridge(laptop, shop, "--swap", "web", "--reload", "python", "app.py", "8080", cwd=project.folder) as session,
    ):
        session.swapped()
        answered_by(kubectl, "edit 0")
        name = session.err.wait_for(r"proxy pod bridge-web-(\w+)-", 1)[1]  # others may have swapped a web, too
        with Bridge(laptop, "exec", name, "--", "sleep", "1000") as inside, traffic(kubectl, new=50, kept=20) as meter:
            saved, restarted_at = {}, 0
            for number in range(1, EDITS + 1):
                saved[number] = project.save(f"{number}")
                session.out.wait_for(rf"serving edit {number}\n", 20)
                restarted_at = session.err.wait_for("accepting again", 20, after=restarted_at).end()
                session.err.wait_for(r"GET / 200 in [0-9]+ ms, for [0-9.]+\n", 20, after=restarted_at)
            project.save("broken(")
            session.err.wait_for(r"the process has ended \(exit code 1\); a change of a file starts it again", 20)
            project.save(f"{EDITS + 1}")
            session.out.wait_for(rf"serving edit {EDITS + 1}\n", 20)
            meter.wait_for(f"edit {EDITS + 1}")
            assert inside.process.poll() is None  # who came in by itself goes on
        assert meter.failed() == [], f"{meter}"
        assert {one.connection for one in meter.of("kept")} == {1}  # the client's connection has outlived them all
        took = [
            min(one.ended for one in meter.answered_by(f"edit {number}") if one.who == f"edit {number}") - at
            for number, at in saved.items()
        ]
        print(f"edit -> answered by the new code: median {statistics.median(took):.3f} s, longest {max(took):.3f} s")
        assert statistics.median(took) <= TYPICAL, took
        assert max(took) <= LONGEST, took
        session.process.send_signal(signal.SIGINT)
        assert session.wait() == 130
    assert_restored(kubectl, before)


def test_requests_are_told_in_json_lines(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    before = spec_of(kubectl)
    options = ("--swap", "web", "--log-requests", "--output", "json")
    with bridge(laptop, shop, *options, "python", "tests/e2e/apps/edited.py", "8080") as session:
        session.swapped()
        answered_by(kubectl, "edit 0")
        ask(kubectl, "http://web/search?token=hidden&q=shoes")
        ask(kubectl, "http://web/a", "--head")
        ask(kubectl, "http://web/b", "--data", "body")
        session.err.wait_for(r'"path": "/b"', 10)
        assert session.end() == 128 + signal.SIGTERM
    assert_restored(kubectl, before)
    told = [json.loads(line) for line in session.err.text.splitlines()]
    assert {each["version"] for each in told} == {1}
    assert {"started", "swapped", "exited"} <= {each["event"] for each in told}
    requests = [each for each in told if each["event"] == "request"][-3:]
    assert [(each["method"], each["path"], each["status"]) for each in requests] == [
        ("GET", "/search?token=...&q=...", 200),
        ("HEAD", "/a", 200),
        ("POST", "/b", 200),
    ]
    pod = kubectl.json("get", "pod", "client")["status"]["podIP"]
    assert {each["client"] for each in requests} == {pod}
    assert all(0.005 < each["took"] < 3 and not each["cut"] for each in requests)
    assert "hidden" not in session.err.text

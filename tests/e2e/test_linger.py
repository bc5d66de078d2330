"""A session that is kept after its command: the same command again is served at once; nothing is ever left of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psutil

from tests.e2e.faults.traffic import traffic
from tests.e2e.running import (
    PROGRAM,
    SERVER,
    Bridge,
    answered_by,
    assert_nothing_left,
    assert_restored,
    bridge,
    eventually,
    left,
    sessions,
    spec_of,
    status,
)
from tests.e2e.test_enter import JOB
from tests.e2e.test_process import in_terminal

if TYPE_CHECKING:
    from tests.cluster.access import AnyLaptop, Kubectl

SWAP = ("--swap", "web", "python", SERVER, "8080")


def kept(laptop: AnyLaptop, namespace: str, linger: str = "10m", *words: str, **options: Any) -> Bridge:
    """`bridge run --linger`."""
    return bridge(laptop, namespace, "--linger", linger, *(words or SWAP), **options)


def proxy_pods(kubectl: Kubectl) -> list[str]:
    return kubectl("get", "pods", "-l", "bridge.internal/session", "-o", "name").split()


def test_the_same_command_again_is_served_at_once_and_no_request_fails(
    laptop: AnyLaptop, kubectl: Kubectl, shop: str
) -> None:
    before = spec_of(kubectl)
    with traffic(kubectl, new=50, kept=20) as meter:
        with kept(laptop, shop) as first:
            first.swapped()
            meter.wait_for(first.served_by())
            assert spec_of(kubectl)["replicas"] == 0
            assert first.end() == 0  # the server's own code for SIGTERM
        assert "kept for 10m" in first.err.text
        answered_by(kubectl, "version=1")
        pods, found = proxy_pods(kubectl), status(laptop, shop)
        assert spec_of(kubectl) == before
        assert 0 < found["lingers"] <= 600
        (listed,) = sessions(laptop, "list", "-n", shop)
        assert 0 < listed["lingers"] <= 600

        with kept(laptop, shop) as second:
            second.swapped()
            meter.wait_for(second.served_by())
            eventually(lambda: str(spec_of(kubectl)["replicas"]), "0")
            assert proxy_pods(kubectl) == pods
            assert status(laptop, shop)["lingers"] is None
            assert second.end() == 0
        with kept(laptop, shop, "10m", "--swap", "web", "sh", "-c", "echo out; exit 42") as third:
            assert third.wait() == 42
            assert third.out.text == "out\n"
        assert proxy_pods(kubectl) == pods
        holder = psutil.Process(found["pid"])
        left_ = laptop.run([PROGRAM, "leave", found["session"]])
        assert left_.returncode == 0, left_.stderr
    assert meter.failed("new") == [], f"{meter}"
    # One that is kept open ends with the pod that it was made to before the swap, and with each process: a request may
    # be just on it. Made to the original by way of the laptop, it goes on with the next process.
    assert meter.failed("kept")[3:] == [], f"{meter}"
    by_process, by_original = (meter.answered_by(who, "kept") for who in (second.served_by(), "version=1"))
    assert by_process[0].connection in {one.connection for one in by_original}
    holder.wait(20)
    assert_restored(kubectl, before)


def test_its_terminal_is_the_command_s(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    before = spec_of(kubectl)
    run = f"{PROGRAM} run -n {shop} --linger 10m --swap web"
    with in_terminal(laptop, "--norc", "--noediting", "-i", program="bash") as (terminal, shell):
        terminal.type("PS1='rea''dy> '\n")
        terminal.wait_for("ready> ")
        terminal.type(f"{run} python -c '{JOB}'\n")
        terminal.wait_for("a job of 1")
        terminal.type("\x1a")  # Ctrl-Z stops the command, not the session
        terminal.wait_for(r"Stopped[\s\S]*ready> ")
        assert status(laptop, shop)["process"]
        terminal.type("fg\n")
        terminal.wait_for("goes on 1")
        terminal.type("\x03")
        terminal.wait_for(r"kept for 10m[\s\S]*ready> ")
        terminal.type("echo interrupted: $?\n")
        terminal.wait_for("interrupted: 130")
        terminal.type(f"{run} cat\n")
        terminal.wait_for("started cat")
        terminal.type("to itself\n")
        terminal.wait_for(r"to itself[\s\S]*to itself")
        terminal.type("\x04")
        terminal.wait_for(r"kept for 10m[\s\S]*kept for 10m[\s\S]*ready> ")
        terminal.type("exit\n")
        assert shell.wait(20) == 0
    assert laptop.run([PROGRAM, "leave", status(laptop, shop)["session"]]).returncode == 0
    assert_restored(kubectl, before)


def test_what_is_killed_is_put_back(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    before = spec_of(kubectl)
    with kept(laptop, shop) as session:
        session.swapped()
        process = psutil.Process(int(session.served_by().rpartition("=")[2]))
        session.kill()  # the terminal's side: that ends the run
    process.wait(20)
    eventually(lambda: str(status(laptop, shop)["lingers"] is not None), "True")
    answered_by(kubectl, "version=1")
    holder = psutil.Process(status(laptop, shop)["pid"])
    others = holder.children(recursive=True)
    holder.kill()
    _, alive = psutil.wait_procs(others, 60)
    assert alive == []
    assert_restored(kubectl, before)


def test_it_ends_when_the_time_is_over_or_the_pods_are_made_otherwise(
    laptop: AnyLaptop, kubectl: Kubectl, shop: str
) -> None:
    with kept(laptop, shop, "3s", "--swap", "web", "true") as session:
        assert session.wait() == 0
    assert_nothing_left(kubectl)

    with kept(laptop, shop) as session:
        session.swapped().end()
    assert left(kubectl)
    kubectl("set", "env", "deployment/web", "COLOR=blue")
    before = spec_of(kubectl)
    assert_nothing_left(kubectl, timeout=40)
    with kept(laptop, shop, "1h", "--swap", "web", "sh", "-c", "echo $COLOR") as session:
        assert session.wait() == 0
        assert session.out.text == "blue\n"
        assert "was kept" not in session.err.text
    assert laptop.run([PROGRAM, "leave", status(laptop, shop)["session"]]).returncode == 0
    assert_restored(kubectl, before)


def test_a_command_that_cannot_use_the_kept_session_ends_it_first(
    laptop: AnyLaptop, kubectl: Kubectl, shop: str
) -> None:
    before = spec_of(kubectl)
    with kept(laptop, shop, "10m", "--swap", "web", "true") as session:
        assert session.wait() == 0
    with kept(laptop, shop, "10m", "--hold", "3", "--swap", "web", "true") as session:
        assert session.wait() == 0
        assert "ending the session that was kept for deployment/web" in session.err.text
    with kept(laptop, shop, "10m", "--hold", "3", *SWAP) as session:
        assert "the session was kept" in session.swapped().err.text  # though the command before took nothing
        with bridge(laptop, shop, *SWAP) as refused:  # one that runs is left alone
            assert refused.wait() == 3
        assert "already swapped" in refused.err.text
        answered_by(kubectl, "laptop pid=")
        session.end()
    with bridge(laptop, shop, *SWAP) as session:
        session.swapped()
        assert "ending the session that was kept for deployment/web" in session.err.text
        answered_by(kubectl, "laptop pid=")
    assert_restored(kubectl, before)

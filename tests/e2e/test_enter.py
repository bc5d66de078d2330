"""One more program in a session that runs (`bridge exec`), and a session without a process of its own (`bridge up`)."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.e2e.running import (
    PROGRAM,
    SERVER,
    Bridge,
    answered_by,
    ask,
    assert_restored,
    bridge,
    eventually,
    spec_of,
)
from tests.e2e.test_process import in_terminal

if TYPE_CHECKING:
    from tests.cluster.access import AnyLaptop, Kubectl

JOB = """\
import os, signal, time; signal.signal(signal.SIGCONT, lambda *_: os.write(1, b"goes on %d" % 1)); \
os.write(1, b"a job of %d" % 1); time.sleep(100)"""


def probed(kubectl: Kubectl, session: str) -> str:
    """What the kubelet's readiness probe of the session's proxy pod gets now."""
    (pod,) = kubectl.json("get", "pods", "-l", f"bridge.internal/session={session}")["items"]
    (container,) = pod["spec"]["containers"]
    probe = container["readinessProbe"]["httpGet"]
    url = f"http://{pod['status']['podIP']}:{probe['port']}{probe['path']}"
    return ask(kubectl, url, "--max-time", "10", "-o", "/dev/null", "-w", "%{http_code}")


def test_a_program_enters_a_session_and_is_its_own_terminals(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    words = ["-s", "web", "--probe", "http:/healthz", "--", "python", SERVER, "8080"]
    with bridge(laptop, shop, *words) as session:
        session.swapped()
        # The cluster's names and Services, its environment over the caller's own, and the caller's place.
        script = "echo $WEB_SERVICE_PORT $MINE; pwd; umask; id -u; curl -s --max-time 5 http://web; cat; exit 7"
        name = session.err.wait_for(r"bridge-web-([a-z0-9]+)-", 20)[1]  # others on this laptop swap a web, too
        inside = laptop.run(
            ["sh", "-c", 'umask 027; exec "$@"', "sh", PROGRAM, "exec", name, "--", "sh", "-c", script],
            cwd="/tmp", env={"MINE": "mine"}, input="from stdin\n",
        )  # fmt: skip
        uid = laptop.run(["id", "-u"]).stdout
        assert inside.stdout == f"80 mine\n/tmp\n0027\n{uid}{session.served_by()}\nfrom stdin\n", inside.stderr
        assert inside.returncode == 7

        none = laptop.run([PROGRAM, "exec", "nobody", "--", "true"])
        assert none.returncode == 3
        assert "this laptop has no session of nobody" in none.stderr
        assert "deployment/web" in none.stderr

        assert probed(kubectl, name) == "200"
        process = session.served_by().rpartition("=")[2]
        laptop.run(["kill", "-STOP", process], check=True)
        assert probed(kubectl, name) == "200"  # as a debugger holds it: it takes the request, and does not answer
        laptop.run(["kill", "-CONT", process], check=True)

        with in_terminal(laptop, "exec", name, "--", "bash", "--norc", "--noediting", "-i") as (terminal, shell):
            terminal.type("PS1='rea''dy> '\n")
            terminal.wait_for("ready> ")
            terminal.type(f"python -c '{JOB}'\n")
            terminal.wait_for("a job of 1")
            terminal.type("\x1a")  # Ctrl-Z stops the shell's job, not the shell
            terminal.wait_for(r"Stopped[\s\S]*ready> ")
            terminal.type("fg\n")
            terminal.wait_for("goes on 1")  # continued by the shell, when the job has the terminal
            terminal.type("\x03")
            terminal.wait_for(r"\^C[\s\S]*ready> ")
            terminal.type("echo interrupted: $?\n")
            terminal.wait_for("interrupted: 130")
            terminal.type("echo in a namespace of its own: $(unshare -r id -u)\n")
            terminal.wait_for("its own: 0")
            # A server of the shell's is on the laptop's localhost, as the process's ports are.
            terminal.type(f"python {SERVER} 17099 &\n")
            terminal.wait_for("serving pid=")
            eventually(lambda: laptop.run(["curl", "-s", "http://localhost:17099/"]).stdout, "laptop pid=")
            assert session.end() == 0  # and with the session it ends, and all that it has started
            shell.wait(30)
        assert "laptop pid=" not in laptop.run(["curl", "-s", "http://localhost:17099/"]).stdout
        assert "version=1" in eventually(lambda: ask(kubectl), "version=1")


def test_what_an_ide_starts_beside_a_session_answers_the_cluster(
    laptop: AnyLaptop, kubectl: Kubectl, shop: str
) -> None:
    before = spec_of(kubectl)
    env_file = laptop.run(["mktemp", "-d"]).stdout.strip() + "/env"
    # Not 18080: there a port 8080 of a session beside this one may be published.
    words = ["-n", shop, "-s", "web", "-e", "17080:8080", "--hold", "60", "--env-file", env_file]
    with Bridge(laptop, "up", *words) as session:
        session.err.wait_for(r"up: waiting for a program that listens on 17080", 60)
        assert "WEB_SERVICE_PORT='80'" in laptop.run(["cat", env_file]).stdout
        assert "version=1" in ask(kubectl)
        with Bridge(laptop, SERVER, "17080", program=["python"]) as outside:
            session.swapped()
            answered_by(kubectl, f"{outside.served_by()}")
        # Nothing listens now: what comes is held, as in a restart.
        name = session.err.wait_for(r"bridge-web-([a-z0-9]+)-", 20)[1]
        with ThreadPoolExecutor(1) as other:
            held = other.submit(ask, kubectl, "http://web/", "--max-time", "60")
            eventually(lambda: laptop.run([PROGRAM, "status"]).stdout, "(1 held)")
            inside = Bridge(laptop, "exec", name, "--", "python", SERVER, "17080")
            assert inside.served_by() in held.result()
        with inside:
            answered_by(kubectl, inside.served_by())
            assert session.process.poll() is None
            status = laptop.run([PROGRAM, "status"]).stdout
            assert "none: what listens on this laptop answers" in status
            left = laptop.run([PROGRAM, "leave", name])
            assert (left.returncode, session.wait()) == (0, 0), left.stderr
            inside.wait(20)
    assert_restored(kubectl, before)


def test_a_port_that_the_cluster_does_not_send_to_is_offered_to_it(
    laptop: AnyLaptop, kubectl: Kubectl, shop: str
) -> None:
    with in_terminal(laptop, "up", "-n", shop, "-s", "web", "-e", "17081:8080") as (terminal, session):
        terminal.wait_for("waiting for a program that listens on 17081")
        (name,) = re.findall(r"bridge-web-([a-z0-9]+)-", terminal.text)
        with Bridge(laptop, "exec", name, "--", "python", SERVER, "17082") as inside:
            terminal.wait_for("listens on 17082, the cluster sends to 8080: use --expose 17082:8080")
            terminal.wait_for(r"\[Y/n\] ")
            terminal.type("\n")
            terminal.wait_for("is now answered by this laptop -> laptop port 8080 -> 17082")
            answered_by(kubectl, inside.served_by())
            terminal.type("\x03")
            terminal.wait_for("removed from the cluster")
            assert session.wait(30) == 0
    assert "version=1" in ask(kubectl)

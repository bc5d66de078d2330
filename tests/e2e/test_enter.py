"""One more program in a session that runs (`bridge exec`), and a session without a process of its own (`bridge up`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.running import PROGRAM, SERVER, ask, bridge, eventually
from tests.e2e.test_process import in_terminal

if TYPE_CHECKING:
    from tests.cluster.access import AnyLaptop, Kubectl


def test_a_program_enters_a_session_and_is_its_own_terminals(laptop: AnyLaptop, kubectl: Kubectl, shop: str) -> None:
    with bridge(laptop, shop, "-s", "web", "--", "python", SERVER, "8080") as session:
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

        with in_terminal(laptop, "exec", name, "--", "bash", "--norc", "--noediting", "-i") as (terminal, shell):
            terminal.type("PS1='rea''dy> '\n")
            terminal.wait_for("ready> ")
            terminal.type("sh -c 'echo a job 1; exec sleep 1000'\n")
            terminal.wait_for(r"\na job 1")
            terminal.type("\x1a")  # Ctrl-Z stops the shell's job, not the shell
            terminal.wait_for(r"Stopped[\s\S]*ready> ")
            terminal.type("fg\n")
            terminal.wait_for(r"\nsh -c")  # as fg says it
            terminal.type("\x03")
            terminal.wait_for(r"\^C\s+ready> ")
            terminal.type("echo interrupted: $?\n")
            terminal.wait_for("interrupted: 130")
            terminal.type("unshare -r id -u\n")
            terminal.wait_for(r"\n0\r")
            # A server of the shell's is on the laptop's localhost, as the process's ports are.
            terminal.type(f"python {SERVER} 18099 &\n")
            terminal.wait_for("serving pid=")
            eventually(lambda: laptop.run(["curl", "-s", "http://localhost:18099/"]).stdout, "laptop pid=")
            assert session.end() == 0  # and with the session it ends, and all that it has started
            shell.wait(30)
        assert "laptop pid=" not in laptop.run(["curl", "-s", "http://localhost:18099/"]).stdout
        assert "version=1" in eventually(lambda: ask(kubectl), "version=1")

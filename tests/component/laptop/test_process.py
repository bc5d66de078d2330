"""The process's business is its own: what a shell would give it, it has; and nothing of it outlives the session."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import stat
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.laptop.process import namespace_of, processes_in
from tests.component.laptop.conftest import Laptop, in_sandbox


# ---- what passes through ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("code", [0, 3, 255])
def test_the_exit_code_passes_through(laptop, code):
    assert laptop.run("sh", "-c", f"exit {code}").returncode == code


def test_a_signals_end_is_told_as_a_shell_does(laptop):
    assert laptop.run("sh", "-c", "kill -9 $$").returncode == 128 + signal.SIGKILL


def test_the_uid_and_files_are_the_developers(laptop):
    done = laptop.run("sh", "-c", "id -u; touch made; stat -c %u made; rm made")
    assert done.stdout.split() == [str(laptop.uid)] * 2


def test_the_working_directory_umask_and_stdin_pass_through(laptop):
    folder = laptop.home / "päth with space"
    folder.mkdir()
    folder.chmod(0o755)
    done = laptop.run("sh", "-c", "pwd; umask; cat", input="some\ninput", cwd=folder, umask=0o027)
    assert done.stdout == f"{folder}\n0027\nsome\ninput"


def test_stdout_and_stderr_stay_apart(laptop):
    done = laptop.run("sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_the_environment_is_exactly_what_was_given(laptop):
    given = laptop.environment | {"MULTI": "a\nb", "JSON": '{"a": "\\"b"}', "EMPTY": "", "ODD.name-1": "ü"}
    given |= {f"HUGE_{n}": "x" * 100_000 for n in range(10)}
    source = "import json, os; print(json.dumps(sorted((k.hex(), v.hex()) for k, v in os.environb.items())))"
    binary = {os.fsencode(k): os.fsencode(v) for k, v in given.items()} | {b"BYTES": b"\xff\xfe"}
    done = laptop.python(source, env=binary)
    seen = {bytes.fromhex(k): bytes.fromhex(v) for k, v in json.loads(done.stdout)}
    seen.pop(b"LC_CTYPE", None)  # Python's own (PEP 538)
    assert seen == binary


def test_no_descriptor_of_bridges_is_inherited_but_the_shells_are(laptop):
    read, write = os.pipe()
    os.write(write, b"from the shell")
    os.close(write)
    script = f"ls /proc/self/fd | wc -l; cat <&{read}"
    done = laptop.run("bash", "-c", script, pass_fds=[read])  # dash knows one digit only
    os.close(read)
    # stdin, stdout, stderr, the shell's pipe, and the folder that ls reads
    assert done.stdout == "5\nfrom the shell"


def test_signals_have_their_default_dispositions(laptop):
    done = laptop.run("grep", "-E", "SigIgn|SigBlk", "/proc/self/status")
    ignored, blocked = (int(line.split()[1], 16) for line in sorted(done.stdout.splitlines(), reverse=True))
    of_glibc = 0b11 << 31  # its two internal real-time signals, which nobody can set
    assert (ignored & ~of_glibc, blocked) == (0, 0)


def test_what_nohup_ignores_stays_ignored(laptop):
    argv = laptop.argv("grep", "SigIgn", "/proc/self/status")
    done = subprocess.run(
        ["nohup", *argv], cwd=laptop.home, env=laptop.environment, capture_output=True, text=True, check=True
    )
    assert int(done.stdout.split()[1], 16) & 1 << signal.SIGHUP - 1


def test_setuid_root_programs_have_no_root(laptop):
    if laptop.uid == 0:
        pytest.skip("the developer is root")
    assert laptop.run("sh", "-c", "su -c id; sudo -n id; unshare --net true").returncode != 0


def test_a_developer_who_is_root_keeps_every_id(laptop):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    argv = laptop.argv("sh", "-c", "id -u; touch owned; chown 4243:4244 owned; stat -c %u:%g owned; rm owned")
    argv = argv[argv.index(laptop.interpreter) :]
    done = subprocess.run(argv, cwd=laptop.home, env=laptop.environment, capture_output=True, text=True, check=False)
    assert done.stdout == "0\n4243:4244\n", done.stderr


# ---- what cannot be started ------------------------------------------------------------------------------------------
def test_a_command_that_is_not_found_is_127(laptop):
    done = laptop.run("no-such-program")
    assert (done.returncode, done.stderr.splitlines()[0]) == (127, "no-such-program: command not found")


def test_a_file_that_is_not_executable_is_126(laptop):
    done = laptop.run("/etc/passwd")
    assert (done.returncode, done.stderr.splitlines()[0]) == (126, "/etc/passwd: /etc/passwd is not executable")


def test_a_missing_interpreter_is_126(laptop):
    script = laptop.home / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    assert laptop.run("./script").returncode == 126


def test_a_script_without_an_interpreter_line_is_run_by_sh(laptop):
    script = laptop.home / "plain"
    script.write_text("echo plain $1\n")
    script.chmod(0o755)
    assert laptop.run("./plain", "argument").stdout == "plain argument\n"


# ---- the end ---------------------------------------------------------------------------------------------------------
def started(laptop: Laptop, script: str, *, options: tuple[str, ...] = (), **more):
    """Start a shell script which says its pid; gives bridge's Popen and the sandbox's namespace."""
    process = laptop.start("sh", "-c", f"echo $$; {script}", options=options, **more)
    pid = int(process.stdout.readline())
    return process, pid, namespace_of(pid)


def gone(namespace: int, within: float = 10.0) -> bool:
    """Whether the namespace has no process, at last."""
    deadline = time.monotonic() + within
    while in_sandbox(namespace):
        if time.monotonic() > deadline:
            return False
        select.select([], [], [], 0.02)
    return True


def test_daemons_that_left_the_session_end_with_it(laptop):
    script = "for n in 1 2 3; do (setsid sh -c 'sleep 1000 & trap \"\" TERM; sleep 1000' &) & done; read end; exit 4"
    process, _, namespace = started(laptop, script, options=("--grace", "0.3"), stdin=subprocess.PIPE)
    with process:
        process.stdin.close()
        assert process.wait(20) == 4
    assert in_sandbox(namespace) == []


def test_a_stopped_process_ends_too(laptop):
    script = "(sleep 1000 & kill -STOP $!; exit 0); read end; exit 0"
    process, _, namespace = started(laptop, script, options=("--grace", "5"), stdin=subprocess.PIPE)
    start = time.monotonic()
    with process:
        process.stdin.close()
        assert process.wait(20) == 0
    assert in_sandbox(namespace) == []
    assert time.monotonic() - start < 4  # SIGTERM was enough


def test_one_that_went_to_a_network_namespace_of_its_own_ends_too(laptop):
    process, _, _ = started(laptop, "unshare --user --map-root-user --net sleep 1234.5 & sleep 0.2; exit 0")
    with process:
        assert process.wait(20) == 0
    found = subprocess.run(["pgrep", "-f", "sleep 1234.5"], capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_sigterm_lets_the_process_clean_up(laptop):
    process, _, namespace = started(laptop, "trap 'sleep 0.2; echo cleaned; exit 7' TERM; while :; do sleep 0.05; done")
    with process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 7
        assert process.stdout.read() == "cleaned\n"
    assert in_sandbox(namespace) == []


def test_when_bridge_is_killed_nothing_is_left(laptop):
    mounts = Path("/proc/mounts").read_text()
    temporary = laptop.home / "temporary"
    temporary.mkdir(mode=0o777)
    temporary.chmod(0o777)
    environment = laptop.environment | {"TMPDIR": str(temporary)}
    process, _, namespace = started(laptop, "(setsid sleep 1000 &) & sleep 1000", env=environment)
    with process:
        process.kill()
        process.wait()
        assert gone(namespace)
    assert Path("/proc/mounts").read_text() == mounts
    assert list(temporary.iterdir()) == []


def test_when_init_is_killed_bridge_says_so_and_ends_the_tree(laptop):
    process, pid, namespace = started(laptop, "(setsid sleep 1000 &) & sleep 1000", stderr=subprocess.PIPE)
    init = int(re.search(r"PPid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1))
    with process:
        os.kill(init, signal.SIGKILL)
        assert process.wait(20) == 7
        assert "init was killed" in process.stderr.read()
    assert in_sandbox(namespace) == []


KILLED_BEFORE_IT_ANSWERED = """\
import os, signal
from bridge.errors import SandboxError
from bridge.laptop.process import processes_in
from bridge.laptop.sandbox import sandbox
told, tell = os.pipe()
os.set_inheritable(tell, True)
with sandbox(grace=1.0) as box:
    box.ready()
    namespace, init, ask = box._namespace, box._init.pid, box._request
    def lost(*request):
        ask(*request)
        os.read(told, 1)
        os.kill(init, signal.SIGKILL)
        raise SandboxError("The sandbox's init has ended unexpectedly.")
    box._request = lost
    try:
        box.start(["sh", "-c", f"sleep 1000 & echo >&{tell}; wait"], os.environ, "/")
    except SandboxError as error:
        print(error)
print(processes_in(namespace))
"""


def test_what_init_had_started_when_it_was_killed_and_had_not_told_ends_too(laptop):
    argv = laptop.as_user(laptop.interpreter, "-c", KILLED_BEFORE_IT_ANSWERED)
    told = subprocess.check_output(argv, env=laptop.environment, text=True, timeout=60)
    assert told == "The sandbox's init has ended unexpectedly.\n[]\n"


HOPPING = """\
import os, select, sys
print(os.getpid(), flush=True)
os.read(0, 1)
while not select.select([0], [], [], 0.001)[0]:  # until it is closed
    if os.fork():
        os._exit(0)
"""
LOOKING = """\
import os, subprocess, sys
from bridge.laptop.init.tree import Tree
tree = Tree()
with subprocess.Popen([sys.executable, "-S", "-c", sys.argv[1]], stdin=subprocess.PIPE, stdout=sys.stderr) as hopping:
    hopping.stdin.write(b"1")
    hopping.stdin.flush()
    hopping.wait()
    print(all(tree.hold() for _ in range(20)))
"""


def test_one_that_forks_and_ends_again_and_again_is_not_overlooked(laptop):
    argv = ["unshare", "--user", "--map-root-user", "--net", laptop.interpreter, "-S", "-c", HOPPING]
    settings = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(laptop.as_user(*argv), **settings) as process:
        namespace = namespace_of(int(process.stdout.readline()))
        process.stdin.write("1")
        process.stdin.flush()
        process.wait()
        assert all(processes_in(namespace) for _ in range(20))


def test_init_does_not_overlook_it_either(laptop):
    argv = ["unshare", "--user", "--map-root-user", "--net", laptop.interpreter, "-S", "-c", LOOKING, HOPPING]
    assert subprocess.check_output(laptop.as_user(*argv), env=laptop.environment, text=True) == "True\n"


HOPPING_WHEN_TOLD = """\
import os
while os.read(0, 1):
    if os.fork():
        os._exit(0)
"""
JUDGING = """\
import os, subprocess, sys
from bridge.laptop.init.tree import Tree

class Slow(Tree):  # the process that it judges ends meanwhile, three times
    times = 0

    def _is_ours(self, pid, parents):
        if pid != os.getpid() and self._shares_namespace(pid) and self.times < 3:
            self.times += 1
            hopping.stdin.write(b"1")
            hopping.stdin.flush()
            while os.path.exists(f"/proc/{pid}"):  # a zombie is still known by its user namespace
                pass
        return super()._is_ours(pid, parents)

with subprocess.Popen([sys.executable, "-S", "-c", sys.argv[1]], stdin=subprocess.PIPE) as hopping:
    hopping.stdin.write(b"1")
    hopping.stdin.flush()
    hopping.wait()  # a child of ours would be known by that
    tree = Slow()
    print(len(tree.hold()), tree.times)
"""


def test_one_that_forks_and_ends_while_it_is_judged_is_not_overlooked(laptop):
    argv = ["unshare", "--user", "--map-root-user", "--net", laptop.interpreter, "-S", "-c", JUDGING, HOPPING_WHEN_TOLD]
    assert subprocess.check_output(laptop.as_user(*argv), env=laptop.environment, text=True) == "1 3\n"


def test_a_stopped_init_does_not_keep_anything_alive(laptop):
    process, pid, namespace = started(laptop, "trap '' TERM; sleep 1", options=("--grace", "0.2"))
    init = int(re.search(r"PPid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1))
    with process:
        os.kill(init, signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) != 0
    assert in_sandbox(namespace) == []


def test_when_bridge_and_init_are_killed_together_the_process_is_not_left(laptop):
    process, pid, namespace = started(laptop, "exec sleep 1000")
    init = int(re.search(r"PPid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1))
    with process:
        os.kill(process.pid, signal.SIGSTOP)
        os.kill(init, signal.SIGKILL)
        process.kill()
        process.wait()
    assert gone(namespace)


# ---- the terminal ----------------------------------------------------------------------------------------------------
class Terminal:
    """A shell's view: what runs on a pseudo terminal, in its session."""

    def __init__(self, argv: list[str], laptop: Laptop) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(laptop.home)
            os.execve(argv[0] if "/" in argv[0] else f"/usr/bin/{argv[0]}", argv, laptop.environment | {"PS1": "$ "})
        self.seen = ""

    def expect(self, pattern: str, timeout: float = 20.0) -> str:
        """Read until the pattern comes, and take all up to its end."""
        deadline = time.monotonic() + timeout
        while not (found := re.search(pattern, self.seen)):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                raise AssertionError(f"{pattern!r} did not come: {self.seen!r}")
            try:
                self.seen += os.read(self.fd, 65536).decode(errors="replace")
            except OSError:
                raise AssertionError(f"ended before {pattern!r}: {self.seen!r}") from None
        taken, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return taken

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def wait(self) -> int:
        with contextlib.suppress(OSError):
            while os.read(self.fd, 65536):
                pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def terminal(laptop) -> Iterator:
    opened = []

    def open_terminal(*argv: str) -> Terminal:
        opened.append(Terminal(list(argv), laptop))
        return opened[-1]

    yield open_terminal
    for each in opened:
        os.close(each.fd)
        with contextlib.suppress(ChildProcessError, ProcessLookupError):
            os.kill(each.pid, signal.SIGKILL)
            os.waitpid(each.pid, 0)


def test_pdb_prompts_and_answers_on_the_terminal(laptop, terminal):
    source = laptop.home / "debugged.py"
    source.write_text("value = 42\nbreakpoint()\nprint('went on')\n")
    tty = terminal(*laptop.argv(laptop.interpreter, "-I", str(source)))
    tty.expect(r"\(Pdb\) ")
    tty.type("p value + 1\n")
    tty.expect("43")
    tty.type("c\n")
    tty.expect("went on")
    assert tty.wait() == 0


WAIT = """
import os, signal
try:
    print("group", os.getpgrp() == os.tcgetpgrp(0), flush=True)
    signal.pause()
except KeyboardInterrupt:
    print("interrupted")
raise SystemExit(5)
"""


def test_ctrl_c_reaches_the_process_directly(laptop, terminal):
    tty = terminal(*laptop.argv(laptop.interpreter, "-I", "-c", WAIT))
    tty.expect("group True")
    tty.type("\x03")
    tty.expect("interrupted")
    assert tty.wait() == 5


def test_mashing_ctrl_c_ends_the_process_and_nothing_else(laptop, terminal):
    script = "trap 'echo again' INT; echo $$ ready; for n in 1 2 3; do sleep 0.3; done; exit 6"
    tty = terminal(*laptop.argv("sh", "-c", script))
    tty.expect("ready")
    for _ in range(5):
        tty.type("\x03")
    tty.expect("again")
    assert tty.wait() == 6


def test_a_shell_in_the_sandbox_has_job_control(laptop, terminal):
    tty = terminal(*laptop.argv("bash", "--norc", "-i"))
    tty.expect(r"\$ ")
    tty.type("sleep 1000\n")
    tty.expect("sleep 1000\r\n")
    foreground_changes(tty)
    tty.type("\x1a")
    tty.expect(r"Stopped[^$]*\$ ")
    tty.type("jobs; kill -9 %1; fg; echo do''ne\n")
    tty.expect(r"done\r\n[^$]*\$ ")  # the prompt: what is typed before it may be lost
    tty.type("exit 9\n")
    assert tty.wait() == 9


def foreground_changes(tty: Terminal) -> None:
    """Wait until the shell has given the terminal to its job."""
    deadline = time.monotonic() + 10
    shell = os.tcgetpgrp(tty.fd)
    while os.tcgetpgrp(tty.fd) == shell and time.monotonic() < deadline:
        select.select([], [], [], 0.01)
        if any("sleep 1000" in cmdline(pid) for pid in group(os.tcgetpgrp(tty.fd))):
            return


def group(number: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ProcessLookupError):
            if entry.name.isdigit() and os.getpgid(int(entry.name)) == number:
                found.append(int(entry.name))
    return found


def cmdline(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


@pytest.mark.parametrize("how", ["\x1a", "itself"])
def test_ctrl_z_stops_the_job_and_fg_goes_on(laptop, terminal, how):
    """``itself``: a pager stops only itself; the shell must learn of it all the same."""
    source = "import os, signal\nprint('re' + 'ady', flush=True)\n"
    source += "os.kill(os.getpid(), signal.SIGTSTP)\n" if how == "itself" else ""
    source += "print('got', input(), flush=True)\n"
    script = laptop.home / "job.py"
    script.write_text(source)
    tty = terminal("bash", "--norc", "-i")
    tty.expect(r"\$ ")
    tty.type(" ".join(laptop.argv(laptop.interpreter, "-I", str(script))) + "\n")
    tty.expect("ready")
    if how != "itself":
        tty.type(how)
    tty.expect(r"Stopped[^$]*\$ ")
    tty.type("fg\n")
    tty.expect("fg\r\n")
    tty.type("a line\n")
    tty.expect(r"got a line\r\n[^$]*\$ ")
    tty.type("exit 0\n")
    assert tty.wait() == 0


def test_a_closed_terminal_ends_the_process(laptop, terminal):
    tty = terminal(*laptop.argv("sh", "-c", "echo $$ pid; exec sleep 1000"))
    namespace = namespace_of(int(tty.expect(r"\d+ pid").split()[-2]))
    termios.tcflush(tty.fd, termios.TCIOFLUSH)
    os.close(tty.fd)
    tty.fd = os.open(os.devnull, os.O_RDONLY)
    assert gone(namespace)


def test_the_terminal_device_is_the_one_that_was_given(laptop, terminal):
    tty = terminal(*laptop.argv("sh", "-c", "tty; stty size"))
    fcntl.ioctl(tty.fd, termios.TIOCGWINSZ, b"\0" * 8)
    assert stat.S_ISCHR(Path(tty.expect(r"/dev/pts/\d+").split()[-1]).stat().st_mode)
    assert tty.wait() == 0

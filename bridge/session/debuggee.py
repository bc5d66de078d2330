"""Written by `bridge ide`, which writes it anew; runs what an IDE starts as `bridge run` does.

    PYTHON [PYTHON'S OPTION]... THIS FILE [OPTION OF `bridge run`]... -- [PYTHON'S OPTION]... PROGRAM [ARG]...

An IDE is told to start its interpreter with this file and the options before everything else. So this becomes

    bridge run [OPTION]... -- PYTHON [PYTHON'S OPTION]... PROGRAM [ARG]...

with the interpreter that the IDE has chosen; PROGRAM is the debugger, and connects to the IDE over 127.0.0.1.

The stop button of an IDE kills its child and the process group of that with SIGKILL, which nobody can answer. So bridge
gets a process group of its own here; the kernel tells it when this process was killed (PR_SET_PDEATHSIG), and it ends
as if by SIGTERM: the process ends, and the original is put back without losing a request.

Standard library only, and for any Python from 3.7: the interpreter is the project's.
"""

import ctypes
import fcntl
import os
import shutil
import signal
import sys
import zlib
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
WRONG, NOT_FOUND = 2, 127  # exit codes
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Start bridge, wait for its end, and return its exit code."""
    if "--" not in sys.argv:
        say('there must be a "--" behind the options of `bridge run`, in what this IDE gives to Python.')
        return WRONG
    options, words = split(sys.argv[1:])
    bridge = find_bridge()
    if bridge is None:
        say("bridge is not installed, or not in the PATH of this IDE. See its README, or set BRIDGE to its path.")
        return NOT_FOUND
    environment, moved = without_python(dict(os.environ))
    python = [sys.executable, *options_before(sys.orig_argv if sys.version_info >= (3, 10) else []), *words]
    command = [bridge, "run", *options, "--", *(["env", *moved] if moved else []), *python]
    parent = os.getpid()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # none may come before it is known what to do with it
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        become(parent, options, command, environment)
    return wait_for(child, mask)


def split(arguments: "list[str]") -> "tuple[list[str], list[str]]":
    """Split into the options of `bridge run` and what is Python's."""
    end = arguments.index("--")
    return arguments[:end], arguments[end + 1 :]


def options_before(original: "list[str]") -> "list[str]":
    """Return Python's own options that stood before this file."""
    here = [at for at, word in enumerate(original) if at and Path(word).name == Path(__file__).name]
    return original[1 : here[0]] if here else []


def find_bridge() -> "str | None":
    """Find bridge; an IDE that the desktop has started may have a shorter PATH than a shell.

    iproute2 has a program of that name, too. Ours is a script, as pip, pipx and uv install it.
    """
    if "BRIDGE" in os.environ:
        return shutil.which(os.environ["BRIDGE"])
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    likely = [*folders, str(Path("~/.local/bin").expanduser()), str(Path(sys.executable).parent)]
    found = (shutil.which("bridge", path=folder) for folder in likely if folder)
    return next((path for path in found if path and is_script(path)), None)


def is_script(path: str) -> bool:
    """Whether a file names its interpreter."""
    with Path(path).open("rb") as file:
        return file.read(2) == b"#!"


def without_python(environment: "dict[str, str]") -> "tuple[dict[str, str], list[str]]":
    """Take out Python's variables, which are meant for the program: bridge is a Python program, too. Also as words."""
    own = {name: value for name, value in environment.items() if name.startswith("PYTHON")}
    rest = {name: value for name, value in environment.items() if name not in own}
    return rest, [f"{name}={value}" for name, value in own.items()]


# ---- the child, which becomes bridge --------------------------------------------------------------------------------
def become(parent: int, options: "list[str]", command: "list[str]", environment: "dict[str, str]") -> None:
    """Become bridge. Never returns."""
    try:
        if sys.platform == "linux":  # elsewhere bridge itself says that it can't run
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was killed before it could be said
            os._exit(128 + signal.SIGTERM)
        leave_group()
        wait_for_the_one_before("\0".join(options))
        os.execve(command[0], command, environment)  # noqa: S606
    except OSError as error:
        say(f"{command[0]} can't be started: {error}")
    finally:  # whatever it was: it must not go on as if it were the parent
        os._exit(NOT_FOUND)


def leave_group() -> None:
    """Begin a process group, and take the terminal along if it was ours (Ctrl-C, input)."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
    except OSError:
        os.setpgid(0, 0)
        return
    ours = os.tcgetpgrp(terminal) == os.getpgrp()
    os.setpgid(0, 0)
    if ours:
        before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # a group in the background may not do this otherwise
        os.tcsetpgrp(terminal, os.getpgrp())
        signal.signal(signal.SIGTTOU, before)
    os.close(terminal)


def wait_for_the_one_before(key: str) -> None:
    """Wait until a session that was begun with the same options has put everything back: the restart button.

    A record lock (fcntl(2)) on this file: it lasts over exec, and ends with bridge, however that ends.
    """
    try:
        file = os.open(__file__, os.O_RDWR)
    except OSError:  # a read-only project: then the second says that the target is swapped
        return
    os.set_inheritable(file, True)
    place = zlib.crc32(key.encode())
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except BlockingIOError:
        say("the session before puts everything back; this one begins after it ...")
        fcntl.lockf(file, fcntl.LOCK_EX, 1, place)
    except OSError:  # a file system without locks: as above
        return


# ---- the parent, which the IDE knows --------------------------------------------------------------------------------
def wait_for(child: int, mask: "set[int | signal.Signals]") -> int:
    """Wait for bridge's end, passing on what asks for it.

    Not SIGINT: an IDE that interrupts (PyCharm) does so to each process of the tree, bridge among them.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: os.kill(child, received))
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    _, status = os.waitpid(child, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def say(text: str) -> None:
    """Write a line for the user."""
    sys.stderr.write(f"bridge: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())

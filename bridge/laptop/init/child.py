"""The start of the user's process: fork, become what a shell would have started, exec.

What passes untouched: stdin, stdout, stderr and whatever else was inherited from the shell, the terminal, the session
and process group, umask, limits, priority. What is put right: the signals that Python or init ignore; the own uid.
"""

import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bridge.laptop.init import kernel

_ENOEXEC = 8


@dataclass(frozen=True)
class Command:
    """What to start. ``ignored``: signals that were ignored when bridge was started (nohup), and stay so."""

    argv: list[bytes]
    env: Mapping[bytes, bytes]
    cwd: bytes
    ignored: frozenset[int]


class NotStarted(Exception):
    """The command could not be started: errno, and the path which it was about."""

    def __init__(self, errno: int, path: str) -> None:
        super().__init__(errno, path)
        self.errno = errno
        self.path = path


def start(command: Command, user_namespace: int) -> int:
    """Start it in the user namespace behind the descriptor; its pid. Raises NotStarted."""
    parent = os.getpid()
    told, tell = os.pipe()  # close-on-exec: it closes without a word when exec succeeds
    pid = os.fork()
    if pid == 0:
        _become(command, user_namespace, tell, parent)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        failure = pipe.read()
    if failure:
        os.waitpid(pid, 0)
        number, _, path = failure.partition(b" ")
        raise NotStarted(int(number), os.fsdecode(path))
    return pid


def _become(command: Command, user_namespace: int, tell: int, parent: int) -> None:
    """In the child. Never returns."""
    path = b""
    try:
        kernel.setns(user_namespace, kernel.CLONE_NEWUSER)
        kernel.die_with_parent(signal.SIGKILL)  # nobody else ends it when init is killed together with bridge
        if os.getppid() != parent:
            os._exit(1)
        _restore_signals(command.ignored)
        path = command.cwd
        os.chdir(path)
        path = command.argv[0]
        execute(command.argv, command.env)
    except OSError as error:
        failed = os.fsencode(error.filename) if error.filename else path
        os.write(tell, b"%d %s" % (error.errno or 0, failed))
    finally:
        os._exit(127)


def _restore_signals(ignored: Iterable[int]) -> None:
    kept = set(ignored)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN if number in kept else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def execute(argv: list[bytes], env: Mapping[bytes, bytes]) -> None:
    """Become the command, as execvpe(3): PATH is ``env``'s; a script without an interpreter line is sh's.

    Raises OSError.
    """
    failed: OSError | None = None
    for path in candidates(argv[0], env.get(b"PATH")):
        try:
            _exec_file(path, argv, env)
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            if os.path.lexists(path):  # a folder that may not be searched counts as one without the file
                failed = failed or OSError(error.errno, error.strerror, os.fsdecode(path))
    raise failed or FileNotFoundError(2, "", os.fsdecode(argv[0]))


def _exec_file(path: bytes, argv: list[bytes], env: Mapping[bytes, bytes]) -> None:
    try:
        os.execve(path, argv, env)
    except OSError as error:
        if error.errno != _ENOEXEC:
            raise
    os.execve(b"/bin/sh", [b"sh", path, *argv[1:]], env)


def candidates(name: bytes, search: bytes | None) -> list[bytes]:
    """The files that ``name`` may mean, in order."""
    if b"/" in name:
        return [name]
    folders = (search if search is not None else b"/bin:/usr/bin").split(b":")
    return [os.path.join(folder or b".", name) for folder in folders]

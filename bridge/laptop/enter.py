"""Become a program of a sandbox that is already there: the caller's own process enters its namespaces, and executes.

So what is entered with keeps all that it has from its terminal: stdin, job control, exit code, umask, resource limits,
and who its parent is. Init started nothing, but sees it by its network, and ends it with the others.
"""

import errno
import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from bridge.errors import CommandError, SandboxError
from bridge.laptop.command import not_started, working_directory
from bridge.laptop.init import namespaces
from bridge.laptop.init.child import execute

_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def become(argv: Sequence[str], env: Mapping[bytes, bytes], way_in: Iterable[int]) -> NoReturn:
    """Enter (``Sandbox.way_in``), and become the command; ``env`` is all of its environment.

    For a process with one thread. Raises SandboxError, CommandError (127, 126): the process is then no good any more.
    """
    cwd = working_directory()
    try:
        namespaces.enter(way_in)
    except OSError as error:
        raise _refused(error) from error
    try:
        os.chdir(cwd)
    except OSError as error:
        raise CommandError(f"{cwd}: {error.strerror}", hint="The session does not see this folder.") from error
    for number in _IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    try:
        execute([os.fsencode(each) for each in argv], env)
    except OSError as error:
        raise not_started(error.errno or 0, os.fsdecode(error.filename or argv[0])) from error
    raise AssertionError("execve returned")


def _refused(error: OSError) -> SandboxError:
    hint = "See `dmesg` for what the kernel, or a security module, says."
    if error.errno == errno.EPERM:
        hint = "Is this terminal in a session itself, or in a container, or another user's? Run it outside of that."
    return SandboxError(f"the session can't be entered: {error.strerror}", hint=hint)

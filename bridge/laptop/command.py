"""A command, before it is started: whether it can be; and what it means when the kernel said no."""

import errno
import os
from collections.abc import Mapping, Sequence

from bridge.errors import CommandError


def working_directory() -> str:
    """Where the command is to be started: where bridge is. Raises CommandError where that folder was removed."""
    try:
        return os.getcwd()
    except OSError as error:
        raise CommandError(
            "the working directory is gone",
            hint='Change to another one; if it was made anew, as by git: cd "$PWD"',
        ) from error


def check_command(argv: Sequence[str], env: Mapping[str, str], cwd: str) -> str:
    """The file that ``argv[0]`` means. Raises CommandError: 127 nothing there, 126 there but not to be executed."""
    name = argv[0]
    if "/" in name:
        found = [os.path.join(cwd, name)]
    else:
        found = [os.path.join(cwd, folder, name) for folder in env.get("PATH", "/bin:/usr/bin").split(":")]
    there = [path for path in found if os.path.exists(path)]
    for path in there:
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise not_startable(name, there[0] if there else None)


def not_startable(name: str, path: str | None) -> CommandError:
    """The error for a command that is missing (no ``path``), or that can't be executed."""
    if path is None:
        hint = "Is it in PATH, and installed here? A program of the pod's image is not on this laptop."
        return CommandError(f"{name}: command not found", hint=hint, exit_code=127)
    if os.path.isdir(path):
        return CommandError(f"{name}: {path} is a folder", hint="Name a program in it.", exit_code=126)
    return CommandError(f"{name}: {path} is not executable", hint=f"Try: chmod +x {path}", exit_code=126)


def not_started(number: int, path: str) -> CommandError:
    """The error for what execve(2) said, by its errno, about a path."""
    missing = number in (errno.ENOENT, errno.ENOTDIR) and not os.path.lexists(path)
    if missing:
        return not_startable(path, None)
    if number == errno.EACCES:
        return not_startable(path, path)
    too_large = number == errno.E2BIG
    hint = "The environment is too large for this laptop (`ulimit -s`)." if too_large else "Is its interpreter there?"
    return CommandError(f"{path}: {os.strerror(number)}", hint=hint, exit_code=126)

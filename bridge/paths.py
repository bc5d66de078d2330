"""Where bridge keeps its files, by the XDG Base Directory Specification 0.8. Each directory is the user's alone (0700).

    what              where                                     when the variable is not set
    ----------------  ----------------------------------------  ------------------------------
    config file       $XDG_CONFIG_HOME/bridge/config.toml       ~/.config/...
    undo records      $XDG_STATE_HOME/bridge/                   ~/.local/state/...
    sockets, mounts   $XDG_RUNTIME_DIR/bridge/                  the state directory's run/

A relative path in such a variable is ignored, as the specification says.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from bridge.errors import UsageError

_APP = "bridge"


def config_file(environ: Mapping[str, str]) -> Path:
    """Return the path of the configuration file, which need not be there."""
    return _base(environ, "XDG_CONFIG_HOME", ".config") / _APP / "config.toml"


def state_directory(environ: Mapping[str, str]) -> Path:
    """Return the directory of what must outlive a reboot: the undo records."""
    return _base(environ, "XDG_STATE_HOME", ".local/state") / _APP


def runtime_directory(environ: Mapping[str, str]) -> Path:
    """Return the directory of what ends with the login session."""
    given = environ.get("XDG_RUNTIME_DIR", "")
    return Path(given) / _APP if given.startswith("/") else state_directory(environ) / "run"


def session_socket(pid: int, environ: Mapping[str, str]) -> Path:
    """Return where the socket is of the session that the bridge with this pid has."""
    return runtime_directory(environ) / f"{pid}.sock"


def kubeconfig_files(named: str | None, environ: Mapping[str, str]) -> list[Path]:
    """Return the kubeconfig's files as kubectl finds them, there or not: ``named`` is ``--kubeconfig``."""
    if named is not None:
        return [Path(named).expanduser()]
    parts = [part for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return [Path(part).expanduser() for part in parts] or [_home(environ) / ".kube" / "config"]


def private_directory(path: Path) -> Path:
    """Make ``path`` (and its parents) if it isn't there, and see that nobody else can look into it.

    Raise UsageError where it can't be made, or belongs to someone else.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
        if found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise UsageError(
            f"the directory {path} can't be made: {error.strerror}",
            hint="Make it, or set the XDG variables (XDG_STATE_HOME, XDG_RUNTIME_DIR) to places that you may write to.",
        ) from error
    if found.st_uid != os.getuid():
        raise UsageError(f"the directory {path} belongs to another user", hint="Remove it, or name another one.")
    return path


def _base(environ: Mapping[str, str], variable: str, default: str) -> Path:
    given = environ.get(variable, "")
    return Path(given) if given.startswith("/") else _home(environ) / default


def _home(environ: Mapping[str, str]) -> Path:
    given = environ.get("HOME", "")
    return Path(given) if given.startswith("/") else Path.home()

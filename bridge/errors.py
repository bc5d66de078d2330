"""The errors a user sees. One base; each failure says what happened and what to do next.

Foreign exceptions are translated into these once, at the boundary of the package that meets them
(``cluster``, ``tunnel``, ``laptop``), with ``raise ... from``. Only the command line's top catches them.

    BridgeError              exit code 1
    +- UsageError            2   the command line, a file or a variable says something that cannot be
    +- TargetError           3   the target: missing, ambiguous, already swapped, not swappable
    +- ClusterError          4   the API server or the cluster says no, or does not answer
    |  +- Forbidden          5   a right is missing
    +- TunnelError           6   the stream or SSH to the proxy pod
    +- SandboxError          7   this laptop: namespaces, no nft, not Linux
    +- CommandError        127   the command cannot be started (126: found, but not executable)
    +- Interrupted         130   ended by the user before the process started

While the process runs, bridge's exit code is the process's own.
"""

KILLED = 128 + 9
"""The exit code of a process that was killed, or of which nobody can tell how it has ended."""


def unexpected(error: Exception) -> str:
    """Say in a session's account what no code is for: a bug."""
    return f"bridge did not expect {type(error).__name__}: {error}"


class BridgeError(Exception):
    """A failure, told to the user as ``message`` with a ``hint``: the next step."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code


class UsageError(BridgeError):
    """The command line, a file or an environment variable asks for something that cannot be."""

    exit_code = 2


class TargetError(BridgeError):
    """The target is missing, ambiguous, already swapped, or nothing that can be swapped."""

    exit_code = 3


class ClusterError(BridgeError):
    """The cluster says no, or does not answer."""

    exit_code = 4


class Forbidden(ClusterError):
    """A right is missing. The hint holds the Role to ask for."""

    exit_code = 5


class TunnelError(BridgeError):
    """The stream to the proxy pod, or the SSH connection on it, failed."""

    exit_code = 6


class SandboxError(BridgeError):
    """This laptop can't give the process its sandbox."""

    exit_code = 7


class CommandError(BridgeError):
    """The command can't be started: 127 not found, 126 not executable (as a shell says it)."""

    exit_code = 127


class Interrupted(BridgeError):
    """The user ended the session before the process had started."""

    exit_code = 130

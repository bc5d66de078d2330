"""The keeper's story, told once: options, sshd, then everything else while sshd starts."""

import os
import signal
import sys

from . import sshd
from .options import ConfigurationError, parse

TERMINATION_LOG = "/dev/termination-log"  # the kubelet shows it in the container's status


def main(arguments: list[str]) -> int:
    """Run until SIGTERM; return the exit status. What is wrong goes to standard error and the termination log.

    With ``guard`` as the first argument it is the keeper's second process (see ``guard``).
    """
    if arguments[:1] == ["guard"]:
        from . import guard

        return guard.main(arguments[1:])
    # Kept back until the loop handles them: process 1 ignores a signal without a handler.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})
    try:
        options = parse(arguments)
        sshd.prepare(options)
        _raise_file_limit()
        first = sshd.start(options)
        from . import service  # meanwhile sshd starts

        service.run(options, first)
    except ConfigurationError as error:
        _complain(f"keeper: {error}")
        return 1
    return 0


def _raise_file_limit() -> None:
    """Each channel is a descriptor of sshd's, which inherits this limit."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _complain(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
    try:
        descriptor = os.open(TERMINATION_LOG, os.O_WRONLY | os.O_TRUNC)
    except OSError:
        return  # no Kubernetes around, or its policy is another one
    os.write(descriptor, text.encode())
    os.close(descriptor)

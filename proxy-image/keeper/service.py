"""Puts the keeper's parts together and runs them. Imported while sshd starts."""

import signal
import socket
from collections.abc import Callable

from . import control, pod, probe, sshd
from .loop import Loop
from .options import ConfigurationError, Options
from .readiness import Readiness
from .supervisor import Supervisor, end_descendants


def run(options: Options, first: int) -> None:
    """Serve until SIGTERM, with sshd running as ``first``; leave no process. Raise `ConfigurationError`."""
    try:
        _serve(options, first)
    finally:
        end_descendants()


def _serve(options: Options, first: int) -> None:
    environ = pod.own_environ()
    leave_out = options.internal_ports | set(options.listen)
    loop = Loop()
    readiness = Readiness()
    probe.ProbeServer(loop, _listen(probe.listener, options.probe_port), readiness, hold=options.hold)
    control.ControlServer(
        loop,
        _listen(control.listener, options.keeper_port),
        readiness,
        token=sshd.read_setting(options, "token"),
        report=lambda version: pod.report(environ, version, leave_out=leave_out),
        listening=lambda: pod.listening(leave_out=leave_out),
    )
    supervisor = Supervisor(loop, lambda: sshd.start(options), first)
    loop.on_signals(
        {
            signal.SIGTERM: lambda: loop.after(options.linger, loop.stop),
            signal.SIGINT: loop.stop,
            signal.SIGCHLD: supervisor.reap,
        }
    )
    loop.run()
    if supervisor.failure:
        raise ConfigurationError(supervisor.failure)


def _listen(listener: Callable[[int], socket.socket], port: int) -> socket.socket:
    try:
        return listener(port)
    except OSError as error:
        raise ConfigurationError(f"can't listen on port {port}: {error.strerror}") from error

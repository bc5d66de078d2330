"""Puts the keeper's parts together and runs them. Imported while sshd starts."""

import os
import signal
import socket
from collections.abc import Callable

from bridge.wire.messages import Guard, GuardState

from . import control, pod, probe, sshd
from .ending import Ending
from .guarding import ORDERS, Guarding
from .loop import Loop
from .options import ConfigurationError, Options
from .readiness import Readiness
from .supervisor import Kept, Supervisor, end_descendants

_GUARD_AFTER = 0.3  # seconds


def run(options: Options, first: int) -> None:
    """Serve until SIGTERM, with sshd running as ``first``; leave no process. Raise `ConfigurationError`."""
    try:
        _serve(options, first)
    finally:
        end_descendants()


def _serve(options: Options, first: int) -> None:
    loop = Loop()
    supervisor = Supervisor(loop)
    daemon = Kept(loop, "sshd", lambda: sshd.start(options), hopeless=supervisor.fail)
    daemon.runs(first)
    supervisor.keep(daemon)
    server = _control(loop, options, supervisor)
    ending = Ending(loop, linger=options.linger, drain=options.drain, is_awaited=server.is_awaited)
    server.when_left(ending.left)
    loop.on_signals(
        {
            signal.SIGTERM: lambda: ending.begin(server.end),
            signal.SIGINT: loop.stop,
            signal.SIGCHLD: supervisor.reap,
        }
    )
    loop.run()
    if supervisor.failure:
        raise ConfigurationError(supervisor.failure)


def _control(loop: Loop, options: Options, supervisor: Supervisor) -> control.ControlServer:
    """Serve the kubelet's probes and the laptop."""
    environ = pod.own_environ()
    leave_out = options.internal_ports | set(options.listen)
    readiness = Readiness()
    probe.ProbeServer(loop, _listen(probe.listener, options.probe_port), readiness, hold=options.hold)
    server = control.ControlServer(
        loop,
        _listen(control.listener, options.keeper_port),
        readiness,
        token=sshd.read_setting(options, "token"),
        report=lambda version: pod.report(environ, version, leave_out=leave_out),
        listening=lambda: pod.listening(leave_out=leave_out),
    )
    _guard(loop, options, supervisor, server)
    return server


def _guard(loop: Loop, options: Options, supervisor: Supervisor, server: control.ControlServer) -> None:
    """Have the session guarded, if that is ordered. sshd's start and the laptop's first connection go before."""
    if not os.path.exists(f"{options.settings}/{ORDERS}"):  # noqa: PTH110  # pathlib takes 5 ms to import
        return
    if not os.path.isdir(options.guard):  # noqa: PTH112
        server.guarded(Guard(GuardState.UNARMED, "it was given no rights"))
        return
    guarding = Guarding(loop, options, server.guarded)
    server.when_alive(guarding.heartbeat)
    kept = Kept(loop, "the guard", guarding.start, ended=guarding.ended)
    supervisor.keep(kept)
    loop.after(_GUARD_AFTER, kept.start)


def _listen(listener: Callable[[int], socket.socket], port: int) -> socket.socket:
    try:
        return listener(port)
    except OSError as error:
        raise ConfigurationError(f"can't listen on port {port}: {error.strerror}") from error

"""`bridge run --linger`, at the terminal: what the user sees, and whose child the command is.

    a session is there that is kept for such a command     used: it is told to begin a run
    there is none                                          one is begun, in a process of its own (``holder``)

Either way the session says when the sandbox can be entered; then the command is started here, and its end is told
there. When the original answers again, this is over, and the session is kept.

    here                       done
    -------------------------  ------------------------------------------------------------------------------------
    SIGINT, SIGTERM, SIGHUP    told to the session, which decides as for any process (``supervise``), or ends its
                               start: a command that is not there yet is not started any more; when the command has
                               ended, what is put back is waited for no longer
    SIGQUIT                    told to the session while the command runs, for which it is
    the command is stopped     by a key of the terminal: so is this process, for the shell to see
    the session ends           its failure is this command's; its exit code, too

Imports little: it is what is waited for when a session is there.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bridge.errors import KILLED, BridgeError
from bridge.laptop import messages
from bridge.laptop.command import check_command, working_directory
from bridge.laptop.enter import become
from bridge.laptop.init.tree import is_stopped
from bridge.session.enter import Inside
from bridge.session.foreground import in_foreground
from bridge.session.kept import key_of, usable
from bridge.session.visiting import Visitor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import NoReturn

    from bridge.session.narrator import Narrator
    from bridge.session.request import RunRequest

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
STOPPED_BY_TERMINAL = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


def run(request: RunRequest, narrator: Narrator) -> int:
    """Run the command in a session that is kept after it; return its exit code."""
    check_command(request.command, os.environ, working_directory())
    key, at_terminal = key_of(request), in_foreground()
    line = _kept(key)
    if line is not None:
        begin = {"command": list(request.command), "linger": request.linger, "at_terminal": at_terminal}
        messages.send(line, {"begin": begin})
        front = Front(line, request, narrator)
        code = front.run()
        if front.used:
            return code
        narrator.note("the session that was kept has just ended: starting another one")
    from bridge.session.holder import fork

    return Front(fork(request, key=key, at_terminal=at_terminal), request, narrator).run()


def _kept(key: str) -> socket.socket | None:
    """Return the line to a session that is kept for such a command; None where there is none, or it is in use."""
    session = usable(key)
    if session is None:
        return None
    try:
        visitor = Visitor(session.pid)
    except BridgeError:
        return None
    try:
        (descriptor,) = visitor.ask_descriptors("begin")
    except BridgeError:
        return None
    finally:
        visitor.close()
    return socket.socket(fileno=descriptor)


class Front:
    """One run. See the module's docstring."""

    def __init__(self, line: socket.socket, request: RunRequest, narrator: Narrator) -> None:
        self._line = line
        self._request = request
        self._narrator = narrator
        self._pid = 0
        self._code: int | None = None
        """The command's, when it has ended."""
        self._unwanted = 0
        """The exit code when a signal came before the session could be entered; 0: none did."""
        self._failure: BridgeError | None = None
        """Why it could not be started."""
        self._over = False
        self.used = False
        """Whether the session could be entered, or somebody did not want it any more."""

    def run(self) -> int:
        """Have the command run; return its exit code, or the session's if it ended before.

        Raises BridgeError for a session, or a command, that could not be started.
        """
        with self._line, _woken() as woken:
            while not self._over:
                line = self._line.fileno()
                ready, _, _ = select.select([line, woken], [], [])
                if woken in ready:
                    for number in _came(woken):
                        self._signalled(number)
                if line in ready and not self._over:
                    self._heard()
        if self._failure is not None:
            raise self._failure
        return KILLED if self._code is None else self._code  # None: the session could not tell this one to start it

    # ---- what the session says ------------------------------------------------------------------------------------
    def _heard(self) -> None:
        try:
            message, descriptors = messages.receive(self._line)
        except messages.Closed:
            self._session_gone()
            return
        match message:
            case {"tell": ["doing", text, _, _]}:
                self._narrator.doing(text)
            case {"tell": [how, text, event, facts]}:
                getattr(self._narrator, how)(text, event, **facts)
            case {"enter": True}:
                self._enter(descriptors)
            case {"signal": number} if self._pid:
                os.kill(self._pid, number)
            case {"kept": seconds, "name": name}:
                self._kept(seconds, name)
            case {"over": code}:
                self._ended(code, message)

    def _kept(self, seconds: float, name: str) -> None:
        self._narrator.done(
            f"kept for {_span(seconds)}: the same command again starts at once; `bridge leave {name}` ends it",
            event="kept",
            seconds=seconds,
        )
        self._over = True

    def _ended(self, code: int, message: dict[str, Any]) -> None:
        self._over = True
        if "message" in message:
            self._failure = self._failure or BridgeError(message["message"], hint=message["hint"], exit_code=code)
        if self._code is None:
            self._code = self._unwanted or code  # which may be that of the run before

    def _session_gone(self) -> None:
        """The process that holds the session has ended without a word; what it has left others put back."""
        self._over = True
        if self._pid:
            os.waitpid(self._pid, 0)  # which the sandbox's init ends
        if self._code is None:
            self._failure = BridgeError(
                "the process that holds the session has ended unexpectedly",
                hint="Its watchdog puts everything back; see kept.log and watchdog.log beside the undo records.",
            )

    # ---- the command ----------------------------------------------------------------------------------------------
    def _enter(self, descriptors: Sequence[int]) -> None:
        self.used = True
        if self._unwanted:
            for each in descriptors:
                os.close(each)
            self._not_started(self._unwanted)
            return
        *way_in, inside = descriptors
        environment = Inside.read(inside)
        self._write_files(environment)
        told, tell = os.pipe()  # close-on-exec: it ends without a word when the command is there
        pid = os.fork()
        if pid == 0:
            _become(self._request.command, environment, way_in, tell)
        for each in (tell, *way_in):
            os.close(each)
        with os.fdopen(told, "rb") as pipe:
            failure = pipe.read()
        if failure:
            os.waitpid(pid, 0)
            self._failure = BridgeError(**json.loads(failure))
            self._not_started(self._failure.exit_code)
            return
        self._pid = pid
        self._say({"started": pid})

    def _not_started(self, code: int) -> None:
        self._code = code
        self._say({"exited": code})

    def _write_files(self, inside: Inside) -> None:
        if self._request.env_file or self._request.env_json:
            from bridge.plan.environment import cluster_environment
            from bridge.session.envfiles import write_environment

            variables = cluster_environment(inside.pod, inside.image, os.environb)
            write_environment(self._request, variables | inside.identity.whereabouts(), self._narrator)

    def _signalled(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._child_changed()
        elif number == signal.SIGQUIT:
            if self._pid:
                self._say({"signal": number})
        elif self._code is None:
            if not self.used:
                self._unwanted = 128 + number
            self.used = True
            self._say({"signal": number})
        else:
            self._narrator.note("not waiting until the original answers again: that goes on by itself")
            self._over = True

    def _child_changed(self) -> None:
        if not self._pid:
            return
        pid, status = os.waitpid(self._pid, os.WNOHANG | os.WUNTRACED)
        if pid and os.WIFSTOPPED(status):
            self._stopped(pid, os.WSTOPSIG(status))
        elif pid:
            code = os.waitstatus_to_exitcode(status)
            self._pid, self._code = 0, 128 - code if code < 0 else code
            self._say({"exited": self._code})

    @staticmethod
    def _stopped(pid: int, number: int) -> None:
        """A command that stops itself (less, on Ctrl-Z) would leave the shell waiting: stop with it, as one job."""
        if number in STOPPED_BY_TERMINAL and os.getpgid(pid) == os.getpgrp() and is_stopped(pid):
            os.killpg(0, number)

    def _say(self, message: dict[str, Any]) -> None:
        try:
            messages.send(self._line, message)
        except messages.Closed:
            return  # which is heard next


def _came(woken: int) -> list[int]:
    """Return the signals that came, SIGCHLD last.

    A Ctrl-C is here before the command has ended of it. But of two signals that wait together the kernel begins with
    the handler of the first, and interrupts it for that of the second.
    """
    return sorted(os.read(woken, 4096), key=lambda number: number == signal.SIGCHLD)


def _become(command: Sequence[str], inside: Inside, way_in: Sequence[int], tell: int) -> NoReturn:
    """In the child."""
    signal.set_wakeup_fd(-1)
    for number in (*PASSED_ON, signal.SIGCHLD):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    try:
        become(command, inside.environment(os.environb), way_in)
    except BridgeError as error:
        told = {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}
        os.write(tell, json.dumps(told).encode())
    finally:
        os._exit(127)


@contextmanager
def _woken() -> Iterator[int]:
    """A pipe that gets the number of each signal that comes here, while this lasts; what is ignored stays so."""
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = {}
    for number in (*PASSED_ON, signal.SIGCHLD):
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, lambda *_: None)
    former = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        yield woken
    finally:
        signal.set_wakeup_fd(former)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(wake)
        os.close(woken)


def _span(seconds: float) -> str:
    parts = ((int(seconds) // 3600, "h"), (int(seconds) // 60 % 60, "m"), (int(seconds) % 60, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"

"""The sandbox: bridge's handle on the namespaces that the process runs in (see ``bridge.laptop.init``).

    with sandbox() as box:          # starts init and goes on: the cluster's work runs meanwhile
        ...
        box.apply(settings)         # waits for init; the pod's addresses, names, nameservers
        process = box.start(["python", "app.py"], env, cwd)
        process.wait()
    # here no process of the tree is left, however it comes to here; and if bridge is killed, init ends them

Control (apply, start, end) blocks, and is for control threads; not for signal handlers, which may interrupt one of
these in the middle. ``dial_inside`` and what is about ports is for the event loop.
"""

import asyncio
import itertools
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import CommandError, SandboxError
from bridge.laptop import messages, support
from bridge.laptop.command import not_started
from bridge.laptop.listeners import Listener, ListenTable, listen_table
from bridge.laptop.process import Process, end_without_init, init_was_killed, namespace_of
from bridge.laptop.settings import NetworkSettings
from bridge.laptop.supply import Supply

if TYPE_CHECKING:
    from bridge.laptop.localhost import Redirected

_READY, _ANSWER = 30.0, 5.0  # seconds: milliseconds, unless the laptop is very busy, or init is stopped
GRACE = 10.0  # seconds between SIGTERM and SIGKILL


@dataclass(frozen=True)
class Bind:
    """A volume of the pod's: ``path``, absolute, and ``source``, a folder or a file in the sandbox's store."""

    path: str
    source: str
    read_only: bool


@contextmanager
def sandbox(*, grace: float = GRACE) -> Iterator["Sandbox"]:
    """The sandbox, being made. At the end its whole tree is ended, ``grace`` seconds after SIGTERM at the latest.

    Raises SandboxError with the way out, at once or from the first method that needs the sandbox ready.
    """
    box = Sandbox(grace=grace)
    try:
        yield box
    finally:
        box.close()


class Sandbox:
    """See ``sandbox``."""

    def __init__(self, *, grace: float = GRACE) -> None:
        support.check_supported()
        self._grace = grace
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._control, control = _pair()
        self._updates, updates = _pair()
        self._updates.setblocking(False)
        supply_end, supply = _pair()
        self._supply = Supply(supply_end)
        self._processes: list[Process] = []
        self._sockets: dict[str, socket.socket] = {}
        self._store: int | None = None
        self._table: ListenTable | None = None
        self._namespace: int | None = None
        self._pod_ips: tuple[str, ...] = ()
        self._init = _spawn(control, supply, updates)

    # ---- what bridge holds of it ----------------------------------------------------------------------------------
    def ready(self) -> None:
        """Wait until the namespaces, rules and mounts are there. Raises SandboxError."""
        if self._table is not None:  # without the lock, which ``end`` holds for long: this is asked on the event loop
            return
        with self._lock:
            if self._table is None:
                reply, descriptors = self._reply(0, _READY)
                made = dict(zip(reply["ok"], descriptors, strict=True))
                self._store = made.pop("store")
                self._sockets = {name: socket.socket(fileno=fd) for name, fd in made.items()}
                self._namespace = namespace_of(self._init.pid)
                self._table = listen_table(self._sockets.get("diag"), self._init.pid)

    @property
    def listener(self) -> socket.socket:
        """Listens inside. What comes was meant for elsewhere: SO_ORIGINAL_DST tells (IPv4 as ``::ffff:a.b.c.d``)."""
        self.ready()
        return self._sockets["listener"]

    @property
    def dns_sockets(self) -> list[socket.socket]:
        """UDP sockets which get what is sent to the nameservers: IPv4's, then IPv6's if there is IPv6."""
        self.ready()
        return [self._sockets[name] for name in ("dns4", "dns6") if name in self._sockets]

    @property
    def queue(self) -> socket.socket | None:
        """Where new connections are held, for the Gate; None where this machine can't (``exact_connect``)."""
        self.ready()
        return self._sockets.get("queue")

    @property
    def exact_connect(self) -> bool:
        """Whether connect() can be told what the pod was told; otherwise a closed port shows as a reset connection."""
        return self.queue is not None

    def store(self) -> int:
        """The folder in which ``bind`` finds its sources: a descriptor (O_PATH), valid until ``close``.

        It is the user's alone, in memory (tmpfs); no path leads to it but ``/proc/self/fd/N``.
        """
        self.ready()
        assert self._store is not None
        return self._store

    # ---- control --------------------------------------------------------------------------------------------------
    def apply(self, settings: NetworkSettings) -> None:
        """Set addresses, names and nameservers."""
        self.ready()
        self._pod_ips = settings.pod_ips
        self._request(
            {
                "do": "apply",
                "resolv_conf": settings.resolv_conf,
                "hosts": settings.hosts,
                "pod_ips": list(settings.pod_ips),
                "nameservers": list(settings.nameservers),
                "pod_ports": sorted(settings.pod_ports),
            }
        )

    def bind(self, binds: Sequence[Bind]) -> list[str]:
        """Have what is in the store appear at its paths, whatever the laptop has there, and as often as it is asked.

        Best before the process starts: one that is in a folder on the way goes on seeing the laptop's. Gives folders
        of the user's own that had to be covered to make room: what is newly made directly in one of them is lost
        with the sandbox, and files that the laptop replaces there stay the old ones inside. Raises SandboxError.
        """
        self.ready()
        parents_first = sorted(binds, key=lambda each: each.path.count("/"))
        asked = [(each.path, each.source, each.read_only) for each in parents_first]
        covered: list[str] = self._request({"do": "bind", "binds": asked})
        return covered

    def mount_live(self, path: str, *, read_only: bool, folder: str | None = None) -> socket.socket:
        """Mount the pod's ``folder``, which is ``path`` there too if it isn't given, at ``path``, over SFTP.

        Gives the socket (SOCK_STREAM, the caller's) on which an SFTP client, sshfs, is served from now on: what comes
        out of it goes to the pod's SFTP server. The mount is there at once; what is done in it waits until that
        answers, and fails (ENOTCONN) once the socket is closed. sshfs lives until ``close``, longer than the process,
        so that what is written at its end gets through: it is to be served until then.

        Called again for a path, as for a new tunnel, the former mount ends, with errors for who has files open in it,
        and what was bound in it goes too: to be bound again, if the pod's own is not as good.
        Raises SandboxError; see ``live_unsupported``.
        """
        self.ready()
        request = {"do": "mount live", "path": path, "folder": folder or path, "read_only": read_only}
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._request(request | {"sshfs": support.sshfs_command()}, [theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        return ours

    @staticmethod
    def live_unsupported() -> str | None:
        """Why ``mount_live`` can't work on this laptop, and what to do, in one line; None when it can."""
        return support.live_unsupported()

    def start(self, argv: Sequence[str], env: Mapping[str, str] | Mapping[bytes, bytes], cwd: str) -> Process:
        """Start the user's process; ``env`` is all of its environment. Raises CommandError (127, 126)."""
        self.ready()
        status, reporter = _pair()
        request = {
            "do": "start",
            "argv": list(argv),
            "env": {os.fsdecode(name): os.fsdecode(value) for name, value in env.items()},
            "cwd": cwd,
        }
        try:
            with reporter:
                pid = self._request(request, [reporter.fileno()])
        except BaseException:
            status.close()
            raise
        process = Process(pid, status)
        self._processes.append(process)
        return process

    def way_in(self) -> list[int]:
        """Descriptors of the sandbox's namespaces, for a program that enters (``laptop.enter``); the caller's."""
        self.ready()
        _, descriptors = self._ask({"do": "way in"})
        return descriptors

    def end(self, *, grace: float | None = None, entered: bool = True) -> list[int]:
        """End the whole tree: SIGTERM to all, after the grace SIGKILL. Gives the pids which had to be killed.

        Not ``entered``: what has entered goes on, if there is an init to tell it from the others.
        """
        grace = self._grace if grace is None else grace
        try:
            return self._end(grace, entered=entered)
        except SandboxError:
            self._end_without_init(grace)
            return []

    def end_started(self, *, grace: float) -> list[int]:
        """The same for what was started by ``start``, and by that; what has entered goes on. Raises SandboxError."""
        return self._end(grace, entered=False)

    def _end(self, grace: float, *, entered: bool) -> list[int]:
        request = {"do": "end", "grace": grace, "entered": entered}
        killed: list[int] = self._request(request, timeout=grace + _ANSWER)
        return killed

    def _end_without_init(self, grace: float) -> None:
        """What init should have done, when it was killed, or is stopped."""
        self._init.kill()
        self._init.wait()
        if self._namespace is not None:
            end_without_init(self._namespace, grace=grace)

    def close(self) -> None:
        """End the tree and init, and let go of everything, also when it is interrupted. Idempotent."""
        try:
            if self._processes and self._init.returncode is None:
                self.end()
        finally:
            self._control.close()  # which ends init, and the tree if that is left
            self._wait_for_init()
            self._let_go()

    def _wait_for_init(self) -> None:
        try:
            ended = self._init.wait(_ANSWER)
        except subprocess.TimeoutExpired:
            self._end_without_init(0)
        else:
            if ended != 0:  # it was killed, and may have started what it had no time to tell of
                self._end_without_init(self._grace)

    def _let_go(self) -> None:
        for sock in (self._updates, *self._sockets.values()):
            sock.close()
        if self._store is not None:
            os.close(self._store)
            self._store = None
        for process in self._processes:
            process.close()
        self._supply.close()
        if self._table:
            self._table.close()

    # ---- ports ----------------------------------------------------------------------------------------------------
    def listeners(self) -> frozenset[Listener]:
        """Who listens inside, but for bridge itself."""
        own = self.listener.getsockname()[1]
        assert self._table is not None
        return frozenset(each for each in self._table.read() if each.port != own)

    def listening(self) -> set[int]:
        """Ports on which something listens inside."""
        return {each.port for each in self.listeners()}

    def is_accepting(self, port: int) -> bool:
        """Whether something listens on the port inside."""
        return port in self.listening()

    async def wait_accepting(self, port: int, deadline: float) -> bool:
        """Wait until something listens on the port; False when ``deadline`` (the loop's time) comes first."""
        loop = asyncio.get_running_loop()
        while not self.is_accepting(port):
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(0.02)  # the kernel tells nobody when a socket starts to listen
        return True

    def redirect_localhost(self, redirected: "Redirected") -> bool:
        """Have connections to these ports of loopback come to the listener, and to no others.

        For the event loop: does not wait. False when init was too busy to take it: to be said again.
        """
        ports = {
            "laptop4": sorted(redirected.laptop4),
            "laptop6": sorted(redirected.laptop6),
            "pod_ports": sorted(redirected.pod_ports),
        }
        try:
            messages.send(self._updates, ports)
        except BlockingIOError:
            return False
        except messages.Closed:
            pass  # init is gone: whoever waits for the process learns it
        return True

    async def dial_inside(
        self, protocol_factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """Connect to a server in the sandbox, in the shape of ``loop.create_connection``.

        ``localhost`` is wherever a server of the pod's would be: 127.0.0.1, ::1, the pod's addresses. Raises OSError.
        """
        addresses = ("127.0.0.1", "::1", *self._pod_ips) if host == "localhost" else (host,)
        sock = await self._supply.connect(addresses, port)
        try:
            loop = asyncio.get_running_loop()
            transport, protocol = await loop.create_connection(protocol_factory, sock=sock)
        except BaseException:
            sock.close()
            raise
        return transport, protocol

    # ---- init -----------------------------------------------------------------------------------------------------
    def _request(self, request: messages.Message, descriptors: Iterable[int] = (), *, timeout: float = _ANSWER) -> Any:
        return self._ask(request, descriptors, timeout=timeout)[0]["ok"]

    def _ask(
        self, request: messages.Message, descriptors: Iterable[int] = (), *, timeout: float = _ANSWER
    ) -> tuple[messages.Message, list[int]]:
        number = next(self._ids)
        with self._lock:
            try:
                messages.send(self._control, {**request, "id": number}, descriptors)
            except (messages.Closed, OSError) as error:
                raise init_was_killed() from error
            return self._reply(number, timeout)

    def _reply(self, number: int, timeout: float) -> tuple[messages.Message, list[int]]:
        """The reply to request ``number``. Those of earlier requests, whose wait was interrupted, are passed over."""
        self._control.settimeout(timeout)
        while True:
            try:
                reply, descriptors = messages.receive(self._control)
            except TimeoutError as error:
                raise SandboxError("The sandbox's init does not answer: is it stopped?") from error
            except (messages.Closed, OSError) as error:
                raise init_was_killed() from error
            if reply["id"] == number:
                break
        if "failed" in reply:
            raise _failure(reply["failed"], reply["errno"], reply["detail"])
        return reply, descriptors


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _spawn(*sockets: socket.socket) -> "subprocess.Popen[bytes]":
    """Start init with its ends of the sockets, which are closed here.

    What the shell gave bridge (``3<file``, ``<(command)``) is inherited: it is meant for the user's process. What
    bridge has opened is not (PEP 446).
    """
    script = Path(__file__).with_name("sandbox_init.py")
    arguments = [str(each.fileno()) for each in sockets]
    for each in sockets:
        each.set_inheritable(True)
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(script), *arguments, *support.find_programs()],
            close_fds=False,
        )
    finally:
        for each in sockets:
            each.close()


def _failure(step: str, errno: int, detail: str) -> SandboxError | CommandError:
    if step == "start":
        return not_started(errno, detail)
    return support.explain(step, errno, detail)

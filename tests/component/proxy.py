"""A proxy pod without a cluster: the real keeper with the real sshd, as an ordinary user on this machine's loopback.

    with running_proxy(listen=[8080]) as proxy:
        # SSH at 127.0.0.1:proxy.ssh_port, user "bridge", keys in proxy.keys

It runs as in a container: in a pid namespace of its own (the keeper is process 1, and nothing of it can stay), without
capabilities, with no environment but ``environ``. Tests that run as root give it the uid 4242; others keep their own.
The network is this machine's, so its ports are free ones; ``listen`` is where inbound tests have the pod listen.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.tunnel.keys import SessionKeys, make_session_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

CLONE = Path(__file__).parents[2]
PROXY_IMAGE = CLONE / "proxy-image"
PROGRAM = ("proxy-image/entrypoint.py", "proxy-image/keeper", "bridge/__init__.py", "bridge/wire")
SSHD = Path("/usr/sbin/sshd")
USER = "bridge"
UID = 4242
BELOW_EPHEMERAL = range(20000, 30000)
"""Ports below the range that the kernel gives to outgoing connections."""
_OURS: set[int] = set()
"""Ports that this process has reserved."""
START_SECONDS = 10.0
# The interpreter as the image starts it: isolated, no site, nothing written. Its own one, so that uid 4242 can run it.
INTERPRETER = ("/usr/bin/python3", "-I", "-S", "-B")


@dataclass(frozen=True, kw_only=True)
class RunningProxy:
    """Where it listens (on 127.0.0.1) and what opens it.

    ``directory`` holds ``settings`` (the Secret), ``guard`` (the guard's account, where it has one), ``run`` (the
    emptyDir) and ``log``.
    """

    ssh_port: int
    keeper_port: int
    probe_port: int
    listen: tuple[int, ...]
    keys: SessionKeys = field(repr=False)
    token: str = field(repr=False)
    directory: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def pid(self) -> int:
        """The keeper's."""
        return children(self.process.pid)[0]

    @property
    def sshd_pid(self) -> int:
        """The listening sshd's."""
        return children(self.pid)[0]

    @property
    def guard_pid(self) -> int:
        """The guard's; 0 if there is none now."""
        return next((pid for pid in children(self.pid) if is_guard(pid)), 0)

    @property
    def log(self) -> str:
        """What keeper and sshd have said."""
        return (self.directory / "log").read_text()

    def terminate(self) -> None:
        """Ask the keeper to end, as the kubelet does; see `process` for when it has."""
        os.kill(self.pid, signal.SIGTERM)


@contextlib.contextmanager
def running_proxy(
    listen: Sequence[int] = (),
    *,
    hold: float = 8.0,
    options: Sequence[str] = (),
    environ: Mapping[bytes, bytes] | None = None,
    keys: SessionKeys | None = None,
    orders: str = "",
    account: Mapping[str, bytes] | None = None,
    command: Callable[[Path, Sequence[str]], Sequence[str]] | None = None,
) -> Iterator[RunningProxy]:
    """Run one until the block ends.

    ``hold``: seconds that a probe waits. ``options``: more words of its command line. ``orders``: what the guard is
    told; ``account``: the files of its service account. ``command``: how to start it otherwise than by
    `keeper_command`.
    """
    ssh_port, keeper_port, probe_port = free_ports(3)
    proxy_keys, token = keys or make_session_keys(), secrets.token_hex(16)
    arguments = [
        *("--ssh-port", str(ssh_port), "--keeper-port", str(keeper_port), "--probe-port", str(probe_port)),
        *(word for port in listen for word in ("--listen", str(port))),
        *("--hold", str(hold)),
        *options,
    ]
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(settings_folder(proxy_keys, token, orders=orders, account=account))
        start = (command or keeper_command)(directory, arguments)
        process = stack.enter_context(started(start, directory, environ or {}))
        proxy = RunningProxy(
            ssh_port=ssh_port, keeper_port=keeper_port, probe_port=probe_port, listen=tuple(listen),
            keys=proxy_keys, token=token, directory=directory, process=process,
        )  # fmt: skip
        for port in (ssh_port, keeper_port, probe_port):
            wait_for_port(port, process, lambda: proxy.log)
        yield proxy


@contextlib.contextmanager
def settings_folder(
    keys: SessionKeys, token: str, *, orders: str = "", account: Mapping[str, bytes] | None = None
) -> Iterator[Path]:
    """The session's Secret, the guard's account and the writable folder, as the pod has them."""
    subprocess.run([PROXY_IMAGE / "ensure-packages"], check=True)
    directory = Path(tempfile.mkdtemp(prefix="bridge-proxy-"))
    try:
        directory.chmod(0o755)
        _copy_program(directory / "program")
        settings, run = directory / "settings", directory / "run"
        settings.mkdir()
        run.mkdir()
        files = {"host_key": keys.host_private, "authorized_keys": keys.client_public, "token": token}
        _mount(
            settings, {name: text.encode() for name, text in (files | ({"orders": orders} if orders else {})).items()}
        )
        if account is not None:
            (directory / "guard").mkdir()
            _mount(directory / "guard", account)
        if os.getuid() == 0:
            os.chown(run, UID, UID)
        yield directory
    finally:
        shutil.rmtree(directory)


def _mount(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o444 if os.getuid() == 0 else 0o600)  # of another uid's key sshd does not mind


def _copy_program(folder: Path) -> None:
    """Copy what the keeper consists of: the clone may be where only its owner can read."""
    for name in PROGRAM:
        source, copy = CLONE / name, folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)


def keeper_command(directory: Path, arguments: Sequence[str]) -> list[str]:
    """The command that starts this clone's keeper with this machine's sshd, as process 1, unprivileged."""
    folders = [word for name in ("settings", "guard", "run") for word in (f"--{name}", str(directory / name))]
    entrypoint = str(directory / "program" / PROGRAM[0])
    return [*as_process_1(unprivileged()), *INTERPRETER, entrypoint, *folders, "--sshd", str(SSHD), *arguments]


def as_process_1(command: Sequence[str] = ()) -> list[str]:
    """The command, in pid and mount namespaces of its own. Whatever is started there ends with it."""
    new_user = [] if os.getuid() == 0 else ["--user", "--map-current-user"]
    return ["/usr/bin/unshare", *new_user, "--pid", "--mount-proc", "--fork", "--kill-child=SIGKILL", "--", *command]


def unprivileged() -> list[str]:
    """The prefix that takes a command's privileges."""
    if os.getuid() != 0:
        return ["/usr/bin/setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"]
    drop = ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]
    return ["/usr/bin/setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", *drop, "--"]


@contextlib.contextmanager
def started(
    command: Sequence[str], directory: Path, environ: Mapping[bytes, bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start it with its output in ``directory/log``; at the end of the block it is gone with all that it started."""
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(command, env=dict(environ), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process
    finally:
        # With its process 1 goes everything in the namespace. --kill-child does not see to that: the kernel forgets the
        # signal for a parent's death where a process changes its uid (prctl(2), PR_SET_PDEATHSIG).
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in children(process.pid):
                os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()


def children(pid: int) -> list[int]:
    """The children of a process, oldest first."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_guard(pid: int) -> bool:
    """Whether a process is a keeper's guard."""
    try:
        return b"guard" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False  # gone meanwhile


def free_ports(count: int, among: Sequence[int] = BELOW_EPHEMERAL) -> list[int]:
    """Ports that nothing listens on now, and that no other test gets, in whatever process it runs.

    One that another test has is not even knocked at: a connection that it does not expect would fail it.
    """
    found: list[int] = []
    while len(found) < count:
        port = secrets.choice(among)
        if not _reserved(port):
            continue
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
    return found


def _reserved(port: int) -> bool:
    """Reserve a port until this process ends, whichever way: a byte of a file that it has locked."""
    if port in _OURS:
        return False
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except BlockingIOError:
        return False
    _OURS.add(port)
    return True


@functools.cache
def _reservations() -> int:
    path = Path(tempfile.gettempdir(), f"bridge-test-ports-{os.getuid()}")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Callable[[], str] = str) -> None:
    """Wait until something accepts there; fail at once if the process has ended."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
            raise AssertionError(f"ended with status {process.returncode} before it listened on {port}:\n{log()}")
    raise AssertionError(f"nothing listens on {port} after {START_SECONDS:g} s:\n{log()}")

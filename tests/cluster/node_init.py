"""PID 1 of a node: makes its mounts, starts the components, starts again what ends, reaps what is handed to it.

A component for which there is a file in ``control/hold`` is kept down; SIGHUP makes PID 1 look again. That is how the
API server is restarted from outside without looking for anybody's process.
"""

from __future__ import annotations

import os
import signal
import ssl
import sys
import time
import traceback
import urllib.request
from pathlib import Path
from typing import NoReturn

from . import cgroups, network, node, system
from .settings import Settings

RESTART_AFTER = 1.0  # seconds from one start of a component to the next, so that a broken one does not spin
TICK = 0.1  # seconds between two looks while something is to be started


def main(argument: str) -> None:
    """Enter the node's namespaces, and leave PID 1 behind, recorded."""
    settings = Settings.parse(argument)
    cgroups.join(settings.node.cgroup)
    system.setns(network.namespace(settings.node.namespace), system.NEW_NETWORK)
    system.unshare(system.NEW_MOUNT | system.NEW_UTS | system.NEW_IPC | system.NEW_PID)
    recorded, told = os.pipe()
    if pid := os.fork():
        system.save(node.record(settings), pid)
        os.write(told, b"!")
        return
    os.close(told)
    if os.read(recorded, 1):  # else the other one ended before it could record this one
        be_init(settings)


def be_init(settings: Settings) -> NoReturn:
    """What PID 1 does; whatever goes wrong is in the log and ends the node."""
    try:
        os.chdir("/")
        mounts(settings)
        Supervisor(settings).run()
    except BaseException:  # noqa: BLE001  # PID 1 has nobody above it to tell
        traceback.print_exc()
    os._exit(1)


def mounts(settings: Settings) -> None:
    """All private to this mount namespace: paths that components have hard-coded, and the node's own /proc and /sys."""
    system.mount("none", "/", flags=system.MS_REC | system.MS_PRIVATE)
    system.mount("proc", "/proc", "proc")
    system.set_hostname(settings.node.name)
    resolved = Path("/etc/resolv.conf").resolve()
    system.mount("tmpfs", "/run", "tmpfs", data="mode=755")
    own_sysfs()
    system.mount("none", "/", flags=system.MS_REC | system.MS_SHARED)  # kubelet hands mounts on to pods
    below = settings.place / "var"
    places = {
        "/var/lib/kubelet": below / "kubelet",
        "/var/lib/cni": below / "cni",
        "/var/log/pods": below / "pods",
        "/var/log/containers": below / "containers",
    }
    for place, source in places.items():
        Path(place).mkdir(parents=True, exist_ok=True)
        system.mount(source, place, flags=system.MS_BIND)
    system.mount("none", "/var/lib/kubelet", flags=system.MS_SHARED)
    system.bind_file(settings.configuration / "hosts", "/etc/hosts")
    system.bind_file(settings.configuration / "resolv.conf", str(resolved))


def own_sysfs() -> None:
    """Mount a /sys of this network namespace (/sys/class/net), with the cgroups back in their place."""
    keep = Path("/run/keep-cgroups")
    keep.mkdir()
    system.mount("/sys/fs/cgroup", keep, flags=system.MS_BIND | system.MS_REC)
    system.mount("sysfs", "/sys", "sysfs")
    system.mount(keep, "/sys/fs/cgroup", flags=system.MS_BIND | system.MS_REC)
    system.unmount(keep, system.DETACH)
    keep.rmdir()


class Supervisor:
    """Keeps the components running."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lines = node.command_lines(settings)
        self.running: dict[str, int] = {}
        self.started: dict[str, float] = {}
        self.served = False
        self.holds = settings.control / "hold"
        self.holds.mkdir(exist_ok=True)
        self.trust = ssl.create_default_context(cafile=str(settings.certificates / "ca.crt"))

    def run(self) -> NoReturn:
        """Wait for a child's end, a signal, or the next look, for ever."""
        waited = {signal.SIGCHLD, signal.SIGHUP}
        signal.pthread_sigmask(signal.SIG_BLOCK, waited)
        while True:
            self.reap()
            self.reconcile()
            if set(self.running) == self.wanted():
                signal.sigwait(waited)
            else:
                signal.sigtimedwait(waited, TICK)

    def wanted(self) -> set[str]:
        """The components that should run."""
        return {name for name in self.lines if not (self.holds / name).exists()}

    def reconcile(self) -> None:
        """Start what should run, end what should not."""
        wanted = self.wanted()
        for name in self.lines:
            if name in wanted and name not in self.running:
                self.start(name)
            elif name in self.running and name not in wanted:
                os.kill(self.running[name], signal.SIGKILL)

    def start(self, name: str) -> None:
        """Start a component, unless it is too soon, or it waits for the API server's first answer."""
        now = time.monotonic()
        if now - self.started.get(name, -RESTART_AFTER) < RESTART_AFTER:
            return
        if name not in node.FIRST and not self.api_server_lives():
            return
        self.started[name] = now
        print(f"{time.strftime('%T')} start {name}", flush=True)
        self.running[name] = self.spawn(self.lines[name], self.settings.logs / f"{name}.log")
        (self.settings.control / f"{name}").write_text(str(self.running[name]))

    def spawn(self, argv: list[str], log: Path) -> int:
        """Start a program with its output in a log, and no signal blocked as they are here."""
        programs = f"{self.settings.binaries}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        files = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ]
        try:
            return os.posix_spawn(argv[0], argv, {"PATH": programs}, file_actions=files, setsigmask=[])
        finally:
            os.close(output)

    def api_server_lives(self) -> bool:
        """Whether it has answered once: what starts before that runs into its own back-off."""
        if not self.served:
            try:
                url = f"{self.settings.api_address}/livez"
                with urllib.request.urlopen(url, timeout=1, context=self.trust) as answer:
                    self.served = answer.status == 200
            except OSError:
                return False
        return self.served

    def reap(self) -> None:
        """Take the exit status of every child that ended; orphans of containers come to PID 1 too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for name in [name for name, running in self.running.items() if running == pid]:
                print(f"{time.strftime('%T')} {name} ended: {os.waitstatus_to_exitcode(status)}", flush=True)
                del self.running[name]
                (self.settings.control / f"{name}").unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1])

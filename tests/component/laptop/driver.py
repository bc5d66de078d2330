"""A bridge without a cluster: the sandbox, with a tunnel that ends on this machine's loopback.

    driver.py [--route HOST:PORT=PORT]... [--nameserver ADDRESS=PORT] [--events FILE] [--grace S]
              [--store FOLDER --bind PATH=SOURCE[:ro]...] [--live PATH=FOLDER[:ro]]... -- COMMAND [ARG]...

Run as an ordinary user by the tests. What the sandbox connects to is connected to the loopback port that a route
names, and refused elsewhere; DNS goes by TCP to a nameserver on a loopback port. Ends with the command's exit code.
"""

import argparse
import asyncio
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bridge.errors import BridgeError
from bridge.laptop.dns import DnsServer
from bridge.laptop.gate import Gate, Parking
from bridge.laptop.localhost import Localhost, Way, ways
from bridge.laptop.published import Published
from bridge.laptop.sandbox import Bind, Sandbox, sandbox
from bridge.laptop.settings import NetworkSettings
from bridge.session.inbox import Inbox
from bridge.tunnel.loop import EventLoop
from bridge.tunnel.outbound import Dial, Outbound
from bridge.tunnel.relay import End

SFTP_SERVER = "/usr/lib/openssh/sftp-server"
POD_IP = "10.42.0.7"
NAMESERVER = "10.43.0.10"
RESOLV_CONF = f"""\
search ns.svc.cluster.local svc.cluster.local cluster.local
nameserver {NAMESERVER}
options ndots:5
"""


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--route", action="append", default=[])
    parser.add_argument("--nameserver", type=int, default=0)
    parser.add_argument("--other-pod-ip", action="append", default=[])
    parser.add_argument("--pod-port", action="append", type=int, default=[])
    parser.add_argument("--other-pod-port", action="append", type=int, default=[], help="from SIGUSR2 to the next one")
    parser.add_argument("--hosts", default=f"{POD_IP}\ttasks-pod\n10.43.0.99\taliased\n")
    parser.add_argument("--events", default=os.devnull)
    parser.add_argument("--grace", type=float, default=2.0)
    parser.add_argument("--cwd", default=None)
    parser.add_argument("--no-gate", action="store_true")
    parser.add_argument("--unreachable", default=None)
    parser.add_argument("--silent", default=None)
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--store", default=None, help="a folder whose content is copied into the sandbox's store")
    parser.add_argument("--bind", action="append", default=[], help="PATH=SOURCE, or PATH=SOURCE:ro")
    parser.add_argument("--live", action="append", default=[], help="PATH=FOLDER, or PATH=FOLDER:ro")
    parser.add_argument("--times", type=int, default=1, help="how often the volumes are mounted")
    parser.add_argument("--patience", type=float, default=5.0)
    parser.add_argument("command", nargs="+")
    return parser.parse_args(argv)


class Accepted(End):
    """A connection to a published port, relayed into the sandbox."""

    def __init__(self, box: Sandbox, port: int) -> None:
        super().__init__()
        self._box, self._port = box, port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._task = asyncio.ensure_future(self._dial())

    async def _dial(self) -> None:
        try:
            await self._box.dial_inside(lambda: End(self), "localhost", self._port)
        except OSError:
            self.reset()


class Services:
    """What runs on the event loop beside the process."""

    def __init__(self, box: Sandbox, options: argparse.Namespace, events: Callable[[object], None]) -> None:
        self._box = box
        self._options = options
        self._routes = dict(route.rpartition("=")[::2] for route in options.route)
        self._pod_ports, self._other_pod_ports = options.pod_port, options.other_pod_port
        self._published = Published(lambda port: Accepted(box, port), events)
        self._localhost = Localhost(box, self._published, lambda: self._pod_ports)

    async def start(self) -> None:
        self._parking = Parking(self._route, patience=self._options.patience)
        self._outbound = Outbound(self._box.listener, self._route, take=self._parking.take)
        if self._box.queue and not self._options.no_gate:
            self._gate = Gate(self._box.queue, self._parking.decide)
            await self._gate.start()
        self._dns = DnsServer(self._dial_from_the_pod, [NAMESERVER], sockets=self._box.dns_sockets)
        await self._outbound.start()
        await self._dns.start()
        self._watch = asyncio.ensure_future(self._localhost.run())

    async def stop(self) -> None:
        self._watch.cancel()
        await asyncio.gather(self._watch, return_exceptions=True)
        await self._published.stop()
        await self._dns.stop()
        if self._box.queue and not self._options.no_gate:
            await self._gate.stop()
        self._parking.close()
        await self._outbound.stop()

    def change_pod_ports(self) -> None:
        """Have other sidecars listen, and those before no more."""
        self._pod_ports, self._other_pod_ports = self._other_pod_ports, self._pod_ports

    def _route(self, destination: tuple[str, int]) -> list[Dial]:
        loop = asyncio.get_running_loop()
        dials = {
            Way.INSIDE: self._box.dial_inside,
            Way.LAPTOP: loop.create_connection,
            Way.POD: self._dial_from_the_pod,
        }
        return [dials[way] for way in ways(destination, pod_ips=[POD_IP], pod_ports=self._pod_ports)]

    async def _dial_from_the_pod(self, factory: Callable[[], asyncio.Protocol], host: str, port: int):
        await asyncio.sleep(self._options.slow)
        if (host, port) == (NAMESERVER, 53) and self._options.nameserver:
            there = self._options.nameserver
        elif f"{host}:{port}" in self._routes:
            there = int(self._routes[f"{host}:{port}"])
        elif host == self._options.silent:
            raise TimeoutError
        elif host == self._options.unreachable:
            raise OSError(errno.EHOSTUNREACH, "no route to host")
        else:
            raise ConnectionRefusedError(f"no route to {host}:{port}")
        return await asyncio.get_running_loop().create_connection(factory, "127.0.0.1", there)


def fill_store(box: Sandbox, folder: str | None) -> None:
    if folder:
        shutil.copytree(folder, f"/proc/self/fd/{box.store()}", symlinks=True, dirs_exist_ok=True)


def bind(box: Sandbox, binds: list[str]) -> None:
    for folder in box.bind([parse_bind(each) for each in binds]):
        print(f"covered: {folder}", file=sys.stderr)


def parse_bind(text: str) -> Bind:
    path, _, source = text.partition("=")
    return Bind(path, source.removesuffix(":ro"), source.endswith(":ro"))


class Pod:
    """Where live volumes come from: SFTP servers, which see this machine's files. SIGUSR1 stands for a new tunnel."""

    def __init__(self, box: Sandbox, volumes: list[str]) -> None:
        self._box = box
        self._volumes = [parse_bind(each) for each in volumes]
        self._servers: list[subprocess.Popen[bytes]] = []
        # sftp-server wants this uid to have a name; see the proxy image, which does the same.
        self._users = os.memfd_create("users")
        os.write(self._users, f"somebody:x:{os.getuid()}:{os.getgid()}::/:/bin/sh\n".encode())
        names = ("NSS_WRAPPER_PASSWD", "NSS_WRAPPER_GROUP")
        self._environment = dict.fromkeys(names, f"/proc/self/fd/{self._users}")
        self._environment["LD_PRELOAD"] = ":".join(map(str, Path("/usr/lib").glob("*/libnss_wrapper.so")))

    def serve(self) -> None:
        self.end()
        self._servers = [self._serve(each) for each in self._volumes]

    def end(self) -> None:
        for each in self._servers:
            each.kill()
            each.wait()

    def _serve(self, volume: Bind) -> "subprocess.Popen[bytes]":
        with self._box.mount_live(volume.path, folder=volume.source, read_only=volume.read_only) as stream:
            pipes = {"stdin": stream, "stdout": stream, "pass_fds": [self._users]}
            return subprocess.Popen([SFTP_SERVER, "-e"], env=self._environment, **pipes)


def main() -> int:
    options = parse(sys.argv[1:])
    signal.signal(signal.SIGINT, lambda *_: None)
    with Path(options.events).open("a") as events, sandbox(grace=options.grace) as box:
        happened = Inbox()  # a lock would sleep through a signal that comes as the wait begins
        signal.set_wakeup_fd(happened.wake)
        signal.signal(signal.SIGTERM, lambda *_: happened.put(box.end))
        loop = EventLoop()
        loop.start()
        box.apply(
            NetworkSettings.of_pod(
                resolv_conf=RESOLV_CONF,
                hosts=options.hosts,
                pod_ips=[POD_IP, *options.other_pod_ip],
                pod_ports=options.pod_port,
                laptop_name=socket.gethostname(),
            )
        )

        pod = Pod(box, options.live)

        def mount() -> None:
            pod.serve()
            bind(box, options.bind)

        fill_store(box, options.store)
        for _ in range(options.times):
            mount()
        signal.signal(signal.SIGUSR1, lambda *_: happened.put(mount))

        def tell(event: object) -> None:
            print(json.dumps({type(event).__name__: vars(event)}), file=events, flush=True)

        services = Services(box, options, tell)
        signal.signal(signal.SIGUSR2, lambda *_: loop.call(services.change_pod_ports))
        loop.run(services.start())
        try:
            process = box.start(options.command, dict(os.environb), options.cwd or str(Path.cwd()))
            asyncio.run_coroutine_threadsafe(process.exited(), loop.loop).add_done_callback(happened.put)
            while callable(what := happened.get()):
                what()
            ended = what.result()
            box.end()
        finally:
            pod.end()
            loop.run(services.stop())
            loop.close()
        return ended.exit_code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BridgeError as error:
        print(f"{error.message}\n{error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)

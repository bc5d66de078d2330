"""init's loop: set up, tell bridge, then serve it until bridge says ``end`` or is gone.

Three sockets, all from bridge:

    control  requests, each with one reply: apply, bind, mount live, start, way in, end. Its end is bridge's end.
    updates  one-way, from bridge's event loop, which may not wait: the ports of the laptop's loopback, and of the pod's
    supply   one-way, to bridge: marked sockets, ahead of need, as many as the socket's buffer takes

Replies: ``{"ok": ...}`` or ``{"failed": step, "errno": n, "detail": text}``. Nothing is printed: the terminal is the
user's process's.
"""

import errno
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from bridge.laptop import messages
from bridge.laptop.init import child, kernel, namespaces, netlink, nfqueue, nft, sockets, tree
from bridge.laptop.init.covers import HOSTS, RESOLV_CONF, Covers
from bridge.laptop.init.ending import Ending
from bridge.laptop.init.hidden import VOLUMES, Hidden
from bridge.laptop.init.live import Live
from bridge.laptop.init.rooms import Rooms
from bridge.laptop.init.volumes import Volumes

# Sent to a whole foreground process group by the terminal, or to everything at shutdown. Init ends after the tree only.
_NOT_FOR_INIT = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTERM,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_STOPPED_BY_TERMINAL = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
_ORPHAN_GRACE = 5.0  # seconds between SIGTERM and SIGKILL when bridge was killed
_COVER_AGAIN = 0.02  # seconds between tries to cover a file that is being replaced
_SUPPLY_AGAIN = 0.1  # seconds between tries to hand out sockets, where the user has too many descriptors under way


class StepFailed(Exception):
    """A step of init's could not be made; bridge explains it."""

    def __init__(self, step: str, errno: int, detail: str) -> None:
        super().__init__(step)
        self.reply: messages.Message = {"failed": step, "errno": errno, "detail": detail}


@contextmanager
def step(name: str) -> Iterator[None]:
    """Name what is being done, for the explanation of its failure."""
    try:
        yield
    except OSError as error:
        raise StepFailed(name, error.errno or 0, str(error)) from error
    except nft.NftError as error:
        raise StepFailed(name, 0, str(error)) from error


@contextmanager
def volume(path: str) -> Iterator[None]:
    """Name the volume that is being mounted."""
    try:
        yield
    except OSError as error:
        raise StepFailed("volume", error.errno or 0, path) from error


class Init:
    """The sandbox's init. ``run`` is its life."""

    def __init__(
        self, control: socket.socket, supply: socket.socket, updates: socket.socket, programs: tuple[str, str, str]
    ) -> None:
        self._control, self._supply, self._updates = control, supply, updates
        self._nft, *self._iptables = programs
        self._ids = os.geteuid(), os.getegid()
        self._bridge = os.getppid()
        self._ignored = frozenset(n for n in _NOT_FOR_INIT if signal.getsignal(n) is signal.SIG_IGN)
        self._reporters: dict[int, socket.socket] = {}  # pid of a started command -> where its end is told
        self._ending: Ending | None = None
        self._end_request = 0
        self._alone = False  # bridge is gone
        self._uncovered = False  # a file of the laptop's shows, as it is just being replaced
        self._supply_at: float | None = None  # when sockets are handed out again (time.monotonic), if they are not now
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}

    def run(self) -> None:
        """Set up, serve, end the tree, return."""
        try:
            ready, descriptors = self._set_up()
        except StepFailed as failure:
            messages.send(self._control, {**failure.reply, "id": 0})
            return
        messages.send(self._control, ready, descriptors)
        for each in descriptors:
            os.close(each)
        while not self._finished():
            for fd, _events in self._epoll.poll(self._timeout()):
                self._handlers.get(fd, _nothing)()
            if self._uncovered:
                self._renew_covers()
            if self._supply_at and time.monotonic() >= self._supply_at:
                self._supply_again()
            if self._ending and self._ending.is_stuck():
                self._live.end()
            if self._ending and self._ending.advance():
                self._ended(self._ending)
        self._live.end()

    def _timeout(self) -> float | None:
        waits = [self._ending.timeout()] if self._ending else []
        if self._uncovered:
            waits.append(_COVER_AGAIN)
        if self._supply_at:
            waits.append(max(0.0, self._supply_at - time.monotonic()))
        return min(waits, default=None)

    def _finished(self) -> bool:
        return self._alone and self._ending is None

    # ---- set-up ---------------------------------------------------------------------------------------------------
    def _set_up(self) -> tuple[messages.Message, list[int]]:
        for number in _NOT_FOR_INIT:
            signal.signal(number, signal.SIG_IGN)
        kernel.set_name("bridge-init")
        kernel.become_subreaper()
        with step("user namespace"):
            namespaces.enter_user_namespace()
        with step("network and mount namespaces"):
            namespaces.enter_network_and_mounts()
        with step("own user namespace"):
            self._own_user = namespaces.own_user_namespace(*self._ids)
        with step("loopback"):
            netlink.loopback_up()
        with step("sockets"):
            self._supplier = sockets.Supplier(self._supply)
            listener, dns = sockets.listener(), sockets.dns_sockets()
        with step("rules"):
            dns4, dns6 = (each.getsockname()[1] for each in (dns[0], dns[-1]))
            nft.run(self._nft, nft.base_rules(listener=listener.getsockname()[1], dns4=dns4, dns6=dns6))
        sockets.set_sysctls()  # after the rules: they are what loads conntrack, and its settings
        queue = self._hold_connections()
        with step("mounts"):
            hidden = Hidden()
            self._rooms = Rooms(hidden)
            self._covers = Covers(hidden, self._rooms)
            self._covers.install()
            self._volumes = Volumes(hidden, self._rooms)
            self._live = Live(self._rooms, self._own_user, several_users=self._ids[0] == 0)
            store = hidden.open(VOLUMES)
        self._tree = tree.Tree(but=self._live.pids)
        self._watch()
        made = {"listener": listener, "dns4": dns[0], "dns6": dns[-1] if len(dns) > 1 else None}
        made |= {"diag": sockets.diagnostics(), "queue": queue}
        found = {name: sock.detach() for name, sock in made.items() if sock is not None} | {"store": store}
        return {"ok": list(found), "id": 0}, list(found.values())

    def _hold_connections(self) -> socket.socket | None:
        """The queue for the SYNs of new connections; None where the kernel, or the machine, has not what it takes."""
        try:
            queue = nfqueue.open_queue()
        except OSError:
            return None
        try:
            self._queue_rules()
        except nft.NftError:
            queue.close()
            return None
        return queue

    def _queue_rules(self) -> None:
        try:
            nft.run(self._nft, nft.queue_rules(nfqueue.QUEUE, native=True))
        except nft.NftError:
            if not all(self._iptables):
                raise
            for program in self._iptables:
                nft.run_program([program, *nft.iptables_arguments(nfqueue.QUEUE)])
            nft.run(self._nft, nft.queue_rules(nfqueue.QUEUE, native=False))

    def _watch(self) -> None:
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._on(woken, select.EPOLLIN, lambda: self._reap(woken))
        self._on(self._control.fileno(), select.EPOLLIN, self._serve)
        self._on(self._updates.fileno(), select.EPOLLIN, self._update)
        self._supply_again()
        mounts = os.open("/proc/self/mountinfo", os.O_RDONLY)
        self._on(mounts, select.EPOLLPRI, self._renew_covers)

    def _on(self, fd: int, events: int, handler: Callable[[], None]) -> None:
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def _off(self, sock: socket.socket) -> None:
        self._epoll.unregister(sock.fileno())
        del self._handlers[sock.fileno()]

    # ---- bridge's requests ----------------------------------------------------------------------------------------
    def _serve(self) -> None:
        try:
            request, descriptors = messages.receive(self._control)
        except messages.Closed:
            self._off(self._control)
            self._alone = True
            if self._ending:
                self._ending.widen(_ORPHAN_GRACE)
            else:
                self._ending = Ending(self._tree, self._epoll, _ORPHAN_GRACE)
            return
        try:
            reply = self._answer(request, descriptors)
        except StepFailed as failure:
            reply = failure.reply
        if reply is not None:
            self._reply(request["id"], reply)

    def _answer(self, request: messages.Message, descriptors: list[int]) -> messages.Message | None:
        match request["do"]:
            case "apply":
                return self._apply(request)
            case "start":
                return self._start(request, socket.socket(fileno=descriptors[0]))
            case "bind":
                return self._bind(request)
            case "mount live":
                return self._mount_live(request, socket.socket(fileno=descriptors[0]))
            case "way in":
                self._hand_out_namespaces(request["id"])
                return None  # it has been replied
            case "end":
                self._ending = Ending(self._tree, self._epoll, request["grace"], entered=request["entered"])
                self._end_request = request["id"]
                return None  # the reply comes when it is done
        raise StepFailed("request", 0, f"unknown: {request['do']}")

    def _apply(self, request: messages.Message) -> messages.Message:
        with step("addresses"):
            pod_ips = sockets.served(request["pod_ips"])
            for address in pod_ips:
                netlink.add_address(address)
            for family in (False, True):
                for address in [each for each in pod_ips if (":" in each) is family][:1]:
                    netlink.route_everything(address)
        with step("rules"):
            rules = nft.network_rules(
                pod_ips=pod_ips, nameservers=request["nameservers"], pod_ports=request["pod_ports"]
            )
            nft.run(self._nft, rules)
        with step("resolver files"):
            self._covers.write(RESOLV_CONF, request["resolv_conf"])
            self._covers.write(HOSTS, request["hosts"])
        return {"ok": True}

    def _start(self, request: messages.Message, reporter: socket.socket) -> messages.Message:
        command = child.Command(
            argv=[os.fsencode(each) for each in request["argv"]],
            env={os.fsencode(name): os.fsencode(value) for name, value in request["env"].items()},
            cwd=os.fsencode(request["cwd"]),
            ignored=self._ignored,
        )
        try:
            with step("fork"):
                pid = child.start(command, self._own_user)
        except child.NotStarted as failure:
            reporter.close()
            raise StepFailed("start", failure.errno, failure.path) from failure
        self._reporters[pid] = reporter
        return {"ok": pid}

    def _bind(self, request: messages.Message) -> messages.Message:
        known = len(self._rooms.own)
        bound = []
        for path, source, read_only in request["binds"]:
            with volume(path):
                bound.append(self._volumes.bind(path, source, read_only=read_only))
        with step("mounts"):
            self._covers.yield_to(bound)
        return {"ok": self._rooms.own[known:]}

    def _mount_live(self, request: messages.Message, stream: socket.socket) -> messages.Message:
        path = request["path"]
        known = len(self._rooms.own)
        with stream, step("fuse"), open("/dev/fuse", "rb+", buffering=0) as device:
            with volume(path):
                target = self._live.make_place(path)
            self._live.mount(
                request["sshfs"],
                path,
                request["folder"],
                target,
                stream=stream.fileno(),
                device=device.fileno(),
                read_only=request["read_only"],
            )
        with step("mounts"):
            self._covers.yield_to([target])
        return {"ok": self._rooms.own[known:]}

    def _hand_out_namespaces(self, request: int) -> None:
        with step("namespaces"):
            descriptors = namespaces.way_in(self._own_user)
            try:
                self._reply(request, {"ok": True}, descriptors)
            finally:
                for each in descriptors:
                    os.close(each)

    def _reply(self, request: int, reply: messages.Message, descriptors: Iterable[int] = ()) -> None:
        with suppress(messages.Closed):  # bridge has gone; the control socket says so next
            messages.send(self._control, {**reply, "id": request}, descriptors)

    def _ended(self, ending: Ending) -> None:
        self._ending = None
        if not self._alone:
            self._reply(self._end_request, {"ok": sorted(ending.killed)})

    # ---- what comes by itself -------------------------------------------------------------------------------------
    def _update(self) -> None:
        try:
            ports, _ = messages.receive(self._updates)
        except messages.Closed:
            self._off(self._updates)
            return
        with suppress(nft.NftError, OSError):  # the next change sets all of them again; init has nowhere to say it
            nft.run(self._nft, nft.localhost_rules(**ports))

    def _renew_covers(self) -> None:
        self._uncovered = not self._covers.renew()

    def _supply_again(self) -> None:
        self._supply_at = None
        self._on(self._supply.fileno(), select.EPOLLOUT, self._hand_out)

    def _hand_out(self) -> None:
        try:
            self._supplier.hand_out()
        except messages.Closed:
            self._off(self._supply)
        except OSError as error:
            if error.errno != errno.ETOOMANYREFS:
                raise
            self._off(self._supply)
            self._supply_at = time.monotonic() + _SUPPLY_AGAIN

    def _reap(self, woken: int) -> None:
        os.read(woken, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if os.WIFSTOPPED(status):
                self._stopped(pid, os.WSTOPSIG(status))
            elif pid in self._reporters:
                self._report(self._reporters.pop(pid), status)
            else:
                self._live.ended(pid)

    def _stopped(self, pid: int, number: int) -> None:
        """A command that stops itself (less, on Ctrl-Z) would leave the shell waiting for bridge: stop the job.

        Not when the terminal has stopped bridge too, nor when the shell has continued the job already.
        """
        if number not in _STOPPED_BY_TERMINAL or pid not in self._reporters or self._alone:
            return
        same_job = os.getpgid(pid) == os.getpgrp()
        if same_job and tree.is_stopped(pid) and not tree.is_stopped(self._bridge):
            os.killpg(0, number)

    def _report(self, reporter: socket.socket, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        with reporter, suppress(messages.Closed):  # perhaps nobody waits for it
            messages.send(reporter, {"signal": -code} if code < 0 else {"code": code})


def _nothing() -> None:
    """For a pidfd: that it woke the loop is all that it is for."""


def main() -> None:
    """Run with ``CONTROL SUPPLY UPDATES NFT IPTABLES IP6TABLES``: three inherited descriptors, three paths.

    The last two paths may be empty.
    """
    fds = [int(each) for each in sys.argv[1:4]]
    for fd in fds:
        os.set_inheritable(fd, False)
    control, supply, updates = (socket.socket(fileno=fd) for fd in fds)
    nft_program, iptables, ip6tables = sys.argv[4:7]
    Init(control, supply, updates, (nft_program, iptables, ip6tables)).run()

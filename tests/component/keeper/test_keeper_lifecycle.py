"""The keeper as a container's first process: its start, its end, what it survives, what it says when it can't work."""

import ctypes
import os
import signal
import socket
import subprocess
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from bridge.tunnel.keys import make_session_keys
from bridge.wire import messages
from tests.component import proxy as proxies
from tests.component.keeper.cluster import ROOT, Cluster, guarded_proxy, orders
from tests.component.proxy import free_ports, keeper_command, running_proxy, settings_folder, started

CLONE = Path(__file__).parents[3]
CLONE_NEWNET = 0x40000000
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="makes mounts or a network")


def family(proxy) -> list[psutil.Process]:
    """The keeper and all that it has started."""
    keeper = psutil.Process(proxy.pid)
    return [keeper, *keeper.children(recursive=True)]


def test_sigterm_ends_it_at_once_with_all_that_it_started(ssh, control):
    with running_proxy() as proxy:
        ssh(proxy)
        control(proxy, version=1)  # a laptop of before does not know of an end, and is not waited for
        before = family(proxy)
        assert len(before) >= 3
        asked = time.monotonic()
        proxy.terminate()
        assert proxy.process.wait(5) == 0
        assert time.monotonic() - asked < 1
        _, alive = psutil.wait_procs(before, timeout=0)
        assert not alive


def heard_last(control) -> list[messages.Message]:
    """What is said until the end."""
    return list(iter(control.hears, None))


def test_a_laptop_is_told_of_the_end_and_ends_it_by_leaving(ssh, control):
    with running_proxy() as proxy:
        with closing(control.stranger(proxy)) as live:
            live.say(messages.Hello(proxy.token))
            assert isinstance(live.hears(), messages.Report)
            proxy.terminate()
            assert live.hears() == messages.Ending()
            assert ssh(proxy).is_authenticated()  # it goes on serving
            live.say(messages.Ping(1))
            assert live.hears() == messages.Pong(1)
        left = time.monotonic()
        assert proxy.process.wait(5) == 0
        assert time.monotonic() - left < 5


def test_a_laptop_that_does_not_leave_is_waited_for_so_long_and_no_longer(control):
    with running_proxy(options=["--drain", "1"]) as proxy:
        live = control(proxy)
        told = time.monotonic()
        proxy.terminate()
        assert heard_last(live) == [messages.Ending()]
        assert proxy.process.wait(5) == 0
        assert 1 <= time.monotonic() - told < 5


def test_a_laptop_that_leaves_soon_does_not_cut_the_lingering_short(control):
    with running_proxy(options=["--linger", "1"]) as proxy:
        live = control(proxy)
        told = time.monotonic()
        proxy.terminate()
        live.close()
        assert proxy.process.wait(5) == 0
        assert 1 <= time.monotonic() - told < 5


def test_a_laptop_of_before_is_not_told_of_the_end_and_not_waited_for(control):
    with running_proxy(options=["--linger", "1"]) as proxy:
        live = control(proxy, version=1)
        told = time.monotonic()
        proxy.terminate()
        assert heard_last(live) == []
        assert proxy.process.wait(5) == 0
        assert 1 <= time.monotonic() - told < 5


def test_told_twice_it_ends_at_once(control):
    for second in (signal.SIGTERM, signal.SIGINT):
        with running_proxy() as proxy:
            live = control(proxy)
            proxy.terminate()
            while live.hears() != messages.Ending():
                pass
            os.kill(proxy.pid, second)
            assert proxy.process.wait(5) == 0


def test_sshd_that_is_killed_is_started_again_and_its_connections_live_on(ssh):
    with running_proxy() as proxy:
        older, killed = ssh(proxy), proxy.sshd_pid
        os.kill(killed, signal.SIGKILL)
        psutil.wait_procs([process for process in family(proxy) if process.pid == killed], timeout=5)
        proxies.wait_for_port(proxy.ssh_port, proxy.process, lambda: proxy.log)
        assert ssh(proxy).is_authenticated()
        with socket.create_server(("127.0.0.1", 0)) as server:
            older.open_channel("direct-tcpip", server.getsockname(), ("127.0.0.1", 1), timeout=5).close()
        assert "keeper: sshd was killed by SIGKILL; starting it again in 0.1 s" in proxy.log


def test_orphans_are_buried(ssh):
    with running_proxy() as proxy:
        ssh(proxy)
        listener = proxy.sshd_pid
        connections = psutil.Process(listener).children(recursive=True)
        assert connections
        os.kill(listener, signal.SIGKILL)
        for process in connections:
            with suppress(psutil.NoSuchProcess):  # a connection's processes end with each other
                process.kill()
        _, alive = psutil.wait_procs(connections, timeout=5)
        assert not alive


def test_it_ends_at_once_also_when_told_at_its_very_start():
    """Process 1 ignores a signal that it has no handler for: the kubelet would wait for the whole grace period."""
    with settings_folder(make_session_keys(), "token") as directory:
        ports = [word for name, port in zip(("ssh", "keeper", "probe"), free_ports(3), strict=True)
                 for word in (f"--{name}-port", str(port))]  # fmt: skip
        with started(keeper_command(directory, ports), directory, {}) as process:
            keeper = first_process(process)
            wait_until_it_takes(signal.SIGTERM, keeper)
            os.kill(keeper, signal.SIGTERM)
            assert process.wait(5) == 0


def first_process(process: subprocess.Popen[bytes]) -> int:
    """The pid of the namespace's process 1, once it is there."""
    while not (found := proxies.children(process.pid)):
        assert process.poll() is None
    return found[0]


def wait_until_it_takes(wanted: signal.Signals, pid: int) -> None:
    """Wait until the process is the keeper, and keeps the signal back or has a handler for it."""
    bit = 1 << (wanted - 1)
    while True:
        fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        taken = (int(fields["SigBlk"], 16) | int(fields["SigCgt"], 16)) & bit
        if fields["Name"].startswith("python") and taken:
            return


def test_no_secret_is_in_the_log_or_in_what_sshd_has(ssh, control):
    with running_proxy(environ={b"PASSWORD": b"s3cret"}) as proxy:
        ssh(proxy)
        control(proxy)
        children = psutil.Process(proxy.pid).children(recursive=True)
        assert len(children) >= 2
        for process in children:
            assert b"s3cret" not in Path(f"/proc/{process.pid}/environ").read_bytes()
        for secret in ("s3cret", proxy.token, proxy.keys.client_private.splitlines()[1]):
            assert secret not in proxy.log


def test_its_files_are_its_own():
    with running_proxy() as proxy:
        for path in (proxy.directory / "run").iterdir():
            assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--ssh-port"], "--ssh-port needs a value"),
        (["--ssh-port", "0"], "--ssh-port 0: not a port"),
        (["--listen", "http"], "--listen http: not a port"),
        (["--hold", "long"], "--hold long: not a number of seconds"),
        (["--verbose", "yes"], "unknown option --verbose"),
        (["--ssh-port", "8080", "--listen", "8080"], "must differ"),
        (["--settings", "/nonexistent"], "can't read /nonexistent/host_key: No such file or directory"),
        (["--run", "/nonexistent"], "can't write /nonexistent/sshd_config: No such file or directory"),
        (["--sshd", "/nonexistent"], "can't start /nonexistent: No such file or directory"),
    ],
)
def test_what_is_wrong_is_said(arguments, expected):
    with settings_folder(make_session_keys(), "token") as directory:
        assert failure(keeper_command(directory, arguments), directory).startswith("keeper: ")
        assert expected in (directory / "log").read_text()


def test_an_empty_token_is_said():
    with settings_folder(make_session_keys(), "\n") as directory:
        assert f"{directory}/settings/token is empty" in failure(keeper_command(directory, []), directory)


def test_a_port_that_is_taken_is_said_and_sshd_does_not_stay():
    ports = free_ports(2)
    with socket.create_server(("127.0.0.1", 0)) as taken, settings_folder(make_session_keys(), "token") as directory:
        port = taken.getsockname()[1]
        arguments = ["--ssh-port", str(ports[0]), "--probe-port", str(ports[1]), "--keeper-port", str(port)]
        said = failure(keeper_command(directory, arguments), directory)
        assert f"can't listen on port {port}: Address already in use" in said


@needs_root
def test_it_does_not_run_as_root():
    with settings_folder(make_session_keys(), "token") as directory:
        command = keeper_command(directory, [])
        as_root = [word for word in command if not word.startswith(("--reuid", "--regid", "--clear-groups"))]
        assert "does not run as root" in failure(as_root, directory)


def failure(command, directory) -> str:
    """What a keeper that can't work says."""
    with started(command, directory, {}) as process:
        assert process.wait(10) == 1
    return (directory / "log").read_text()


# -- as in the pod -----------------------------------------------------------------------------------------------------
@contextmanager
def own_network(setup: str):
    """This thread in a network of its own, with loopback; ``setup`` is run there first."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    assert libc.unshare(CLONE_NEWNET) == 0
    try:
        subprocess.run(["/bin/sh", "-ec", setup], check=True)
        yield
    finally:
        assert libc.setns(before, CLONE_NEWNET) == 0
        os.close(before)


@needs_root
def test_low_ports_are_listened_on_where_the_pod_allows_it(ssh):
    setup = "ip link set lo up; echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start"
    with own_network(setup), running_proxy([80]) as proxy:
        transport = ssh(proxy)
        assert transport.request_port_forward("0.0.0.0", 80) == 80
        with socket.create_connection(("127.0.0.1", 80), 5) as client:
            channel = transport.accept(5)
            channel.sendall(b"from the laptop")
            assert client.recv(100) == b"from the laptop"
            channel.close()


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory) -> Path:
    """The image's files."""
    folder = tmp_path_factory.mktemp("image") / "rootfs"
    script = CLONE / "proxy-image" / "rootfs.py"
    subprocess.run(["/usr/bin/python3", "-B", script, folder], check=True, capture_output=True)
    for parent in [folder, *folder.parents]:
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o555)
    return folder


def test_the_image_has_no_shell_nothing_setuid_and_is_small(rootfs):
    files = [path for path in rootfs.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in files if path.stat().st_mode & 0o6000]
    programs = {path.name for path in files if path.parent.name in ("bin", "sbin")}
    assert programs == {"python3", "sshd"}
    assert sum(path.stat().st_size for path in files) < 32 * 1024 * 1024
    assert not list(rootfs.rglob("*.py"))[1:]  # compiled, but for the entrypoint


def test_the_image_says_whose_files_it_has(rootfs):
    packages = {path.name for path in (rootfs / "var/lib/dpkg/status.d").iterdir()}
    assert {"openssh-server", "libnss-wrapper", "libc6", "libssl3"} <= packages
    for package in packages:
        assert (rootfs / "usr/share/doc" / package / "copyright").exists()


def in_the_image(rootfs: Path, uid: int):
    """How the image's keeper is started as in a pod: read-only root, what the pod mounts, any uid."""
    (rootfs / "etc/hosts").touch()
    (rootfs / "etc/bridge-guard").mkdir(exist_ok=True)  # the container runtime makes it

    def command(directory, arguments):
        script = f"""
            mount --bind {rootfs} {rootfs}
            mount --bind {directory}/settings {rootfs}/etc/bridge
            test -d {directory}/guard && mount --bind {directory}/guard {rootfs}/etc/bridge-guard
            mount -t tmpfs -o mode=1777,nosuid,nodev,noexec tmpfs {rootfs}/run/bridge
            mount -t proc proc {rootfs}/proc
            mount --rbind /dev {rootfs}/dev
            mount --bind /etc/hosts {rootfs}/etc/hosts
            mount -o remount,bind,ro {rootfs}
            exec setpriv --no-new-privs -- /usr/sbin/chroot --userspec={uid}:{uid} {rootfs} "$@"
        """
        keeper = [*proxies.INTERPRETER, "/opt/bridge/proxy-image/entrypoint.py"]
        return [*proxies.as_process_1(), "/bin/sh", "-uc", script, "sh", *keeper, *arguments]

    return command


@needs_root
@pytest.mark.parametrize("uid", [65532, 1000660000])
def test_the_image_runs_on_a_read_only_root_under_any_uid(rootfs, uid, ssh, control):
    with running_proxy(free_ports(1), command=in_the_image(rootfs, uid)) as proxy:
        control(proxy, version=1)
        transport = ssh(proxy)
        assert transport.request_port_forward("0.0.0.0", proxy.listen[0]) == proxy.listen[0]
        transport.open_channel("direct-tcpip", ("localhost", proxy.keeper_port), ("127.0.0.1", 1), timeout=5).close()
        proxy.terminate()
        assert proxy.process.wait(5) == 0
        assert "read-only" not in proxy.log.lower()


@needs_root
def test_the_image_has_all_that_the_guard_needs_and_it_stays_small(rootfs, control):
    cluster = Cluster()
    with guarded_proxy(cluster, orders(grace=2), command=in_the_image(rootfs, 65532)) as proxy:
        live = control(proxy)
        assert live.hears() == messages.Guard(messages.GuardState.ARMED)
        assert psutil.Process(proxy.guard_pid).memory_info().rss < 32 * 1024 * 1024
        cluster.wait_for(lambda: not cluster.is_there(ROOT))

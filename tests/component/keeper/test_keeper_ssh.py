"""The proxy pod's sshd: it carries bytes for this session's key, and does nothing else for anybody."""

import ctypes
import os
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path

import paramiko
import psutil
import pytest

from bridge.tunnel.keys import make_session_keys
from bridge.tunnel.ssh import ANY4, ANY6
from tests.component.proxy import SSHD, USER, free_ports, unprivileged

from .conftest import public_key

SYS_PIDFD_GETFD = 438  # on every architecture


def test_the_sessions_key_opens_it(proxy, ssh):
    assert ssh(proxy).is_authenticated()


def test_another_key_is_refused(proxy, ssh):
    stranger = public_key(make_session_keys().client_private)
    with pytest.raises(paramiko.AuthenticationException):
        ssh.transport(proxy).auth_publickey(USER, stranger)


@pytest.mark.parametrize("user", ["root", "nobody", "sshd", ""])
def test_another_user_is_refused(proxy, ssh, user):
    with pytest.raises(paramiko.AuthenticationException):
        ssh.transport(proxy).auth_publickey(user, public_key(proxy.keys.client_private))


def test_only_a_key_is_asked_for(proxy, ssh):
    for attempt in (
        lambda transport: transport.auth_none(USER),
        lambda transport: transport.auth_password(USER, "", fallback=False),
        lambda transport: transport.auth_interactive(USER, lambda *_: []),
    ):
        with pytest.raises(paramiko.BadAuthenticationType) as caught:
            attempt(ssh.transport(proxy))
        assert caught.value.allowed_types == ["publickey"]


@pytest.mark.parametrize("start", [lambda it: it.exec_command("id"), lambda it: it.invoke_shell()])
def test_neither_a_command_nor_a_shell_is_run(proxy, ssh, start):
    with closing(ssh(proxy).open_session()) as channel:
        channel.settimeout(5)
        start(channel)
        assert channel.recv(1000) == b"This service allows sftp connections only.\n"
        assert channel.recv_exit_status() != 0


@pytest.mark.parametrize(
    "request_it", [lambda it: it.get_pty(), lambda it: it.request_x11(), lambda it: it.invoke_subsystem("netconf")]
)
def test_a_terminal_x11_and_other_subsystems_are_refused(proxy, ssh, request_it):
    with closing(ssh(proxy).open_session()) as channel, pytest.raises(paramiko.SSHException):
        request_it(channel)


def test_listening_on_unix_sockets_is_refused(proxy, ssh):
    path = str(proxy.directory / "run" / "socket")
    assert ssh(proxy).global_request("streamlocal-forward@openssh.com", (path,), wait=True) is None
    assert not Path(path).exists()


def test_files_are_there_by_sftp(proxy, ssh):
    with closing(paramiko.SFTPClient.from_transport(ssh(proxy))) as sftp:
        assert {"host_key", "authorized_keys", "token"} == set(sftp.listdir(str(proxy.directory / "settings")))


def test_a_connection_from_the_pod_carries_bytes_both_ways(proxy, ssh):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        for name in ("127.0.0.1", "localhost"):
            channel = ssh(proxy).open_channel("direct-tcpip", (name, server.getsockname()[1]), ("127.0.0.1", 1))
            accepted, _ = server.accept()
            with accepted, closing(channel):
                channel.sendall(b"to the cluster")
                assert accepted.recv(100) == b"to the cluster"
                accepted.sendall(b"from the cluster")
                accepted.shutdown(socket.SHUT_WR)
                assert channel.recv(100) == b"from the cluster"
                assert channel.recv(100) == b""


def test_a_thousand_connections_fit_in_one(proxy, ssh):
    transport = ssh(proxy)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as server:
        address = server.getsockname()
        channels = [transport.open_channel("direct-tcpip", address, ("127.0.0.1", 1)) for _ in range(1000)]
        assert all(channel.active for channel in channels)


@pytest.mark.parametrize(("address", "loopback"), [(ANY4, "127.0.0.1"), (ANY6, "::1")])
def test_the_sessions_ports_are_listened_on_for_all_and_reached(proxy, ssh, listen, address, loopback):
    transport = ssh(proxy)
    for port in listen:
        assert transport.request_port_forward(address, port) == port
        with socket.create_connection((loopback, port), 5) as client:
            channel = transport.accept(5)
            client.sendall(b"request")
            assert channel.recv(100) == b"request"
            channel.sendall(b"response")
            assert client.recv(100) == b"response"
            channel.close()
    assert {local_address(port) for port in listen} == {address}


def test_another_port_is_not_listened_on(proxy, ssh):
    transport = ssh(proxy)
    for port in (*free_ports(1), 0, proxy.probe_port):
        with pytest.raises(paramiko.SSHException, match="denied"):
            transport.request_port_forward("0.0.0.0", port)


def test_sshd_and_the_control_connection_are_on_loopback_only(proxy):
    assert local_address(proxy.ssh_port) == "127.0.0.1"
    assert local_address(proxy.keeper_port) == "127.0.0.1"


@pytest.mark.skipif(os.getuid() != 0, reason="looks at a socket of another user's process")
def test_a_session_channel_with_sftp_makes_sshd_send_at_once_and_stays_open(proxy, ssh):
    """Without it, Nagle's algorithm holds a small answer back until the one before it is acknowledged: up to 40 ms."""
    transport = ssh(proxy)
    assert not no_delay(proxy, transport)
    with closing(transport.open_session()) as channel:
        channel.invoke_subsystem("sftp")
        assert no_delay(proxy, transport)
        assert transport.global_request("keepalive@openssh.com", wait=True) is None  # answered, as any unknown request
        assert not channel.exit_status_ready()
        assert not channel.closed


def test_what_sshd_makes_of_its_configuration(proxy):
    """sshd's own account of it: what is said to be closed is closed, under the names that this sshd has."""
    command = [*unprivileged(), SSHD, "-T", "-f", proxy.directory / "run" / "sshd_config"]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    effective = dict(line.split(" ", 1) for line in result.stdout.splitlines() if " " in line)
    expected = {
        "passwordauthentication": "no", "kbdinteractiveauthentication": "no", "gssapiauthentication": "no",
        "hostbasedauthentication": "no", "authenticationmethods": "publickey", "usepam": "no",
        "allowagentforwarding": "no", "allowstreamlocalforwarding": "no", "x11forwarding": "no", "permittunnel": "no",
        "permittty": "no", "permituserrc": "no", "permituserenvironment": "no", "forcecommand": "internal-sftp",
        "permitopen": "any", "gatewayports": "clientspecified", "usedns": "no", "compression": "no",
        "listenaddress": f"127.0.0.1:{proxy.ssh_port}", "allowusers": USER, "loglevel": "INFO",
        "permitlisten": " ".join(f"*:{port}" for port in proxy.listen),
        "ciphers": "aes128-gcm@openssh.com,aes256-gcm@openssh.com",
    }  # fmt: skip
    assert {name: effective.get(name) for name in expected} == expected


def local_address(port: int) -> str:
    """Where a port of this machine is listened on."""
    listeners = [entry for entry in psutil.net_connections("tcp") if entry.status == "LISTEN"]
    (address,) = {entry.laddr.ip for entry in listeners if entry.laddr.port == port}
    return address


def no_delay(proxy, transport) -> bool:
    """Whether sshd's end of this connection has TCP_NODELAY, looked at in sshd's own processes."""
    laptop_port = transport.sock.getsockname()[1]
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for entry in psutil.net_connections("tcp4"):
            if entry.laddr.port == proxy.ssh_port and entry.raddr and entry.raddr.port == laptop_port and entry.pid:
                try:
                    return socket_option(entry.pid, entry.fd)
                except OSError:
                    continue  # the process that did the log-in is going; its successor has the socket too
    raise AssertionError("sshd has no such connection")


def socket_option(pid: int, descriptor: int) -> bool:
    """TCP_NODELAY of a socket of another process."""
    pidfd = os.pidfd_open(pid)
    try:
        copy = ctypes.CDLL(None, use_errno=True).syscall(SYS_PIDFD_GETFD, pidfd, descriptor, 0)
    finally:
        os.close(pidfd)
    if copy < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    with socket.socket(fileno=copy) as sock:
        return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

"""The control connection: the session's token opens it; the report is what the container was given, byte for byte."""

import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from bridge.wire import messages
from tests.component.proxy import free_ports, running_proxy

from .conftest import Control


def test_the_report_comes_through_ssh(proxy, ssh):
    channel = ssh(proxy).open_channel("direct-tcpip", ("127.0.0.1", proxy.keeper_port), ("127.0.0.1", 1))
    with closing(channel):
        channel.settimeout(5)
        control = Control(channel)
        control.say(messages.Hello(proxy.token))
        report = control.hears()
    assert isinstance(report, messages.Report)
    assert report.version == messages.VERSION
    assert report.resolv_conf == Path("/etc/resolv.conf").read_text()
    assert report.hosts == Path("/etc/hosts").read_text()
    assert report.hostname == socket.gethostname()


def test_the_environment_is_reported_byte_for_byte(control):
    environ = {
        b"EMPTY": b"",
        b"LINES": b"one\ntwo\r\n\tthree\n",
        b"JSON": b'{"a": [1, "\\u00e9"]}',
        b"LATIN": b"caf\xe9 \xff\xfe",
        b"EQUALS": b"a=b=c",
        b"odd-name.x": "näme ✓".encode(),
        b"LC_ALL": b"de_DE.ISO-8859-1",  # would change what Python thinks of all the others
        # The kernel takes 128 KiB for each (MAX_ARG_STRLEN), and more than 1 MiB of them.
        **{b"HUGE_%d" % number: os.urandom(60_000).hex().encode() for number in range(10)},
    }
    with running_proxy(environ=environ) as proxy:
        hello = control.stranger(proxy)
        hello.say(messages.Hello(proxy.token))
        report = hello.hears()
    assert len(report.environ) > 1024 * 1024
    assert report.environ == b"".join(b"%s=%s\0" % variable for variable in environ.items())


def test_a_wrong_token_is_told_so_and_ends_the_connection(proxy, control):
    for token in ("", proxy.token[:-1], proxy.token + "x", "é", "\ud800"):
        stranger = control.stranger(proxy)
        stranger.say(messages.Hello(token))
        assert stranger.hears() == messages.Refused("the token is not this session's")
        assert stranger.hears() is None


@pytest.mark.parametrize(
    "message", [messages.Ping(1), messages.Probed(1, ready=True), messages.Report(
        environ=b"", resolv_conf="", hosts="", hostname="", pod_ips=(), mounts=(), listening=())]
)  # fmt: skip
def test_nothing_is_said_before_the_token(proxy, control, message):
    stranger = control.stranger(proxy)
    stranger.say(message)
    assert isinstance(stranger.hears(), messages.Refused)
    assert stranger.hears() is None


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1\r\n\r\n", b"\n", b"\xff\n", b"x" * 200_000])
def test_what_is_no_message_ends_the_connection(proxy, line):
    with socket.create_connection(("127.0.0.1", proxy.keeper_port), 5) as sock:
        sock.sendall(line)
        assert b"refused" in sock.recv(1000)


def test_a_version_that_is_too_old_is_told_so(proxy, control):
    stranger = control.stranger(proxy)
    stranger.say(messages.Hello(proxy.token, version=0))
    assert "too old" in stranger.hears().reason


def test_a_later_version_gets_ours(proxy, control):
    stranger = control.stranger(proxy)
    stranger.say(messages.Hello(proxy.token, version=messages.VERSION + 1))
    assert stranger.hears().version == messages.VERSION


def test_pings_are_answered_in_order(proxy, control):
    live = control(proxy)
    live.say(*(messages.Ping(number) for number in range(100)))
    assert [live.hears() for _ in range(100)] == [messages.Pong(number) for number in range(100)]


def test_a_newer_connection_replaces_the_older_one(proxy, control):
    older = control(proxy)
    newer = control(proxy)
    assert older.hears() == messages.Refused("a newer connection has taken over")
    assert older.hears() is None
    newer.say(messages.Ping(1))
    assert newer.hears() == messages.Pong(1)


def through(transport, proxy, *, say: messages.Hello) -> Control:
    """A control connection as the laptop has it: through SSH."""
    channel = transport.open_channel("direct-tcpip", ("127.0.0.1", proxy.keeper_port), ("127.0.0.1", 1))
    channel.settimeout(5)
    control = Control(channel)
    control.say(say)
    assert isinstance(control.hears(), messages.Report)
    return control


def test_who_takes_over_finds_the_pods_ports_free_and_the_older_ssh_connection_ended(proxy, ssh, listen):
    """sshd alone would hold them until it finds the older laptop gone, for half a minute."""
    hello = messages.Hello(proxy.token)
    for _ in range(5):
        older, newer = ssh(proxy), ssh(proxy)
        through(older, proxy, say=hello)
        for port in listen:
            assert older.request_port_forward("0.0.0.0", port) == port
        live = through(newer, proxy, say=hello)
        for port in listen:
            assert newer.request_port_forward("0.0.0.0", port) == port
        older.join(5)
        assert not older.is_active()
        live.say(messages.Ping(1))
        assert live.hears() == messages.Pong(1)
        newer.close()
        newer.join(5)
    assert "ending the SSH connection of the one before" in proxy.log


def test_who_takes_over_through_the_same_ssh_connection_keeps_it(proxy, ssh, listen):
    transport = ssh(proxy)
    older = through(transport, proxy, say=messages.Hello(proxy.token))
    newer = through(transport, proxy, say=messages.Hello(proxy.token))
    assert older.hears() == messages.Refused("a newer connection has taken over")
    newer.say(messages.Ping(1))
    assert newer.hears() == messages.Pong(1)
    assert transport.is_active()


def test_a_stranger_ends_nobodys_connection(proxy, ssh):
    transport = ssh(proxy)
    live = through(transport, proxy, say=messages.Hello(proxy.token))
    with closing(
        ssh(proxy).open_channel("direct-tcpip", ("127.0.0.1", proxy.keeper_port), ("127.0.0.1", 1))
    ) as channel:
        stranger = Control(channel)
        stranger.say(messages.Hello("wrong"))
        assert isinstance(stranger.hears(), messages.Refused)
    live.say(messages.Ping(1))
    assert live.hears() == messages.Pong(1)


def test_a_wrong_token_leaves_the_live_connection_alone(proxy, control):
    live = control(proxy)
    stranger = control.stranger(proxy)
    stranger.say(messages.Hello("wrong"))
    assert isinstance(stranger.hears(), messages.Refused)
    live.say(messages.Ping(1))
    assert live.hears() == messages.Pong(1)


def test_strangers_that_say_nothing_do_not_keep_the_laptop_out(proxy, control):
    strangers = [control.stranger(proxy) for _ in range(20)]
    control(proxy)
    assert strangers[0].hears() is None


def test_a_laptop_that_does_not_read_does_not_hold_others_up(proxy, control):
    with socket.create_connection(("127.0.0.1", proxy.keeper_port), 5) as deaf:
        deaf.setblocking(False)
        deaf.sendall(messages.render(messages.Hello(proxy.token)))
        pings = messages.render(messages.Ping(1)) * 1000
        with pytest.raises(BlockingIOError):  # when the keeper stops reading
            while True:
                deaf.send(pings)
        live = control(proxy)
        live.say(messages.Ping(2))
        assert live.hears() == messages.Pong(2)


def test_ports_of_the_neighbours_are_reported_and_followed(proxy, control):
    (port,) = free_ports(1)
    live = control.stranger(proxy)
    live.say(messages.Hello(proxy.token))
    report = live.hears()
    assert port not in report.listening
    assert not {proxy.ssh_port, proxy.keeper_port, proxy.probe_port} & set(report.listening)
    with socket.create_server(("127.0.0.1", port)):
        assert port in next_ports(live, lambda ports: port in ports)
    assert port not in next_ports(live, lambda ports: port not in ports)


def next_ports(live: Control, wanted) -> tuple[int, ...]:
    """The next news that is wanted: other tests' ports come and go too."""
    while not wanted(ports := live.hears_all().ports):
        pass
    return ports

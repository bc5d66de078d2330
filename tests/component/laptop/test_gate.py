"""connect() ends as it would in the pod: the SYN is held until the pod's answer is known."""

import time
from pathlib import Path

import pytest

from tests.component.laptop.peers import Server

CONNECT = """
import errno, socket, sys, time
for where in sys.argv[1:]:
    host, _, port = where.rpartition(":")
    start = time.monotonic()
    try: socket.create_connection((host, int(port)), timeout=2).close(); said = "connected"
    except OSError as error: said = errno.errorcode.get(error.errno, type(error).__name__)
    print(said, "at once" if time.monotonic() - start < 1 else "late")
"""


@pytest.fixture(autouse=True)
def _exact(laptop):
    done = laptop.python(CONNECT, "10.9.9.9:1")
    if "ECONNRESET" in done.stdout or "connected" in done.stdout:
        pytest.skip("this kernel has no nfnetlink_queue, or there is no iptables")


def test_a_closed_port_is_refused(laptop):
    assert laptop.python(CONNECT, "10.1.2.3:81").stdout == "ECONNREFUSED at once\n"


def test_an_unreachable_host_is_unreachable(laptop):
    done = laptop.python(CONNECT, "10.7.7.7:80", options=("--unreachable", "10.7.7.7"))
    assert done.stdout == "EHOSTUNREACH at once\n"


def test_a_silent_host_is_silent(laptop):
    done = laptop.python(CONNECT, "10.7.7.7:80", options=("--silent", "10.7.7.7"))
    assert done.stdout == "TimeoutError late\n"


def test_wait_for_it_scripts_are_told_the_truth(laptop, echo):
    script = "for p in 80 81; do (exec 3<>/dev/tcp/10.1.2.3/$p) 2>/dev/null; echo $?; done"
    done = laptop.run("bash", "-c", script, options=("--route", f"10.1.2.3:80={echo.port}"))
    assert done.stdout == "0\n1\n"


def test_only_one_connection_is_made_for_one(laptop, echo):
    before = echo.connections
    options = ("--route", f"10.1.2.3:80={echo.port}")
    done = laptop.python(CONNECT, *["10.1.2.3:80"] * 20, options=options)
    assert done.stdout == "connected at once\n" * 20
    assert echo.connections - before == 20


def test_a_slow_dial_is_waited_for_and_its_repeated_syn_dials_once(laptop, echo):
    before = echo.connections
    options = ("--route", f"10.1.2.3:80={echo.port}", "--slow", "1.4")  # TCP sends the SYN again after 1 s
    assert laptop.python(CONNECT, "10.1.2.3:80", options=options).stdout == "connected late\n"
    assert echo.connections - before == 1


class Greeter(Server):
    """Speaks first, then closes its half."""

    async def serve(self, reader, writer) -> None:
        writer.write(b"220 welcome\r\n" * 1000)
        writer.write_eof()
        assert await reader.read() == b"bye"


def test_what_a_server_says_first_is_not_lost(laptop):
    source = """
import socket
s = socket.create_connection(("10.1.2.3", 25)); data = b""
while chunk := s.recv(65536): data += chunk
s.sendall(b"bye"); s.shutdown(socket.SHUT_WR); print(len(data)); print(s.recv(1))
"""
    with Greeter() as greeter:
        done = laptop.python(source, options=("--route", f"10.1.2.3:25={greeter.port}"))
    assert done.stdout == "13000\nb''\n"


def test_many_connections_at_once_all_get_their_own(laptop, echo):
    source = """
import concurrent.futures, os, socket
def one(n):
    data = os.urandom(100)
    with socket.create_connection(("10.1.2.3", 80)) as s:
        s.sendall(data); got = b""
        while len(got) < 100: got += s.recv(100)
    return got == data
with concurrent.futures.ThreadPoolExecutor(60) as pool: print(sum(pool.map(one, range(1500))))
"""
    done = laptop.python(source, options=("--route", f"10.1.2.3:80={echo.port}"))
    assert done.stdout == "1500\n", done.stderr


def test_a_program_that_gives_up_leaves_nothing_parked(laptop, echo):
    source = """
import socket, time
s = socket.socket(); s.settimeout(0.2)
try: s.connect(("10.1.2.3", 80))
except TimeoutError: print("gave up")
s.close(); time.sleep(1)
"""
    options = ("--route", f"10.1.2.3:80={echo.port}", "--slow", "0.5", "--patience", "0.2")
    assert laptop.python(source, options=options).stdout == "gave up\n"
    deadline = time.monotonic() + 5
    while established(echo.port) and time.monotonic() < deadline:
        pass
    assert established(echo.port) == 0


def established(port: int) -> int:
    wanted = f":{port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(fields[1].endswith(wanted) and fields[3] == "01" for fields in lines)


def test_without_a_gate_everything_still_connects(laptop, echo):
    done = laptop.python(CONNECT, "10.1.2.3:80", options=("--no-gate", "--route", f"10.1.2.3:80={echo.port}"))
    assert done.stdout == "connected at once\n"

"""The sandbox's network: any program, as an ordinary user, reaches what bridge relays, and its own loopback."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.component.laptop.peers import Echo
from tests.component.proxy import CLONE

CONNECT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10) as s:
    s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    print(s.makefile().read().splitlines()[-1], s.getsockname()[0])
"""


def routed(echo: Echo, *more: str) -> tuple[str, ...]:
    return ("--route", f"10.1.2.3:80={echo.port}", *more)


def named(echo, nameserver) -> tuple[str, ...]:
    return routed(echo, "--nameserver", str(nameserver.port))


def test_python_reaches_an_address_of_the_cluster_from_the_pods_address(laptop, echo):
    done = laptop.python(CONNECT, "10.1.2.3", "80", options=routed(echo))
    assert done.stdout == "hello 10.42.0.7\n", done.stderr


@pytest.mark.parametrize("name", ["tasks-db", "tasks-db.ns.svc", "tasks-db.ns.svc.cluster.local."])
def test_curl_resolves_a_name_by_the_pods_search_path(laptop, echo, nameserver, name):
    done = laptop.run("curl", "-sS", f"http://{name}/", options=named(echo, nameserver))
    assert done.stdout == "hello\n", done.stderr


def test_node_resolves_and_connects(laptop, echo, nameserver):
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    source = "require('http').get('http://tasks-db/', r => r.on('data', d => process.stdout.write(d)))"
    done = laptop.run("node", "-e", source, options=named(echo, nameserver))
    assert done.stdout == "hello\n", done.stderr


GO_CLIENT = """
package main
import ("io"; "net/http"; "os")
func main() {
    r, err := http.Get(os.Args[1])
    if err != nil { println(err.Error()); os.Exit(1) }
    io.Copy(os.Stdout, r.Body)
}
"""


def test_a_static_go_program_resolves_and_connects(laptop, echo, nameserver, tmp_path):
    go = shutil.which("go")
    if not go:
        pytest.skip("go is not installed")
    (tmp_path / "main.go").write_text(GO_CLIENT)
    client = laptop.home / "client"
    environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}
    subprocess.run([go, "build", "-o", client, "main.go"], cwd=tmp_path, env=environment, check=True)
    client.chmod(0o755)
    done = laptop.run(str(client), "http://tasks-db/", options=named(echo, nameserver))
    assert done.stdout == "hello\n", done.stderr


def test_java_resolves_and_connects(laptop, echo, nameserver):
    if not shutil.which("javac") and not shutil.which("java"):
        pytest.skip("java is not installed")
    source = laptop.home / "Get.java"
    source.write_text(
        "public class Get { public static void main(String[] a) throws Exception {"
        "  new java.net.URL(a[0]).openStream().transferTo(System.out); } }"
    )
    done = laptop.run("java", str(source), "http://tasks-db/", options=named(echo, nameserver))
    if "Module jdk.compiler not found" in done.stderr or "compiler" in done.stderr:
        pytest.skip("this java can't compile")
    assert done.stdout == "hello\n", done.stderr


def test_dig_sees_srv_ptr_and_a_name_that_does_not_exist(laptop, echo, nameserver):
    db = "tasks-db.ns.svc.cluster.local."
    script = f"dig +short _http._tcp.{db} SRV; dig +short -x 10.1.2.3; dig nothing.example | grep status"
    done = laptop.run("sh", "-c", script, options=named(echo, nameserver))
    assert done.stdout.splitlines()[:2] == [f"0 100 80 {db}", db]
    assert "NXDOMAIN" in done.stdout


def test_an_answer_too_large_for_udp_is_fetched_by_tcp(laptop, echo, nameserver):
    options = (*named(echo, nameserver), "--route", f"10.43.0.10:53={nameserver.port}")
    done = laptop.run("dig", "+short", "large.example", "TXT", options=options)
    assert len(done.stdout.splitlines()) == 25, done.stdout


def test_a_name_that_does_not_exist_fails_at_once(laptop, echo, nameserver):
    source = """
import socket, time
start = time.monotonic()
try: socket.getaddrinfo("nothing.example", 80)
except socket.gaierror as error: print(error.errno == socket.EAI_NONAME, time.monotonic() - start < 1)
"""
    assert laptop.python(source, options=named(echo, nameserver)).stdout == "True True\n"


def test_many_names_at_once_are_all_answered(laptop, echo, nameserver):
    source = """
import concurrent.futures, socket
with concurrent.futures.ThreadPoolExecutor(50) as pool:
    found = list(pool.map(lambda n: socket.gethostbyname("tasks-db"), range(500)))
print(set(found), len(found))
"""
    done = laptop.python(source, options=named(echo, nameserver))
    assert done.stdout == "{'10.1.2.3'} 500\n", done.stderr


def test_the_pods_hosts_file_and_the_laptops_name_are_known(laptop):
    source = "import socket; print(*map(socket.gethostbyname, ['aliased', 'localhost', socket.gethostname()]))"
    assert laptop.python(source).stdout == "10.43.0.99 127.0.0.1 10.42.0.7\n"


def test_other_udp_is_refused_at_once(laptop):
    source = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
s.connect(("10.5.5.5", 8125)); s.send(b"x")
try: s.recv(1)
except ConnectionRefusedError: print("refused")
t = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print([t.sendto(b"x", ("10.5.5.5", 8125)) for _ in range(3)])
"""
    assert laptop.python(source).stdout == "refused\n[1, 1, 1]\n"


# ---- both families ---------------------------------------------------------------------------------------------------
ADDRESSES = """
import pathlib
file = pathlib.Path("/proc/net/if_inet6")
print([line[:32] for line in (file.read_text().splitlines() if file.exists() else []) if line.startswith("fd")])
"""


def test_a_pod_with_both_families_has_both_addresses_inside(laptop, echo):
    done = laptop.python(CONNECT + ADDRESSES, "10.1.2.3", "80", options=routed(echo, "--other-pod-ip", "fd00::7"))
    assert done.stdout == f"hello 10.42.0.7\n{['fd00' + '0' * 27 + '7']}\n", done.stderr


def test_an_address_can_be_named_at_once() -> None:
    """One of IPv6 was tentative for a moment, and with it the route failed: in one of three starts on a busy laptop."""
    source = """
import socket
from bridge.laptop.init import netlink
netlink.loopback_up()
for n in range(1, 500):
    netlink.add_address(f"fd00::{n:x}")
    netlink.route_everything(f"fd00::{n:x}")
    with socket.socket(socket.AF_INET6) as sock: sock.bind((f"fd00::{n:x}", 0))
print(n)
"""
    argv = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", source]
    done = subprocess.run(argv, cwd=CLONE, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "499\n", done.stderr


def test_a_laptop_without_ipv6_does_without_the_pods(laptop, echo):
    """As with ipv6.disable=1, where an address of that family is refused."""
    without = [sys.executable, str(Path(__file__).with_name("without_ipv6.py"))]
    options = routed(echo, "--other-pod-ip", "fd00::7")
    argv = laptop.argv(laptop.interpreter, "-I", "-c", CONNECT + ADDRESSES, "10.1.2.3", "80", options=options)
    settings = {"cwd": laptop.home, "env": laptop.environment, "text": True, "timeout": 60}
    done = subprocess.run([*without, *argv], capture_output=True, check=False, **settings)
    if done.returncode == 77:
        pytest.skip(done.stderr)
    assert done.stdout == "hello 10.42.0.7\n[]\n", done.stderr


# ---- localhost -------------------------------------------------------------------------------------------------------
EVENTUALLY = """
import socket, sys, time
deadline = time.monotonic() + 10
while True:
    try: s = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5); break
    except OSError:
        if time.monotonic() > deadline: raise
        time.sleep(0.02)
s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n"); print(s.makefile().read().splitlines()[-1])
"""


def test_localhost_reaches_a_server_of_the_laptop(laptop, echo):
    assert laptop.python(EVENTUALLY, "localhost", str(echo.port)).stdout == "hello\n"


def test_localhost_reaches_a_server_of_the_laptop_on_ipv6_only(laptop):
    with Echo("::1") as server:
        assert laptop.python(EVENTUALLY, "::1", str(server.port)).stdout == "hello\n"
        done = laptop.python(CONNECT, "127.0.0.1", str(server.port))
        assert "ConnectionRefusedError" in done.stderr


def test_a_port_of_a_sidecar_is_reached_on_localhost(laptop, echo):
    options = ("--route", f"127.0.0.1:15000={echo.port}", "--pod-port", "15000")
    assert laptop.python(CONNECT, "127.0.0.1", "15000", options=options).stdout == "hello 127.0.0.1\n"


ANSWERS = """
import socket, sys, time
said = None
while True:
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5) as s:
            s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            answer = s.makefile().read().split()[-1]
    except ConnectionRefusedError: answer = "refused"
    except (OSError, IndexError): answer = said  # bridge and the rules have not both heard of it yet
    if answer != said: said = answer; print(said, flush=True)
    time.sleep(0.02)
"""


def test_a_sidecar_that_begins_late_is_reached_on_localhost_until_it_ends(laptop, echo):
    options = ("--route", f"127.0.0.1:15000={echo.port}", "--other-pod-port", "15000")
    with laptop.start(laptop.interpreter, "-I", "-c", ANSWERS, "15000", options=options) as process:
        try:
            assert process.stdout.readline() == "refused\n"
            for answer in ("hello\n", "refused\n"):
                process.send_signal(signal.SIGUSR2)
                assert process.stdout.readline() == answer
        finally:
            process.terminate()


OWN = """
import socket, sys, time
own = socket.create_server(("127.0.0.1", int(sys.argv[1])))
deadline = time.monotonic() + 5
while time.monotonic() < deadline:
    c = socket.create_connection(own.getsockname()); a, peer = own.accept()  # accepted here, through bridge at first
    if peer == c.getsockname(): print("the kernel's own"); break
    time.sleep(0.05)
"""


def test_the_processs_own_port_wins_over_the_laptops(laptop, echo):
    assert laptop.python(OWN, str(echo.port)).stdout == "the kernel's own\n"


def test_a_closed_port_of_localhost_is_refused(laptop):
    assert "ConnectionRefusedError" in laptop.python(CONNECT, "127.0.0.1", "9").stderr


def test_the_pods_address_can_be_bound_and_reached(laptop):
    source = """
import socket
s = socket.create_server(("10.42.0.7", 80)); c = socket.create_connection(("10.42.0.7", 80)); print(s.accept()[1][0])
"""
    assert laptop.python(source).stdout == "10.42.0.7\n"


# ---- published ports -------------------------------------------------------------------------------------------------
SERVE = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family)
print("listening", flush=True)
c = s.accept()[0]; data = c.recv(100); s.close(); sys.stdin.read(); c.sendall(data.upper()); c.close()
sys.stdin.read()
"""


def next_event(events) -> dict:
    while not (line := events.readline()):
        pass
    return json.loads(line)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1", "10.42.0.7"])
def test_the_processs_port_is_on_the_laptops_localhost(laptop, address):
    events = laptop.home / f"events-{address}"
    events.touch()
    events.chmod(0o666)
    free = socket.create_server(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    with (
        laptop.start(
            laptop.interpreter,
            "-c",
            SERVE,
            address,
            str(port),
            options=("--events", str(events)),
            stdin=subprocess.PIPE,
        ) as process,
        events.open() as told,
    ):
        assert next_event(told) == {"Opened": {"port": port}}
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"browser")
            assert next_event(told) == {"Closed": {"port": port}}  # the process listens no more; what is open stays
            process.stdin.close()
            assert client.recv(100) == b"BROWSER"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        process.stdout.read()


def test_a_taken_port_is_told_and_not_fatal(laptop, echo):
    events = Path(laptop.home / "taken")
    events.touch()
    events.chmod(0o666)
    source = (
        "import socket, sys; s = socket.create_server(('', int(sys.argv[1]))); "
        "s.accept()[0].sendall(b'the process'); sys.stdin.read()"
    )
    options = ("--events", str(events))
    with (
        laptop.start(
            laptop.interpreter, "-c", source, str(echo.port), options=options, stdin=subprocess.PIPE
        ) as process,
        events.open() as told,
    ):
        event = next_event(told)["Elsewhere"]
        assert (event["port"], event["reason"]) == (echo.port, "another program listens on it")
        with socket.create_connection(("127.0.0.1", event["at"])) as client:  # there it is instead
            assert client.recv(100) == b"the process"
        process.stdin.close()
        assert process.wait(10) == 0

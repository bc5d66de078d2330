"""The resolver's files in the sandbox, whatever the laptop has at their places.

The laptop's own /etc must not be changed for a test: so each runs bridge in a mount namespace of root's, in which /etc
and /run have been made as the case wants.
"""

import subprocess

import pytest

from tests.component.laptop.driver import NAMESERVER

SEEN = "cat /etc/resolv.conf; grep hosts: /etc/nsswitch.conf; grep -c aliased /etc/hosts"
AS_IN_THE_POD = ["search ns.svc.cluster.local svc.cluster.local cluster.local", f"nameserver {NAMESERVER}"]

# A copy of /etc and an empty /run, as a laptop's own, in a mount namespace of the test's.
COPY = """
set -e
mount -t tmpfs tmpfs /mnt; cp -a /etc /mnt/etc; mount --bind /mnt/etc /etc
mount -t tmpfs -o mode=755 tmpfs /run
"""


def on_a_laptop_with(laptop, arrange: str, script: str = SEEN) -> "subprocess.CompletedProcess[str]":
    argv = ["sh", "-c", f'{COPY}\n{arrange}\nexec "$@"', "sh", *laptop.argv("sh", "-c", script)]
    command = ["unshare", "--mount", *argv]
    done = subprocess.run(command, cwd=laptop.home, env=laptop.environment, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("only root can arrange another laptop")
    return done


def assert_as_in_the_pod(done: "subprocess.CompletedProcess[str]") -> None:
    assert done.stdout.splitlines() == [*AS_IN_THE_POD, "options ndots:5", "hosts: files dns", "1"], done.stderr


LAPTOPS = {
    "file": "",
    "systemd-resolved": """
        ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
        mkdir -p /run/systemd/resolve; echo nameserver 127.0.0.53 > /run/systemd/resolve/stub-resolv.conf""",
    "NetworkManager": """
        ln -sf /run/NetworkManager/resolv.conf /etc/resolv.conf
        mkdir -p /run/NetworkManager; echo nameserver 192.168.1.1 > /run/NetworkManager/resolv.conf""",
    "dangling": "ln -sf /run/resolvconf/not/there/resolv.conf /etc/resolv.conf",
    "missing": "rm /etc/resolv.conf",
    "no hosts": "rm /etc/hosts; mkdir /run/nscd",
}


@pytest.mark.parametrize("arrange", LAPTOPS.values(), ids=LAPTOPS)
def test_the_files_are_the_pods_whatever_the_laptop_has(laptop, arrange):
    assert_as_in_the_pod(on_a_laptop_with(laptop, arrange))


def test_the_laptops_name_daemons_cannot_be_asked(laptop):
    arrange = "mkdir -p /run/nscd /run/systemd/resolve; touch /run/nscd/socket /run/systemd/resolve/io.systemd.Resolve"
    done = on_a_laptop_with(laptop, arrange, "ls /run/nscd /run/systemd/resolve")
    assert "socket" not in done.stdout
    assert "io.systemd" not in done.stdout


def test_a_file_that_the_laptop_replaces_meanwhile_stays_the_pods(laptop):
    """DHCP and VPN clients rename a new resolv.conf over the old one, which detaches a mount on it."""
    arrange = "chmod 777 /etc /mnt/etc; (sleep 0.5; echo nameserver 9.9.9.9 > /etc/new; mv /etc/new /etc/resolv.conf) &"
    changed = "while ! grep -q 9.9.9.9 /mnt/etc/resolv.conf; do sleep 0.05; done; sleep 0.3;"
    assert_as_in_the_pod(on_a_laptop_with(laptop, arrange, changed + SEEN))


def test_nothing_of_the_laptops_files_is_changed(laptop):
    listing = "LC_ALL=C ls -A /etc /srv"
    done = on_a_laptop_with(laptop, "", listing)
    bare = subprocess.run(listing, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout == bare.stdout

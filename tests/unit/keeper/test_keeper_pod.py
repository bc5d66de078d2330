"""What the keeper reads in the kernel's files."""

import sys

import pytest
from keeper import pod

from bridge.wire.messages import Mount

POD = "/var/lib/kubelet/pods/6f1c"
MOUNTINFO = rf"""
1215 1130 0:192 / / ro,relatime master:389 - overlay overlay rw,lowerdir=/a:/b
1216 1215 0:194 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
1217 1215 0:195 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
1218 1217 0:196 / /dev/pts rw,nosuid,noexec - devpts devpts rw,gid=5,mode=620
1219 1215 0:180 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro
1220 1215 8:1 {POD}/etc-hosts /etc/hosts rw,relatime - ext4 /dev/sda1 rw
1221 1217 8:1 {POD}/containers/c/3b2f /dev/termination-log rw,relatime - ext4 /dev/sda1 rw
1222 1215 8:1 /var/lib/containerd/sandboxes/x/hostname /etc/hostname rw,relatime - ext4 /dev/sda1 rw
1223 1215 8:1 /var/lib/containerd/sandboxes/x/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/sda1 rw
1224 1215 0:170 / /etc/bridge ro,relatime - tmpfs tmpfs rw,size=32768k
1225 1215 0:171 / /run/bridge rw,relatime - tmpfs tmpfs rw,size=16384k
1226 1215 8:1 {POD}/volumes/kubernetes.io~configmap/config /etc/config ro,relatime - ext4 /dev/sda1 rw
1227 1215 8:1 {POD}/volume-subpaths/config/c/1 /srv/one.yaml ro,relatime - ext4 /dev/sda1 rw
1228 1215 8:1 {POD}/volumes/kubernetes.io~empty-dir/data /data/with\040space\134 rw,relatime - ext4 /dev/sda1 rw
1229 1215 0:44 /export/pvc-1 /srv/shared rw,relatime shared:7 - nfs4 nas:/export/pvc-1 rw,vers=4.2
1230 1215 0:172 / /run/secrets/kubernetes.io/serviceaccount ro,relatime - tmpfs tmpfs rw
1232 1215 0:174 / /etc/bridge-guard ro,relatime - tmpfs tmpfs rw
1231 1215 0:173 / /etc/bridge-of-the-application ro,relatime - tmpfs tmpfs rw
""".lstrip("\n")


def test_volumes_are_what_is_mounted_but_not_by_the_runtime_or_for_us():
    assert pod.mounts(MOUNTINFO) == [
        Mount("/etc/config", "configmap", read_only=True),
        Mount("/srv/one.yaml", "ext4", read_only=True),
        Mount("/data/with space\\", "empty-dir", read_only=False),
        Mount("/srv/shared", "nfs4", read_only=False),
        Mount("/run/secrets/kubernetes.io/serviceaccount", "tmpfs", read_only=True),
        Mount("/etc/bridge-of-the-application", "tmpfs", read_only=True),
    ]


def test_of_two_mounts_on_one_path_the_last_is_seen():
    first = "1 2 0:1 / /data ro - tmpfs tmpfs rw\n"
    assert pod.mounts(first + first.replace("ro - tmpfs", "rw - ext4")) == [Mount("/data", "ext4", read_only=False)]


def hexadecimal(address: bytes) -> str:
    """An address as the kernel prints it on this machine."""
    words = [address[start : start + 4] for start in range(0, len(address), 4)]
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def row(address: bytes, port: int, state: str = "0A") -> str:
    """A line of /proc/net/tcp."""
    return (
        f"   0: {hexadecimal(address)}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 1\n"
    )


@pytest.mark.parametrize(
    ("address", "found"),
    [
        (bytes([127, 0, 0, 1]), True),
        (bytes([127, 0, 0, 53]), True),
        (bytes(4), True),
        (bytes([10, 244, 0, 7]), False),
        (bytes(16), True),
        (bytes(15) + b"\x01", True),
        (bytes(10) + b"\xff\xff" + bytes([127, 0, 0, 1]), True),
        (bytes(10) + b"\xff\xff" + bytes([10, 244, 0, 7]), False),
        (bytes.fromhex("fd000000000000000000000000000007"), False),
    ],
)
def test_a_listener_counts_if_loopback_reaches_it(address, found):
    assert list(pod.loopback_listeners([HEADING, row(address, 6379)])) == ([6379] if found else [])


def test_connections_are_no_listeners():
    loopback = bytes([127, 0, 0, 1])
    lines = [HEADING, row(loopback, 80), row(loopback, 443), row(loopback, 50000, state="01")]
    assert list(pod.loopback_listeners(lines)) == [80, 443]


def test_no_line_is_no_listener():
    assert list(pod.loopback_listeners([])) == []


FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.244.0.0/24 2 0 2
        +-- 10.244.0.0/26 2 0 2
           |-- 10.244.0.0
              /24 link UNICAST
           |-- 10.244.0.23
              /32 host LOCAL
        |-- 10.244.0.255
           /32 link BROADCAST
     +-- 127.0.0.0/8 2 0 2
           |-- 127.0.0.1
              /32 host LOCAL
Local:
  +-- 0.0.0.0/0 3 0 5
           |-- 10.244.0.23
              /32 host LOCAL
           |-- 10.244.0.3
              /32 host LOCAL
"""


def test_own_ipv4_addresses_are_those_that_are_local_without_loopbacks():
    assert pod.ipv4_addresses(FIB_TRIE) == ["10.244.0.3", "10.244.0.23"]
    assert pod.ipv4_addresses("") == []


def test_own_ipv6_addresses_are_those_good_beyond_the_link():
    table = (
        "00000000000000000000000000000001 01 80 10 80       lo\n"
        "fe800000000000000c2d1ffffe3a9f11 02 40 20 80     eth0\n"
        "fd000000000000000000000000000007 02 40 00 80     eth0\n"
    )
    assert pod.ipv6_addresses(table) == ["fd00::7"]
    assert pod.ipv6_addresses("") == []

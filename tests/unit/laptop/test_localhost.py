import pytest

from bridge.laptop.listeners import Listener, parse_proc
from bridge.laptop.localhost import Redirected, Way, ways

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000  101        0 11
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000    0        0 12
   2: 0100007F:C350 0100007F:1538 01 00000000:00000000 00:00000000 00000000  101        0 13
"""
TABLE6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 00000000000000000000000001000000:14E9 00000000000000000000000000000000:0000 0A 00000000:00000000
   1: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000
   2: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000
"""


def test_listeners_are_read_from_the_kernels_tables():
    assert set(parse_proc(TABLE)) == {Listener("127.0.0.1", 5432), Listener("0.0.0.0", 22)}
    assert set(parse_proc(TABLE6)) == {Listener("::1", 5353), Listener("127.0.0.1", 8080), Listener("::", 80)}


def test_an_empty_table_has_no_listener():
    assert list(parse_proc("")) == []


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        (("10.43.0.1", 80), [Way.POD]),
        (("2001:db8::1", 80), [Way.POD]),
        (("127.0.0.1", 5432), [Way.INSIDE, Way.LAPTOP]),
        (("::1", 5432), [Way.INSIDE, Way.LAPTOP]),
        (("127.0.0.1", 15000), [Way.INSIDE, Way.LAPTOP, Way.POD]),
        (("10.42.0.7", 80), [Way.INSIDE]),
        (("10.42.0.7", 15000), [Way.INSIDE, Way.POD]),
    ],
)
def test_a_destination_has_its_ways(destination, expected):
    assert list(ways(destination, pod_ips=["10.42.0.7"], pod_ports=[15000])) == expected


def test_the_laptops_ports_are_redirected_but_not_the_processs_own_or_published_ones():
    laptop = [Listener("127.0.0.1", n) for n in (5432, 8000, 8080)] + [Listener("::", 9000), Listener("::1", 9001)]
    inside = [Listener("0.0.0.0", 8080), Listener("::1", 9001)]
    redirected = Redirected.of(laptop, inside, published=[8000])
    assert redirected == Redirected(frozenset({5432, 9000}), frozenset({9000}))


def test_what_listens_elsewhere_on_the_laptop_is_not_localhost():
    assert Redirected.of([Listener("127.0.0.53", 53), Listener("192.168.1.2", 80)], [], []) == Redirected()


def test_the_ports_of_the_pods_sidecars_are_redirected_too():
    assert Redirected.of([], [], [], pod_ports=(6432,)) == Redirected(pod_ports=frozenset({6432}))

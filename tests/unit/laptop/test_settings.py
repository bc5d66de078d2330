from bridge.laptop.init.covers import nsswitch_with_dns
from bridge.laptop.settings import NetworkSettings, parse_nameservers, render_hosts

RESOLV_CONF = """\
# from the kubelet
search ns.svc.cluster.local svc.cluster.local
nameserver 10.43.0.10
nameserver fd00::a
nameserver nonsense
options ndots:5
"""


def test_nameservers_are_those_that_glibc_would_take():
    assert parse_nameservers(RESOLV_CONF) == ("10.43.0.10", "fd00::a")
    assert parse_nameservers("nameserver fe80::1%eth0") == ("fe80::1",)
    assert parse_nameservers("") == ()


def test_the_laptops_name_stands_for_the_pods_address():
    pod = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n10.42.0.7\ttasks-abc\n"
    assert render_hosts(pod, laptop_name="anns-laptop", pod_ips=["10.42.0.7"]) == pod + "10.42.0.7\tanns-laptop\n"


def test_a_hosts_file_without_localhost_gets_it():
    assert render_hosts("", laptop_name="", pod_ips=[]) == "127.0.0.1\tlocalhost\n::1\tlocalhost\n"


def test_a_name_that_the_pod_has_already_is_kept():
    pod = "127.0.0.1 localhost\n10.42.0.7 same # own\n"
    assert render_hosts(pod, laptop_name="same", pod_ips=["10.42.0.7"]) == pod


def test_settings_are_made_from_the_pods_files():
    settings = NetworkSettings.of_pod(resolv_conf=RESOLV_CONF, hosts="", pod_ips=["10.42.0.7"], pod_ports=[15000])
    assert settings.nameservers == ("10.43.0.10", "fd00::a")
    assert settings.pod_ports == {15000}
    assert settings.resolv_conf == RESOLV_CONF


def test_nsswitch_asks_files_then_dns_and_is_else_the_laptops():
    of_laptop = "passwd: files systemd\nhosts: mymachines resolve [!UNAVAIL=return] files myhostname dns\n"
    assert nsswitch_with_dns(of_laptop) == "passwd: files systemd\nhosts: files dns\n"

import shutil
import subprocess

import pytest

from bridge.laptop.init import nft


def test_addresses_go_in_the_set_of_their_family():
    rules = nft.network_rules(pod_ips=["10.42.0.7", "fd00::7"], nameservers=["10.43.0.10"], pod_ports=[15001, 15000])
    assert rules.splitlines() == [
        "add element inet sandbox own4 { 10.42.0.7 }",
        "add element inet sandbox own6 { fd00::7 }",
        "add element inet sandbox nameservers4 { 10.43.0.10 }",
        "add element inet sandbox pod_ports { 15000, 15001 }",
    ]


def test_the_ports_of_localhost_replace_those_before():
    assert nft.localhost_rules(laptop4=[5432], laptop6=[], pod_ports=[15001, 15000]).splitlines() == [
        "flush set inet sandbox laptop4",
        "add element inet sandbox laptop4 { 5432 }",
        "flush set inet sandbox laptop6",
        "flush set inet sandbox pod_ports",
        "add element inet sandbox pod_ports { 15000, 15001 }",
    ]


def test_nft_understands_all_of_the_rules():
    if not shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin"):
        pytest.skip("nft is not installed")
    text = nft.base_rules(listener=61000, dns4=61001, dns6=61002)
    text += nft.network_rules(pod_ips=["10.42.0.7"], nameservers=["fd00::a"], pod_ports=[15000])
    text += nft.localhost_rules(laptop4=[1, 2], laptop6=[3], pod_ports=[15000, 15001])
    command = ["unshare", "--user", "--map-root-user", "--net", "nft", "--check", "-f", "-"]
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    if "unshare" in done.stderr:
        pytest.skip("user namespaces are not allowed here")
    assert (done.returncode, done.stderr) == (0, "")

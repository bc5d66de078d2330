"""What a node is, decided without one."""

from __future__ import annotations

from tests.cluster import node
from tests.cluster.settings import Node, Settings

SETTINGS = Settings(name="check", root_port=1)


def test_settings_survive_the_way_to_another_process() -> None:
    for settings in (SETTINGS, SETTINGS.of(2)):
        assert Settings.parse(str(settings)) == settings


def test_a_second_node_has_names_and_addresses_of_its_own() -> None:
    one, two = Node("bridge", 1), Node("bridge", 2)
    for names in ("name", "label", "namespace", "cgroup", "address", "pod_subnet"):
        assert getattr(one, names) != getattr(two, names)


def test_a_second_node_keeps_its_things_apart_in_the_cluster_s_state() -> None:
    other = SETTINGS.of(2)
    for folder in ("place", "control", "configuration", "logs"):
        assert getattr(other, folder) != getattr(SETTINGS, folder)
        assert getattr(other, folder).is_relative_to(SETTINGS.state)
    assert node.record(other) != node.record(SETTINGS)
    assert other.certificates == SETTINGS.certificates


def test_the_control_plane_is_on_the_first_node_only() -> None:
    assert list(node.command_lines(SETTINGS))[:2] == ["etcd", "kube-apiserver"]
    assert list(node.command_lines(SETTINGS.of(2))) == ["containerd", "kubelet", "kube-proxy"]


def test_a_node_that_lives_may_be_late_several_times_before_it_is_taken_for_dead() -> None:
    assert node.NODE_GRACE >= 8 * node.NODE_LEASE / 4

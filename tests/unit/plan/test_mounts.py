"""Which volumes appear on the laptop."""

import pytest

from bridge.plan.mounts import shown_mounts
from bridge.wire.messages import Mount

KEEP = ["/home/dev", "/home/dev/project"]


def at(path: str, kind: str = "configmap") -> Mount:
    return Mount(path=path, kind=kind, read_only=True)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/config",
        "/data",
        "/app/config",
        "/var/run/secrets/kubernetes.io/serviceaccount",
        "/home/node/app",
        "/opt/x",
    ],
)
def test_what_is_in_a_folder_of_its_own_appears(path):
    shown = shown_mounts([at(path)], KEEP)
    assert [each.path for each in shown.mounts] == [path]
    assert shown.notes == ()


@pytest.mark.parametrize("path", ["/", "/etc", "/usr/lib", "/proc/x", "/sys", "/dev/shm", "/home", "/home/dev"])
def test_what_would_hide_the_laptops_own_files_is_left_out_and_said(path):
    shown = shown_mounts([at(path)], KEEP)
    assert shown.mounts == ()
    assert len(shown.notes) == 1
    assert f"at {path} is left out" in shown.notes[0]


def test_the_laptops_own_scratch_does_as_well():
    assert shown_mounts([at("/tmp", "empty-dir"), at("/var/tmp", "tmpfs")], KEEP).notes == ()


def test_parents_come_first():
    shown = shown_mounts([at("/data/cache/deep"), at("/data/cache"), at("/zzz"), at("/data")], KEEP)
    assert [each.path for each in shown.mounts] == ["/data", "/zzz", "/data/cache", "/data/cache/deep"]

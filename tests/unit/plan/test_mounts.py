"""Which volumes appear on the laptop."""

import pytest

from bridge.plan.mounts import Mount, mounts_of, shown_mounts

KEEP = ["/home/dev", "/home/dev/project"]


def at(path: str, kind: str = "configMap") -> Mount:
    return Mount(path=path, volume="v", kind=kind, read_only=True)


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
    assert shown_mounts([at("/tmp", "emptyDir"), at("/var/tmp", "emptyDir")], KEEP).notes == ()


def test_a_link_to_one_of_the_laptops_own_folders_is_one():
    shown = shown_mounts([at("/data")], KEEP, real=lambda path: path.replace("/data", "/home"))
    assert shown.mounts == ()


def test_mounts_are_read_off_the_pod():
    volumes = [
        {"name": "config", "configMap": {"name": "settings"}},
        {"name": "kube-api-access-x7", "projected": {"sources": []}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "bridge-run", "emptyDir": {}},
    ]
    mounts = [
        {"name": "data", "mountPath": "/data/deep/"},
        {"name": "bridge-run", "mountPath": "/run/bridge"},
        {"name": "scratch", "mountPath": "/data", "readOnly": True},
        {"name": "config", "mountPath": "/etc/config"},
        {"name": "kube-api-access-x7", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True},
    ]
    containers = [{"name": "sidecar"}, {"name": "web", "volumeMounts": mounts}]
    found = mounts_of({"spec": {"volumes": volumes, "containers": containers}}, "web")
    assert [(each.path, each.kind, each.read_only, each.is_kubelets) for each in found] == [
        ("/data", "emptyDir", True, False),
        ("/data/deep", "persistentVolumeClaim", False, False),
        ("/etc/config", "configMap", True, True),
        ("/var/run/secrets/kubernetes.io/serviceaccount", "projected", True, True),
    ]
    assert mounts_of({"spec": {"containers": containers[:1]}}, "sidecar") == []


def test_parents_come_first():
    shown = shown_mounts([at("/data/cache/deep"), at("/data/cache"), at("/zzz"), at("/data")], KEEP)
    assert [each.path for each in shown.mounts] == ["/data", "/zzz", "/data/cache", "/data/cache/deep"]

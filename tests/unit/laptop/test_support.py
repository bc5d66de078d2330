import errno

import pytest

from bridge.laptop.support import explain, is_confined, live_unsupported, sshfs_command

UBUNTU = {"kernel.apparmor_restrict_unprivileged_userns": "1", "user.max_user_namespaces": "15000"}
FREE = {"status": "Name:\tpython3\nSeccomp:\t0\nSeccomp_filters:\t0", "attr/current": "unconfined"}
FILTERED = {"status": "Name:\tpython3\nSeccomp:\t2\nSeccomp_filters:\t1", "attr/current": "docker-default (enforce)"}


def explained(
    step: str, number: int, settings: dict[str, str], detail: str = "", own: dict[str, str] | None = None
) -> str:
    error = explain(step, number, detail, sysctl=settings.get, own=(own or FREE).get, interpreter="/usr/bin/python3")
    return f"{error.message}\n{error.hint}"


@pytest.mark.parametrize(
    ("step", "number", "settings", "said"),
    [
        ("user namespace", errno.ENOSPC, {"user.max_user_namespaces": "0"}, "sysctl -w user.max_user_namespaces="),
        ("user namespace", errno.EPERM, {"kernel.unprivileged_userns_clone": "0"}, "unprivileged_userns_clone=1"),
        ("user namespace", errno.EPERM, UBUNTU, "profile bridge /usr/bin/python3"),
        ("network and mount namespaces", errno.EPERM, UBUNTU, "apparmor_restrict_unprivileged_userns=0"),
        ("user namespace", errno.EINVAL, {}, "CONFIG_USER_NS"),
        ("user namespace", errno.EPERM, {}, "seccomp"),
        ("network and mount namespaces", errno.ENOSPC, {"user.max_net_namespaces": "0"}, "user.max_net_namespaces"),
        ("rules", 0, {}, "nft_redir"),
        ("mounts", errno.EACCES, {}, "virtual machine"),
        ("volume", errno.EACCES, {}, "sudo mkdir -p detail"),
        ("fuse", errno.EACCES, {}, "can't be mounted live: detail"),
        ("volume", errno.EBUSY, {}, "/proc and /sys are the kernel's"),
        ("volume", errno.ENOSPC, {}, "volume at detail can't be shown: No space left"),
    ],
)
def test_each_reason_is_named_with_the_way_out(step, number, settings, said):
    assert said in explained(step, number, settings, "detail")


@pytest.mark.parametrize(
    ("status", "label", "confined"),
    [
        ("Name:\tx\nSeccomp:\t0\nSeccomp_filters:\t0", "unconfined", False),
        ("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1", "unconfined", True),
        ("Name:\tx\nSeccomp:\t0", "docker-default (enforce)", True),
        ("Name:\tx\nSeccomp:\t0", "vscode (unconfined)", False),
        ("Name:\tx\nSeccomp:\t0", "snap.code.code (complain)", False),
        ("Name:\tx\nSeccomp:\t0", "unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023", False),
        ("Name:\tSeccomp:\t2\nSeccomp:\t0", "", False),
        ("", "", False),
    ],
)
def test_a_process_is_confined_by_a_seccomp_filter_or_a_profile_that_is_enforced(status, label, confined):
    assert is_confined(status, label) is confined


def test_in_a_container_its_own_profiles_are_blamed_before_the_hosts_setting():
    for number in (errno.EPERM, errno.EACCES):
        said = explained("user namespace", number, UBUNTU, own=FILTERED)
        assert "as in a container" in said
        assert "--security-opt seccomp=unconfined --security-opt apparmor=unconfined" in said
        assert said.endswith("on its host:\n  sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0")
        assert "apparmor_parser" not in said
    assert "host" not in explained("user namespace", errno.EPERM, {}, own=FILTERED)
    assert "apparmor=unconfined" in explained("mounts", errno.EACCES, {}, own=FILTERED)


def test_a_bound_that_is_reached_is_named_in_a_container_too():
    said = explained("user namespace", errno.ENOSPC, {"user.max_user_namespaces": "0"}, own=FILTERED)
    assert "sysctl -w user.max_user_namespaces=" in said


def test_the_interpreters_real_path_is_what_apparmor_is_told(tmp_path):
    (tmp_path / "python3.11").touch()
    (tmp_path / "python").symlink_to("python3.11")
    error = explain("user namespace", 1, "", sysctl=UBUNTU.get, own=FREE.get, interpreter=str(tmp_path / "python"))
    assert f"profile bridge {tmp_path}/python3.11 " in error.hint


def sshfs(folder, *, says: str) -> str:
    """A search path with a sshfs in it."""
    program = folder / "sshfs"
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    return str(folder)


def test_why_there_are_no_live_volumes_is_said_with_the_way_out(tmp_path):
    device = tmp_path / "fuse"
    assert "apt install sshfs" in live_unsupported(search=str(tmp_path))
    assert "too old" in live_unsupported(search=sshfs(tmp_path, says="-o reconnect"))
    (tmp_path / "new").mkdir()
    new = sshfs(tmp_path / "new", says="-o passive")
    assert f"--device {device}" in live_unsupported(device=str(device), search=new)
    device.touch()
    assert live_unsupported(device=str(device), search=new) is None


def test_symbolic_links_mean_what_they_mean_in_the_pod_whatever_the_sshfs(tmp_path, monkeypatch):
    """One that can contain them does so by default; one that can't does not know the option."""
    for name, says, expected in (("old", "-o passive", False), ("new", "-o passive -o no_contain_symlinks", True)):
        (tmp_path / name).mkdir()
        monkeypatch.setenv("PATH", sshfs(tmp_path / name, says=says) + ":/bin")
        program, _foreground, _option, options = sshfs_command()
        assert program == f"{tmp_path}/{name}/sshfs"
        assert ("no_contain_symlinks" in options.split(",")) is expected

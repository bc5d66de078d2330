import errno

import pytest

from bridge.laptop.support import explain, live_unsupported, sshfs_command

UBUNTU = {"kernel.apparmor_restrict_unprivileged_userns": "1", "user.max_user_namespaces": "15000"}


def explained(step: str, number: int, settings: dict[str, str], detail: str = "") -> str:
    error = explain(step, number, detail, sysctl=settings.get, interpreter="/usr/bin/python3")
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


def test_the_interpreters_real_path_is_what_apparmor_is_told(tmp_path):
    (tmp_path / "python3.11").touch()
    (tmp_path / "python").symlink_to("python3.11")
    error = explain("user namespace", 1, "", sysctl=UBUNTU.get, interpreter=str(tmp_path / "python"))
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

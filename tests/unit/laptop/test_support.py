import errno

import pytest

from bridge.laptop.support import explain

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
    ],
)
def test_each_reason_is_named_with_the_way_out(step, number, settings, said):
    assert said in explained(step, number, settings, "detail")


def test_the_interpreters_real_path_is_what_apparmor_is_told(tmp_path):
    (tmp_path / "python3.11").touch()
    (tmp_path / "python").symlink_to("python3.11")
    error = explain("user namespace", 1, "", sysctl=UBUNTU.get, interpreter=str(tmp_path / "python"))
    assert f"profile bridge {tmp_path}/python3.11 " in error.hint

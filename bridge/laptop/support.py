"""Why this laptop can't make a sandbox, and what to do about it.

Most is found by trying, which costs nothing extra: init names the step that failed, and ``explain`` reads the settings
which can be behind it. ``check_supported`` is what can be known before.
"""

import errno
import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bridge.errors import SandboxError

_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"  # not in the PATH of ordinary users on Debian
_OTHERWISE = "Otherwise run bridge in a virtual machine, or in a container that is started with --privileged."

# Which settings bound a step of init's.
_LIMITS = {
    "user namespace": ["user.max_user_namespaces"],
    "own user namespace": ["user.max_user_namespaces"],
    "network and mount namespaces": ["user.max_net_namespaces", "user.max_mnt_namespaces"],
}

# Settings which forbid them: the value that does, and the one that allows them.
_SWITCHES = {
    "kernel.unprivileged_userns_clone": ("0", "1"),  # Debian's and Arch's kernels
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),  # Ubuntu's
}


def check_supported() -> None:
    """Raise SandboxError if it is plain that a sandbox can't be made here."""
    if sys.platform != "linux":
        raise SandboxError(
            f"bridge run needs Linux; this is {sys.platform}.",
            hint="On macOS and Windows run it in a Linux virtual machine (Lima, Colima, WSL 2).",
        )
    find_nft()


def find_programs() -> tuple[str, str, str]:
    """nft, iptables and ip6tables; the last two may be empty: they are needed by some kernels only."""
    return find_nft(), _find("iptables"), _find("ip6tables")


def _find(name: str, search: str | None = None) -> str:
    return shutil.which(name, path=search or os.environ.get("PATH", "") + ":" + _SBIN) or ""


def find_nft() -> str:
    """The nft program. Raises SandboxError."""
    found = _find("nft")
    if not found:
        raise SandboxError(
            "bridge needs the nft program, which is not installed.",
            hint="Install it: apt install nftables, dnf install nftables, pacman -S nftables, apk add nftables.",
        )
    return found


def live_unsupported(*, device: str = "/dev/fuse", search: str | None = None) -> str | None:
    """Why volumes can't be mounted live on this laptop, and what to do; None when they can."""
    program = _find("sshfs", search)
    if not program:
        return "sshfs is not installed (apt install sshfs, dnf install fuse-sshfs, pacman -S sshfs, apk add sshfs)"
    if "-o passive" not in _help(program):
        return f"{program} is too old (3.7.1 or newer is needed)"
    if not Path(device).exists():
        return f"this laptop has no {device} (sudo modprobe fuse; for a container: --device {device})"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"{device} is not for you to open (sudo chmod 666 {device})"
    return None


def sshfs_command() -> list[str]:
    """sshfs in the foreground, speaking SFTP on its stdin and stdout, and its options for what is mounted."""
    program = _find("sshfs")
    options = [
        "passive",
        "uid=0,gid=0",  # as init has it: the user. Who may do what is for the pod to say
        "dcache_timeout=1",  # seconds that names and attributes are believed: others in the pod write too
        "no_check_root",  # a folder that is missing shows as one, not as a mount that is dead
    ]
    if "no_contain_symlinks" in _help(program):  # they are to mean what they do in the pod
        options.append("no_contain_symlinks")
    return [program, "-f", "-o", ",".join(options)]


@functools.cache
def _help(program: str) -> str:
    done = subprocess.run([program, "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout


def read_sysctl(name: str) -> str | None:
    """A kernel setting, such as ``user.max_user_namespaces``; None where this kernel has no such."""
    try:
        return Path("/proc/sys", *name.split(".")).read_text(encoding="ascii").strip()
    except OSError:
        return None


def read_own(name: str) -> str | None:
    """What the kernel tells of this process, such as ``status`` or ``attr/current``; None where it does not."""
    try:
        return Path("/proc/self", name).read_text(encoding="ascii", errors="replace").strip()
    except OSError:  # attr/current is there, but can't be read, where no security module has a label for it
        return None


def is_confined(status: str, label: str) -> bool:
    """Whether a seccomp filter or an AppArmor profile bounds a process: in a container one does, or both.

    ``status``: its /proc/PID/status (proc_pid_status(5)). ``label``: its /proc/PID/attr/current; with AppArmor
    ``unconfined`` or ``PROFILE (MODE)``, where the mode may be ``unconfined`` as well, or ``complain``.
    """
    is_filtered = re.search(r"^Seccomp:\s*[12]$", status, re.MULTILINE)
    return bool(is_filtered or re.search(r"\((enforce|kill|mixed)\)$", label))


def explain(
    step: str,
    number: int,
    detail: str,
    *,
    sysctl: Callable[[str], str | None] = read_sysctl,
    own: Callable[[str], str | None] = read_own,
    interpreter: str = sys.executable,
) -> SandboxError:
    """The error for init's ``step``, which failed with errno ``number`` and ``detail``."""
    confined = number in (errno.EPERM, errno.EACCES) and is_confined(own("status") or "", own("attr/current") or "")
    if step in _LIMITS:
        return _namespaces(step, number, detail, sysctl, interpreter, confined=confined)
    if step == "rules":
        return SandboxError(
            f"The kernel did not take the sandbox's packet rules: {detail}",
            hint="It needs nf_tables with nat, redirect and reject in the inet family (Linux 5.3 or newer): "
            "sudo modprobe -a nf_tables nft_chain_nat nft_redir nft_ct nft_reject_inet",
        )
    if step == "fuse":
        hint = "Have them copied instead: --mount copy."
        return SandboxError(f"The pod's volumes can't be mounted live: {detail}.", hint=hint)
    if step == "volume":
        return _volume(detail, number)
    hint = _container(sysctl) if confined else _OTHERWISE
    return SandboxError(f"The sandbox could not be made: {step}: {detail or os.strerror(number)}.", hint=hint)


def _volume(path: str, number: int) -> SandboxError:
    hint = "Run bridge with --mount off to do without the pod's files, or with --mount-at to have them elsewhere."
    if number == errno.EACCES:
        return SandboxError(
            f"The pod's volume at {path} can't be shown: it needs a new entry in a folder that you may not list, "
            "or, in another volume, that the pod may not write to.",
            hint=f"Have the folder made: sudo mkdir -p {path}. {hint}",
        )
    if number == errno.EBUSY:
        return SandboxError(
            f"The pod's volume at {path} can't be shown: /, /proc and /sys are the kernel's.", hint=hint
        )
    return SandboxError(f"The pod's volume at {path} can't be shown: {os.strerror(number)}.", hint=hint)


def _namespaces(
    step: str, number: int, detail: str, sysctl: Callable[[str], str | None], interpreter: str, *, confined: bool
) -> SandboxError:
    forbidden = "This laptop does not let ordinary users make user namespaces"
    if number == errno.ENOSPC:
        name = next((each for each in _LIMITS[step] if sysctl(each) == "0"), _LIMITS[step][0])
        return SandboxError(f"{forbidden} ({name} = {sysctl(name)}).", hint=_allow(name, "15000"))
    if confined:  # first: the settings are those of a container's host, and can't be set in it
        return SandboxError(
            f"{forbidden}: a seccomp filter or an AppArmor profile confines bridge here, as in a container.",
            hint=_container(sysctl),
        )
    name = "kernel.unprivileged_userns_clone"
    if sysctl(name) == "0":
        return SandboxError(f"{forbidden} ({name} = 0).", hint=_allow(name, "1"))
    if sysctl("kernel.apparmor_restrict_unprivileged_userns") == "1":
        return SandboxError(f"{forbidden} (AppArmor restricts them).", hint=_apparmor(interpreter))
    if number == errno.EINVAL and step == "user namespace":
        return SandboxError("This kernel has no user namespaces (CONFIG_USER_NS).", hint=_OTHERWISE)
    return SandboxError(
        f"{forbidden}: {step}: {detail or os.strerror(number)}.",
        hint="In a container, its seccomp profile or missing privileges are the usual reason. " + _OTHERWISE,
    )


def _allow(name: str, value: str) -> str:
    return (
        f"Allow them: sudo sysctl -w {name}={value} (and for good: "
        f"echo {name}={value} | sudo tee /etc/sysctl.d/60-bridge.conf). {_OTHERWISE}"
    )


def _container(sysctl: Callable[[str], str | None]) -> str:
    """Docker's, for one: its seccomp profile forbids the namespaces, its AppArmor profile the mounts in them."""
    needed = [f"sudo sysctl -w {name}={on}" for name, (off, on) in _SWITCHES.items() if sysctl(name) == off]
    on_host = f", and on its host:\n  {' && '.join(needed)}" if needed else "."
    return (
        "Run bridge outside of the container; or start that with --privileged; or (docker) with "
        f"--security-opt seccomp=unconfined --security-opt apparmor=unconfined{on_host}"
    )


def _apparmor(interpreter: str) -> str:
    """Ubuntu 23.10 and newer: a profile for one program, or the setting for all.

    A line each, since it is shown indented: the end of a here-document would not be found by who pastes it.
    """
    program = os.path.realpath(interpreter)  # AppArmor attaches to the real path
    opening = f"profile bridge {program} flags=(unconfined) {{"
    profile = shlex.join(["abi <abi/4.0>,", "include <tunables/global>", opening, "  userns,", "}"])
    file = "/etc/apparmor.d/bridge"
    return f"""Allow them to the Python that runs bridge:
  printf '%s\\n' {profile} | sudo tee {file} && sudo apparmor_parser -r {file}
or to every program (in a container: on its host): sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0
{_OTHERWISE}"""

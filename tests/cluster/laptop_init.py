"""Makes the laptop's mount namespace, then becomes the process that holds it.

Everything is mounted in there only; nothing of the host's files changes: a home, the clone in it, an own /tmp and
/run, accounts, names, and the devices as udev would have them.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from . import cgroups, network, system
from .node_init import own_sysfs
from .settings import Settings

MODE_OPEN = 0o666
# What udev opens to everybody; where no udev runs these are for root only.
OPEN_DEVICES = ("/dev/fuse", "/dev/net/tun")
HOSTNAME = "laptop"


def main(argument: str) -> None:
    """Leave a recorded child behind that holds the namespaces."""
    settings = Settings.parse(argument)
    done, told = os.pipe()
    if pid := os.fork():
        os.close(told)
        if not os.read(done, 1):  # closed by its end: the reason is in the log
            sys.exit(1)
        system.save(settings.run / "laptop", pid)
        return
    cgroups.list_file(settings.laptop_namespace).write_text(str(os.getpid()))
    system.setns(network.namespace(settings.laptop_namespace), system.NEW_NETWORK)
    system.unshare(system.NEW_MOUNT | system.NEW_UTS)
    system.set_hostname(HOSTNAME)
    mounts(settings)
    os.chdir("/")
    pause = settings.home / "bridge" / (settings.binaries / "pause").relative_to(settings.clone)
    os.write(told, b"!")
    os.execv(pause, ["laptop"])


def mounts(settings: Settings) -> None:
    """All mounts. Unmounting on the host still comes through, so that the laptop holds nothing of it."""
    system.mount("none", "/", flags=system.MS_REC | system.MS_SLAVE)
    home(settings)
    own_run(settings)
    accounts(settings)
    for device in OPEN_DEVICES:
        open_device(settings, Path(device))
    for place in ("/tmp", "/var/tmp", "/dev/shm"):
        system.mount("tmpfs", place, "tmpfs", flags=system.MS_NOSUID, data="mode=1777")


def home(settings: Settings) -> None:
    """A fresh /home with the user's in it, and in that the clone. Made aside first: the clone may be below /home."""
    aside = settings.state / "home"
    aside.mkdir(exist_ok=True)
    system.mount("tmpfs", aside, "tmpfs", data="mode=755")
    place = aside / settings.user
    for folder in (place, place / "bridge", place / ".local", place / ".local" / "bin", place / ".kube"):
        folder.mkdir()
        own(settings, folder)
    launchers(settings, place / ".local" / "bin")
    config = place / ".kube" / "config"
    config.touch(mode=0o600)
    config.write_bytes(settings.laptop_kubeconfig.read_bytes())
    own(settings, config)
    system.mount(settings.clone, place / "bridge", flags=system.MS_BIND)
    Path("/home").mkdir(exist_ok=True)
    system.mount(aside, "/home", flags=system.MS_BIND | system.MS_REC)
    system.unmount(aside, system.DETACH)


def launchers(settings: Settings, folder: Path) -> None:
    """Commands that start what is in the clone, wherever it is: a script in ``.venv/bin`` names the real path."""
    venv, clone = settings.home / "bridge" / ".venv", settings.home / "bridge"
    lines = {
        "bridge": f'exec {venv}/bin/python -m bridge "$@"',
        "python": f'exec {venv}/bin/python "$@"',
        "python3": f'exec {venv}/bin/python "$@"',
        "kubectl": f'exec {clone}/.build/bin/kubectl "$@"',
    }
    for name, line in lines.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
        own(settings, folder / name)


def own_run(settings: Settings) -> None:
    """An own /run with the user's runtime folder, an own /sys, an own /etc/hosts, and a resolver that is not there."""
    resolved = Path("/etc/resolv.conf").resolve()
    system.mount("tmpfs", "/run", "tmpfs", flags=system.MS_NOSUID, data="mode=755")
    own_sysfs()
    runtime = Path("/run/user") / str(settings.user_id)
    runtime.mkdir(parents=True)
    runtime.chmod(0o700)
    own(settings, runtime)
    files = Path("/run/laptop")
    files.mkdir()
    (files / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (files / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {HOSTNAME}\n::1 localhost ip6-localhost\n")
    system.bind_file(files / "resolv.conf", str(resolved))
    system.bind_file(files / "hosts", "/etc/hosts")


def accounts(settings: Settings) -> None:
    """The host's accounts and the user's, seen in here only."""
    entries = {
        "passwd": f"{settings.user}:x:{settings.user_id}:{settings.user_id}:Developer:{settings.home}:/bin/bash",
        "group": f"{settings.user}:x:{settings.user_id}:",
    }
    for name, entry in entries.items():
        others = [line for line in Path("/etc", name).read_text().splitlines() if not same_account(line, settings)]
        file = Path("/run/laptop", name)
        file.write_text("\n".join([*others, entry]) + "\n")
        system.bind_file(file, f"/etc/{name}")


def same_account(line: str, settings: Settings) -> bool:
    """Whether an entry has the user's name or number."""
    fields = line.split(":")
    return fields[0] == settings.user or fields[2:3] == [str(settings.user_id)]


def open_device(settings: Settings, device: Path) -> None:
    """Bind a node of the same device over it that everybody may open."""
    try:
        about = device.stat()
    except FileNotFoundError:
        return
    if about.st_mode & MODE_OPEN == MODE_OPEN:
        return
    copy = Path("/run/laptop") / device.name
    os.mknod(copy, stat.S_IFCHR, about.st_rdev)
    copy.chmod(MODE_OPEN)
    system.mount(copy, device, flags=system.MS_BIND)


def own(settings: Settings, path: Path) -> None:
    """Give a file to the user."""
    os.chown(path, settings.user_id, settings.user_id)


if __name__ == "__main__":
    main(sys.argv[1])

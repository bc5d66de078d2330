"""Become a command on the laptop: ``enter.py HOLDER CGROUP-FILE USER-ID FOLDER COMMAND...``.

A script of its own, for speed. It joins the cgroup and the holder's network, mount and host name namespaces, drops root
(unless USER-ID is 0), and becomes the command: process id, terminal, signals and descriptors stay the caller's. Nothing
of this needs sudo or su, and new privileges are not forbidden to it: the command is what a login shell starts.
"""

import ctypes
import errno
import os
import sys

NAMESPACES = {"uts": 0x04000000, "net": 0x40000000, "mnt": 0x00020000}


def enter(holder: int) -> None:
    """Join the holder's namespaces, the mount namespace last: the others' files are in this one's /proc."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptors = {name: os.open(f"/proc/{holder}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in NAMESPACES}
    for name, kind in NAMESPACES.items():
        if libc.setns(descriptors[name], kind) != 0:
            sys.exit(f"enter {name} namespace: {os.strerror(ctypes.get_errno())}")


def become(user: int) -> None:
    """Drop root: no supplementary groups, and with the last root id go all capabilities (capabilities(7))."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def main() -> None:
    """Do it."""
    holder, cgroup, user, folder, *command = sys.argv[1:]
    with open(cgroup, "w") as procs:  # noqa: PTH123  # pathlib would double the start-up time
        procs.write(str(os.getpid()))
    enter(int(holder))
    if int(user):
        become(int(user))
    try:
        os.chdir(folder)
        execute(command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def execute(command: list[str]) -> None:
    """As ``os.execvp``, but that imports modules now, and the user may not be able to read this Python's."""
    places = [""] if "/" in command[0] else [f"{folder}/" for folder in os.environ["PATH"].split(":")]
    for place in places:
        try:
            os.execv(place + command[0], command)
        except (FileNotFoundError, NotADirectoryError):
            continue
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


if __name__ == "__main__":
    main()

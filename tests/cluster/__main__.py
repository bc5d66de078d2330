"""The local cluster's commands: ``python -m tests.cluster COMMAND``, as root."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import build, checks, components, down, network, node, second_node, store, up
from .laptop import Laptop
from .link import Link
from .lock import exclusive
from .settings import Settings
from .system import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable


def main(argv: list[str] | None = None) -> int:
    """Run one command; 1 and a reason if it can't be done."""
    arguments = parser().parse_args(argv)
    settings = Settings()
    try:
        if arguments.command not in {"kubeconfig", "status"}:
            checks.root()
        return int(COMMANDS[arguments.command](settings, arguments) or 0)
    except HarnessError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m tests.cluster", description="A real local Kubernetes, and the laptop."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("build", help="build what is missing: packages, programs, images")
    commands.add_parser("up", help="build and start what is missing; prints the kubeconfigs")
    command = commands.add_parser("down", help="stop it; nothing is left")
    command.add_argument("--keep-state", action="store_true", help="keep certificates, etcd and images: a warm start")
    commands.add_parser("status", help="what runs")
    commands.add_parser("kubeconfig", help="print the path of the root namespace's kubeconfig")
    for name, where in (("laptop", "on the laptop, as its ordinary user"), ("node", "in the node, for looking")):
        command = commands.add_parser(name, help=f"run a command {where}")
        if name == "laptop":
            command.add_argument("--root", action="store_true", help="as root")
        else:
            add_second(command)
        command.add_argument("argv", nargs=argparse.REMAINDER, metavar="CMD")
    command = commands.add_parser("load", help="put image archives (docker or OCI) into the node")
    command.add_argument("archives", nargs="+", type=Path, metavar="IMAGE.tar")
    add_link(commands.add_parser("link", help="what is wrong with the laptop's link"))
    command = commands.add_parser("node2", help="a second node, on demand")
    command.add_argument("action", choices=sorted(NODE2), help="vanish: as if its power went; up brings it back")
    about = {"hold": "kill it and keep it down", "release": "let it start again", "restart": "kill it, await another"}
    for name, what in about.items():
        command = commands.add_parser(name, help=f"a component of the node: {what}")
        command.add_argument("component", metavar="COMPONENT", help="etcd, kube-apiserver, kubelet, containerd, ...")
        add_second(command)
    return top


def add_second(command: argparse.ArgumentParser) -> None:
    """The option that chooses the second node."""
    command.add_argument("--second", dest="index", action="store_const", const=2, default=1, help="the second node's")


def add_link(command: argparse.ArgumentParser) -> None:
    """The options of ``link``; without any it says how the link is."""
    command.add_argument("--delay", type=float, default=0, metavar="MS", help="each way: a round trip takes twice that")
    command.add_argument("--loss", type=float, default=0, metavar="PCT", help="percent of the frames, each way")
    state = command.add_mutually_exclusive_group()
    state.add_argument("--cut", action="store_true", help="no network at all, and the laptop knows")
    state.add_argument("--black-hole", action="store_true", help="nothing arrives any more, and nobody is told")
    state.add_argument("--restore", action="store_true", help="as it was")


def run_build(settings: Settings, _: argparse.Namespace) -> None:
    """``build``."""
    say = up.Steps()
    with exclusive(settings, say):
        store.refresh(settings, build.everything(settings, say), say)


def run_up(settings: Settings, _: argparse.Namespace) -> None:
    """``up``."""
    say = up.Steps()
    up.up(settings, say)
    say("the cluster is up")
    if (link := Link(settings).describe()) != "plain":
        say(f"the laptop's link is not plain ({link}): link --restore ends that")
    print(f"KUBECONFIG={settings.kubeconfig}    # here, for root")
    print("python -m tests.cluster laptop CMD...    # on the laptop, as its user")


def run_down(settings: Settings, arguments: argparse.Namespace) -> None:
    """``down``."""
    say = up.Steps()
    with exclusive(settings, say):
        down.down(settings, keep_state=arguments.keep_state)
    if left := down.left_over(settings):
        raise HarnessError(f"left over: {', '.join(left)}")
    say("the cluster is down")


def run_status(settings: Settings, _: argparse.Namespace) -> int:
    """``status``: 0 if the cluster is up."""
    process, holder = node.running(settings), Laptop(settings).holder()
    is_ready = process is not None and up.ready(settings)
    print(f"node        {f'running, process {process.pid}' if process else 'not running'}")
    if other := second_node.running(settings):
        print(f"node2       running, process {other.pid}")
    print(f"API server  {f'ready at https://127.0.0.1:{settings.root_port}' if is_ready else 'not ready'}")
    print(f"laptop      {f'there, held by process {holder.pid}' if holder else 'not there'}")
    if network.exists(settings):
        print(f"link        {Link(settings).describe()}")
    return 0 if is_ready and holder else 1


def run_kubeconfig(settings: Settings, _: argparse.Namespace) -> None:
    """``kubeconfig``."""
    print(settings.kubeconfig)


def run_laptop(settings: Settings, arguments: argparse.Namespace) -> None:
    """``laptop``: becomes the command."""
    laptop = Laptop(settings)
    argv = laptop.command(arguments.argv or ["/bin/bash"], as_root=arguments.root)
    os.execvpe(argv[0], argv, laptop.environment(as_root=arguments.root))


def run_node(settings: Settings, arguments: argparse.Namespace) -> None:
    """``node``: becomes the command."""
    argv = node.command(settings.of(arguments.index), arguments.argv or ["/bin/bash"])
    os.execvp(argv[0], argv)


def run_load(settings: Settings, arguments: argparse.Namespace) -> None:
    """``load``."""
    say = up.Steps()
    with exclusive(settings, say):
        up.load(settings, up.running_node(settings), [path.resolve() for path in arguments.archives], say)


def run_link(settings: Settings, arguments: argparse.Namespace) -> None:
    """``link``."""
    link = Link(settings)
    if arguments.restore:
        link.restore()
    if arguments.delay or arguments.loss:
        link.slow(delay=arguments.delay, loss=arguments.loss)
    if arguments.cut:
        link.cut()
    if arguments.black_hole:
        link.black_hole()
    print(link.describe())


def run_node2(settings: Settings, arguments: argparse.Namespace) -> None:
    """``node2``."""
    say = up.Steps()
    NODE2[arguments.action](settings)
    say(f"node2: {arguments.action}")


def run_hold(settings: Settings, arguments: argparse.Namespace) -> None:
    """``hold``."""
    components.hold(settings.of(arguments.index), arguments.component)


def run_release(settings: Settings, arguments: argparse.Namespace) -> None:
    """``release``."""
    components.release(settings.of(arguments.index), arguments.component)


def run_restart(settings: Settings, arguments: argparse.Namespace) -> None:
    """``restart``."""
    components.restart(settings.of(arguments.index), arguments.component)


NODE2: dict[str, Callable[[Settings], None]] = {
    "up": second_node.start,
    "down": second_node.stop,
    "vanish": second_node.vanish,
}
COMMANDS = {
    "build": run_build,
    "up": run_up,
    "down": run_down,
    "status": run_status,
    "kubeconfig": run_kubeconfig,
    "laptop": run_laptop,
    "node": run_node,
    "load": run_load,
    "link": run_link,
    "node2": run_node2,
    "hold": run_hold,
    "release": run_release,
    "restart": run_restart,
}

if __name__ == "__main__":
    sys.exit(main())

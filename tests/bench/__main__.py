"""``make bench``: measure bridge beside its peers on the local cluster, and say how they compare.

    python -m tests.bench [--only PART...] [--ways WAY...] [--links 0 20 80 loss] [--connections N...]
                          [--rounds N] [--seconds S] [--idle S] [--soak MINUTES] [--kept FILE] [--figure WORD]
    python -m tests.bench --page      the page of the docs, its plots and the committed ratios, from what is kept

What was measured is kept (``--kept FILE``), each figure until it is measured anew, so that a run may be made in parts.
"""

from __future__ import annotations

import argparse
import datetime
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.tunnel.sockets import allow_many_descriptors
from tests.cluster import access
from tests.cluster.settings import CLONE
from tests.cluster.system import HarnessError

from . import page, parts
from .agents import TaskError
from .figures import Book
from .parts import LINKS, Options, check_found
from .stage import staged
from .start import start
from .targets import report, rows
from .ways import OWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from .stage import Stage

PARTS: dict[str, Callable[[Stage, Options, Book], None]] = {
    "start": start,
    "outbound": parts.outbound,
    "inbound": parts.inbound,
    "dns": parts.dns,
    "cost": parts.cost,
    "idle": parts.idle,
    "soak": parts.soak,
}
KEPT = CLONE / ".build" / "bench" / "figures.json"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure bridge beside its peers.")
    top.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    top.add_argument("--ways", nargs="+", default=list(OWN), metavar="WAY", help=", ".join([*OWN, "module:function"]))
    top.add_argument("--links", nargs="+", choices=LINKS, default=list(LINKS), metavar="LINK", help=", ".join(LINKS))
    top.add_argument("--connections", nargs="+", type=int, default=[1, 50, 400, 2000], metavar="N")
    top.add_argument("--figure", nargs="+", default=[], metavar="WORD", help="outbound, inbound, dns: those named so")
    top.add_argument("--rounds", type=int, default=5, metavar="N")
    top.add_argument("--seconds", type=float, default=2, metavar="S", help="of one task")
    top.add_argument("--idle", type=float, default=60, metavar="S", help="how long nothing is done")
    top.add_argument("--soak", type=float, default=10, metavar="MINUTES", help="how long connections are held")
    top.add_argument("--kept", type=Path, default=KEPT, metavar="FILE", help="where figures are kept")
    top.add_argument("--page", action="store_true", help="measure nothing: write the page from what is kept")
    return top


def main(arguments: list[str]) -> None:
    """Measure, keep, compare; or write the page."""
    asked = parser().parse_args(arguments)
    if asked.page:
        print(*page.write(Book.load(asked.kept)), sep="\n")
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whatever ends it: what it has opened is closed
    allow_many_descriptors()  # inherited: OpenSSH does not do it itself
    book = measure(asked)
    kept = book.after(Book.load(asked.kept))
    print("", report(rows(book, page.committed()), colours=sys.stdout.isatty()), sep="\n")
    if book.failures:
        print("\nnot measured:", *book.failures, sep="\n  ")
    print(f"\n{len(kept.figures)} figures in {asked.kept}; make bench-page writes the page from them")


def measure(asked: argparse.Namespace) -> Book:
    """Run the parts; what each has found is kept at once."""
    options = Options(
        ways=tuple(asked.ways),
        links=tuple(asked.links),
        connections=tuple(asked.connections),
        rounds=asked.rounds,
        seconds=asked.seconds,
        idle=asked.idle,
        soak=asked.soak,
        figure=" ".join(asked.figure),
    )
    book = Book(date=f"{datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}", version=version())
    with access.cluster(None, lambda text: print(text, file=sys.stderr)) as cluster, staged(cluster) as stage:
        for name in asked.only:
            print(f"== {name}", flush=True)
            PARTS[name](stage, options, book)
            book.after(Book.load(asked.kept)).save(asked.kept)
    check_found(book, options)
    return book


def version() -> str:
    """Which bridge it is."""
    command = ["git", "-C", str(CLONE), "describe", "--always", "--dirty"]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()


try:
    main(sys.argv[1:])
except (TaskError, HarnessError) as error:
    sys.exit(f"bench: {error}")

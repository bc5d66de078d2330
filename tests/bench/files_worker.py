"""Reads and writes files in a folder, as it is told on stdin; says what was in them on stdout.

    files_worker.py FOLDER COUNT MIB

``read``: FOLDER/in-1, in-2, ...    ``write``: FOLDER/out-1, ... of MIB each, anew.    One line of JSON for each task.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

MIB = 1024 * 1024


def read(path: Path) -> str:
    """Read a file; return its digest."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(MIB):
            digest.update(piece)
    return digest.hexdigest()


def write(path: Path, mib: int) -> str:
    """Write a file of random bytes; return its digest."""
    digest, piece = hashlib.sha256(), os.urandom(MIB)
    with path.open("wb", buffering=0) as file:
        for _ in range(mib):
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def main() -> None:
    """Do what is asked until there is no more."""
    folder, count, mib = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    print("{}", flush=True)
    for line in sys.stdin:
        if line.strip() == "read":
            paths = [folder / f"in-{number}" for number in range(1, count + 1)]
            done = {path.name: read(path) for path in paths}
        else:
            paths = [folder / f"out-{number}" for number in range(1, count + 1)]
            done = {path.name: write(path, mib) for path in paths}
        print(json.dumps(done), flush=True)


main()

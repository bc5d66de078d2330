"""``make bench``: how long a start takes on the local cluster, then the data path against OpenSSH, as ratios.

Run as processes of their own: each measures itself, too.
"""

from __future__ import annotations

import subprocess
import sys


def main() -> None:
    """Run each measurement in turn."""
    for module in ("tests.bench.start", "tests.bench.tunnel"):
        print(f"== {module}", flush=True)
        subprocess.run([sys.executable, "-m", module], check=True)


main()

"""Ports for tests that run beside each other."""

from __future__ import annotations

import subprocess
import sys

from tests.component.proxy import CLONE, free_ports

AMONG = range(29980, 29992)
OTHER = "from tests.component.proxy import free_ports; print(*free_ports(4, range(29980, 29992)))"


def test_no_port_is_given_twice_neither_here_nor_to_another_process() -> None:
    ours = [port for _ in range(4) for port in free_ports(2, AMONG)]
    done = subprocess.run([sys.executable, "-c", OTHER], cwd=CLONE, stdout=subprocess.PIPE, text=True, check=True)
    theirs = [int(word) for word in done.stdout.split()]
    assert len({*ours, *theirs}) == 12

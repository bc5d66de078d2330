"""bridge's own terminal, and whether bridge is in its foreground."""

import os

TERMINAL = "/dev/tty"


def in_foreground() -> bool:
    """Whether bridge is in the foreground of a terminal, which then sends Ctrl-C to the process as well."""
    try:
        descriptor = open_terminal()
    except OSError:
        return False
    try:
        return is_ours(descriptor)
    finally:
        os.close(descriptor)


def open_terminal() -> int:
    """Open it. Raises OSError where there is none."""
    return os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def is_ours(descriptor: int) -> bool:
    """Whether bridge is in the foreground of the terminal that is open there."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False

"""Time that goes on while the laptop sleeps."""

import time


def since_boot() -> float:
    """Return seconds on a clock that counts a suspended laptop's time, too; the monotonic one stands still."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)

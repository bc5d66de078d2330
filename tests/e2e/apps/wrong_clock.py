"""bridge on a laptop whose clock is wrong: python wrong_clock.py SECONDS ARGUMENTS OF BRIDGE...

A wall clock can't be set for one process (time namespaces have none), and libfaketime breaks timed waits. So the ways
by which Python code reads the wall clock are shifted; all that measures spans (time.monotonic) stays.
"""

import datetime
import sys
import time

SHIFT = float(sys.argv.pop(1))
real_time, real_datetime = time.time, datetime.datetime


class Shifted(real_datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return real_datetime.now(tz) + datetime.timedelta(seconds=SHIFT)


time.time = lambda: real_time() + SHIFT
datetime.datetime = Shifted  # type: ignore[misc]  # before anybody imports it by name

from bridge.cli import main  # noqa: E402

main()

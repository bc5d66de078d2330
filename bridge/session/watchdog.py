"""The watchdog's own program: ``python -m bridge.session.watchdog PID STARTED``, its input a pipe from that bridge.

    the pipe ends                       bridge has ended, however; what --mount-at has left is removed
    no record of it is on the disk      it has put everything back itself: nothing to do
    there is one                        put back what it says, tried again until it is done

It imports next to nothing until then. It ignores the signals that end a terminal's or a login's processes: the moment
at which everything is ended is the moment it is for. What it does is in ``watchdog.log`` beside the undo records.
"""

import os
import signal
import sys

GIVE_UP_AFTER = 24 * 3600.0
"""Seconds. Somebody has seen it by then; `bridge restore` is still there."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0


def main(pid: int, started: str) -> None:
    """Wait for bridge's end; restore what it left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 1024):
        pass
    from bridge.session.outside import clear_up
    from bridge.session.store import this_laptops_store

    clear_up()
    left = [each for each in this_laptops_store().sessions() if (each.pid, each.started) == (pid, started)]
    if left:
        from bridge.session.aftermath import restore_left

        restore_left(left, give_up_after=GIVE_UP_AFTER, pauses=(FIRST_PAUSE, LONGEST_PAUSE))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

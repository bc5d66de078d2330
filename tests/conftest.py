"""What holds for all tests."""

from __future__ import annotations

import signal

# A shell starts what it puts in the background with these ignored; so would be all that the tests start, bridge too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

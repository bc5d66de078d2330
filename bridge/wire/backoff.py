"""How long to wait before each new try: longer and longer, and never two laptops in step.

When an API server comes back, everybody that it cut off comes back, too. So each wait is drawn from the upper half of
its range (``jitter``): late enough to let it start, and spread out. There is no last try: who gives up is decided by
who takes the waits.
"""

from collections.abc import Callable, Iterator


def delays(
    *, first: float = 0.2, longest: float = 5.0, factor: float = 2.0, jitter: Callable[[], float]
) -> Iterator[float]:
    """Yield waits in seconds without end: 50 to 100 % of ``first``, of ``factor`` times that... at most ``longest``.

    ``jitter`` gives 0..1 (the caller's ``random.random``).
    """
    most = min(first, longest)
    while True:
        yield most * (1 + jitter()) / 2
        most = min(most * factor, longest)

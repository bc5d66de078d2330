"""Probes that wait, and who can answer them. No I/O: whoever asks and whoever answers are callables.

A probe waits for the laptop's answer even if there is no laptop yet: the one that connects next is asked. So the pod
turns Ready in the moment the process accepts, not with the kubelet's next period.
"""

from collections.abc import Callable

Ask = Callable[[int], None]
Answer = Callable[[bool], None]


class Readiness:
    """The probes that wait. ``asker`` is the control connection's way to ask the laptop, if there is one."""

    def __init__(self) -> None:
        self._waiting: dict[int, Answer] = {}
        self._asker: Ask | None = None
        self._next = 1

    def probe(self, answer: Answer) -> int:
        """Ask whether the process is ready; ``answer`` is called once, if ever. Return the probe's number."""
        number = self._next
        self._next += 1
        self._waiting[number] = answer
        if self._asker is not None:
            self._asker(number)
        return number

    def withdraw(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        self._waiting.pop(number, None)

    def answered(self, number: int, *, ready: bool) -> None:
        """Take the laptop's answer; one that comes too late is nobody's."""
        answer = self._waiting.pop(number, None)
        if answer is not None:
            answer(ready)

    def connected(self, asker: Ask) -> None:
        """A laptop is there: ask it what waits, and what comes."""
        self._asker = asker
        for number in list(self._waiting):
            asker(number)

    def disconnected(self, asker: Ask) -> None:
        """The laptop is gone, unless another has taken its place."""
        if self._asker == asker:
            self._asker = None

"""The traffic that goes on while faults happen, and what became of every single request of it.

    with traffic(kubectl, url="http://web/") as meter:
        ...                                             # faults
        meter.look()                                    # what is known by now
    assert meter.failed() == []
    assert meter.gap() < 2

`apps/meter.py` runs in a pod, detached from the command that starts it: ``kubectl exec`` ends when the API server does.
It writes to a file there, which is fetched at the end. Times are this process's ``time.monotonic()``.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.cluster.system import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cluster.access import Kubectl

PROGRAM = Path(__file__).parents[1] / "apps" / "meter.py"
FORGOTTEN = 1800  # seconds after which a meter that nobody stopped ends
ROUNDS = 10  # of asking the pod's clock


@dataclass(frozen=True)
class Request:
    """One request: on a ``new`` connection or on the ``kept`` one (``connection`` counts how often that was opened)."""

    began: float
    took: float
    ok: bool
    kind: str
    who: str = ""
    error: str = ""
    connection: int = 1

    @property
    def ended(self) -> float:
        """When the answer was there, or the failure."""
        return self.began + self.took


@dataclass
class Meter:
    """What became of the requests: of all of them after the end, before that of those known at the last `look`."""

    fetch: Callable[[], str]
    offset: float  # from the pod's clock to this one's
    began: float = 0
    requests: list[Request] = field(default_factory=list)
    late: float | None = None  # seconds that the meter itself was behind its schedule, at most; None: it still runs

    def look(self) -> Self:
        """Read what the pod has written until now; its last line may be half written."""
        for line in map(json.loads, self.fetch().split("\n")[:-1]):
            match line:
                case {"began": began}:
                    self.began, self.requests = began + self.offset, []
                case {"late": late}:
                    self.late = late
                case {"t": t, **rest}:
                    self.requests.append(Request(began=self.began + t, **rest))
        return self

    def of(self, kind: str | None = None) -> list[Request]:
        """The requests on ``new`` connections, on the ``kept`` one, or all, in the order of their ends."""
        return sorted((one for one in self.requests if kind in {None, one.kind}), key=lambda one: one.ended)

    def failed(self, kind: str | None = None) -> list[Request]:
        """Those that got no good answer."""
        return [one for one in self.of(kind) if not one.ok]

    def succeeded(self, kind: str | None = None) -> list[Request]:
        """Those that got a good answer, however late."""
        return [one for one in self.of(kind) if one.ok]

    def answered_by(self, who: str, kind: str | None = None) -> list[Request]:
        """Those whose answer's first line has ``who`` in it."""
        return [one for one in self.succeeded(kind) if who in one.who]

    def first_success_after(self, moment: float, kind: str | None = None) -> Request:
        """The first that was sent after a moment and got a good answer."""
        after = [one for one in self.succeeded(kind) if one.began >= moment]
        assert after, f"no success after that; {self}"
        return after[0]

    def gap(self, kind: str | None = "new") -> float:
        """The longest time in which no good answer came, from the meter's start to its last request."""
        asked_until = max((one.began for one in self.requests), default=self.began)
        moments = [self.began, *(one.ended for one in self.succeeded(kind))]
        return max(later - sooner for sooner, later in pairwise([*moments, max(asked_until, moments[-1])]))

    def wait_for(self, who: str, *, timeout: float = 30) -> Request:
        """Look until a request was answered by ``who``."""
        _until(lambda: bool(self.look().answered_by(who)), f"no answer by {who}", timeout)
        return self.answered_by(who)[0]

    def __str__(self) -> str:
        failures = self.failed()
        shown = "".join(f"\n  {one.began - self.began:7.2f} s  {one}" for one in failures[:20])
        return f"{len(self.requests)} requests, {len(failures)} failed, longest gap {self.gap():.2f} s{shown}"


@contextmanager
def traffic(kubectl: Kubectl, *, pod: str = "client", url: str = "http://web/", **options: float) -> Iterator[Meter]:
    """For the time of the block a pod asks ``url``: see `apps/meter.py` for the options (``new=50, timeout=15``)."""
    running = InPod(kubectl, pod)
    meter = running.start(url, options)
    try:
        yield meter
    finally:
        running.stop(meter)


class InPod:
    """The program in the pod: its files begin with a name of its own, so that several can run."""

    def __init__(self, kubectl: Kubectl, pod: str) -> None:
        self.kubectl = kubectl
        self.pod = pod
        self.base = f"/tmp/meter-{secrets.token_hex(4)}"
        self.process = ""

    def start(self, url: str, options: dict[str, float]) -> Meter:
        """Start it; return when it has begun."""
        words = [f"--{name}={value}" for name, value in {"seconds": FORGOTTEN, **options}.items()]
        program = f"python3 {self.base}.py"
        _until(self.copied, "the program does not arrive in the pod", 30)
        meter = Meter(lambda: self.run(f"cat {self.base}.out"), self.clock(f"{program} --clock"))
        command = f"{program} {' '.join(words)} {url} > {self.base}.out 2> {self.base}.err < /dev/null & echo $!"
        self.process = self.run(command).strip()
        try:
            _until(lambda: meter.look().began > 0, "the meter did not begin", 10)
        except AssertionError as error:
            error.add_note(self.run(f"cat {self.base}.err"))
            raise
        return meter

    def stop(self, meter: Meter) -> None:
        """Let it end, which it does when its last request has; read all of it."""
        _until(lambda: self.tried(f"kill {self.process}"), "the pod can't be reached", 60)
        _until(lambda: self.tried(f"tail -n 1 {self.base}.out | grep -q late"), "the meter does not end", 60)
        _until(lambda: meter.look().late is not None, "its file can't be read", 60)

    def copied(self) -> bool:
        """Copy the program; whether it arrived. Once in fifteen times containerd 1.6 loses the input of a command."""
        text, file = PROGRAM.read_text(), f"{self.base}.py"
        return self.tried(f"cat > {file} && test $(wc -c < {file}) -eq {len(text.encode())}", text=text)

    def run(self, line: str, *, text: str | None = None) -> str:
        """A shell line in the pod."""
        return self.kubectl("exec", "-i", self.pod, "--", "sh", "-c", line, text=text)

    def tried(self, line: str, *, text: str | None = None) -> bool:
        """Whether a shell line succeeded; it can't if the API server is down."""
        try:
            self.run(line, text=text)
        except HarnessError:
            return False
        return True

    def clock(self, line: str) -> float:
        """This clock minus the pod's, from the quickest of some answers (Cristian's algorithm): to a millisecond."""
        asking = self.kubectl.command("exec", "-i", self.pod, "--", *line.split())
        with subprocess.Popen(asking, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
            return min(_asked(process) for _ in range(ROUNDS))[1]


def _asked(process: subprocess.Popen[str]) -> tuple[float, float]:
    """How long an answer took, and the clocks' difference if it came in the middle of that."""
    assert process.stdin
    assert process.stdout
    sent = time.monotonic()
    process.stdin.write("\n")
    theirs = float(process.stdout.readline())
    took = time.monotonic() - sent
    return took, sent + took / 2 - theirs


def _until(so: Callable[[], bool], otherwise: str, timeout: float) -> None:
    """Look until it is so; the API server may be away meanwhile."""
    deadline = time.monotonic() + timeout
    while not so():
        assert time.monotonic() < deadline, otherwise
        threading.Event().wait(0.1)

"""Fixtures of the fault suite: the stage on which faults happen, and the book that their outcome goes into."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bridge import __version__
from tests.e2e.faults.guarantees import FULL, PAGE, Guarantees, Row, this_machine
from tests.e2e.faults.traffic import Meter, Request, traffic
from tests.e2e.places import FIRST_NODE
from tests.e2e.running import SERVER, Bridge, assert_restored, bridge, spec_of
from tests.e2e.workloads import client, deployment, manifest, service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.access import AnyLaptop, Kubectl

FIGURES = Path(".build") / "guarantees.json"
STEADY = 1.0
"""Seconds of good answers that count as healthy."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Faults are the local cluster's; and no test here may take as long as a hang."""
    for item in items:
        if "tests/e2e/faults" in item.path.as_posix():
            item.add_marker(pytest.mark.local_cluster)
            item.add_marker(pytest.mark.timeout(3600 if FULL else 600))


@pytest.fixture(scope="session")
def guarantees() -> Iterator[Guarantees]:
    """The book; after a full run it becomes the page of the docs."""
    book = Guarantees.kept(FIGURES) if FULL else Guarantees()
    yield book
    if FULL and book.rows:
        book.save(FIGURES)
        PAGE.write_text(book.render(machine=this_machine(), version=__version__, date=f"{datetime.now(UTC):%Y-%m-%d}"))


@dataclass
class Stage:
    """A namespace with a target that dies at once on SIGTERM, a client, and what bridge does there."""

    laptop: AnyLaptop
    kubectl: Kubectl
    namespace: str
    before: Any

    @contextmanager
    def session(self, *words: str, **options: Any) -> Iterator[Bridge]:
        """A session that has swapped the target."""
        with bridge(self.laptop, self.namespace, *words, "-s", "web", "python", SERVER, "8080", **options) as session:
            yield session.swapped()

    @contextmanager
    def traffic(self, **options: float) -> Iterator[Meter]:
        """Requests to the target, from before the block until after it."""
        with traffic(self.kubectl, **options) as meter:
            yield meter

    def assert_restored(self) -> None:
        """All is as it was."""
        assert_restored(self.kubectl, self.before)


@pytest.fixture
def stage(laptop: AnyLaptop, kubectl: Kubectl, namespace: str) -> Stage:
    """The stage, set."""
    asking = client()
    asking["spec"]["nodeSelector"] = FIRST_NODE
    kubectl.apply(manifest(deployment(), service(), asking))
    kubectl.rollout("deployment/web")
    kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
    return Stage(laptop, kubectl, namespace, spec_of(kubectl))


@dataclass
class Watch:
    """One try of a fault: from its moment to the first good answer of who should answer then."""

    meter: Meter
    row: Row
    since: float = 0.0

    def now(self) -> None:
        """The fault happens."""
        self.since = time.monotonic()

    def healthy_again(self, who: str, *, within: float) -> float:
        """Wait until ``who`` has answered all requests of a second; note how long after the fault that second began."""
        deadline = time.monotonic() + within + 15
        while not (good := self._good(who)) or good[-1].began - good[0].began < STEADY:
            assert time.monotonic() < deadline, f"no steady answers by {who}; {self.meter.look()}"
            time.sleep(0.2)  # noqa: TID251  # the meter's file is looked at now and then
        took = min(one.ended for one in good) - self.since
        self.row.back.append(took)
        assert took <= within, f"healthy again after {took:.1f} s, more than {within:.1f} s; {self.meter}"
        return took

    def _good(self, who: str) -> list[Request]:
        """The answers by ``who`` to what was sent after the fault, from the last failure on, in the order of asking."""
        after = sorted(
            (one for one in self.meter.look().of("new") if one.began >= self.since), key=lambda one: one.began
        )
        failed = [number for number, one in enumerate(after) if not one.ok]
        return [one for one in after[failed[-1] + 1 if failed else 0 :] if who in one.who]

    def count(self) -> None:
        """Note what failed, once the meter has ended."""
        self.row.sent += len(self.meter.of("new"))
        self.row.failed += len(self.meter.failed("new"))

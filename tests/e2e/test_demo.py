"""That the demo tells its story to the end, and gives the cluster back: it checks itself what it tells."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from docs.demo.stage import NAMESPACE, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.access import Kubectl


@pytest.fixture
def _removed(kubectl: Kubectl) -> Iterator[None]:
    yield
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s")


@pytest.fixture
def _sigint_ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.local_cluster
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("_removed", "_sigint_ignored")
def test_the_story_is_told_to_its_end_also_as_a_job_of_a_script() -> None:
    """A script's shell has what it starts with & ignore SIGINT, and so did the bridge that was sent one: it hung."""
    argv = [sys.executable, "-m", "docs.demo.demo"]
    told = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=280, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "That was the story" in told.stdout

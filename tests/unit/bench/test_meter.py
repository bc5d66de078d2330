"""What the kernel says of processes, asked about this one."""

from __future__ import annotations

import os
from pathlib import Path

from tests.bench import meter


def test_a_process_is_measured_while_it_runs() -> None:
    used = meter.of([os.getpid()])
    assert used.memory > 1000
    assert used.threads >= 1
    with Path("/dev/null").open():
        assert meter.of([os.getpid()]).descriptors == used.descriptors + 1
    assert meter.cpu([os.getpid()]) >= used.cpu


def test_a_process_that_has_gone_counts_nothing() -> None:
    assert meter.of([2**22 + 1]) == meter.Used(0.0, 0, 0, 0)


def test_a_peak_is_what_was_most_during_the_block() -> None:
    with meter.peak(lambda: [os.getpid()]) as seen:
        more = bytearray(os.urandom(8 * 2**20))
    assert seen.memory >= len(more) / 1024


def test_no_pod_has_no_processes() -> None:
    assert meter.pids_of_pods([]) == []

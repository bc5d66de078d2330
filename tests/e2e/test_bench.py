"""That the benchmark measures: not what it finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bench.figures import OURS, THEIRS, Book, Key
from tests.bench.parts import Options, outbound
from tests.bench.stage import staged
from tests.bench.work import ROUND_TRIP

if TYPE_CHECKING:
    from tests.cluster.access import Cluster


@pytest.mark.local_cluster
def test_the_same_work_is_done_through_bridge_and_through_ssh(cluster: Cluster) -> None:
    book = Book()
    options = Options(
        ways=(THEIRS, OURS),
        links=("0",),
        connections=(1,),
        rounds=1,
        seconds=0.05,
        idle=0,
        soak=0,
        figure=ROUND_TRIP,
    )
    with staged(cluster) as stage:
        outbound(stage, options, book)
    assert not book.failures
    ratio = book.figures[Key("outbound", "0 ms", ROUND_TRIP)].ratio(OURS, THEIRS)
    assert ratio
    assert ratio.median > 0

"""What is said of a target before it is swapped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.cluster.workloads import notes_on
from tests.unit.plan.worlds import deployment

from .apiserver import ApiServer, reply, status

if TYPE_CHECKING:
    from bridge.cluster import Cluster


@pytest.mark.parametrize("answer", [reply({"items": []}), status(403, "Forbidden"), status(404, "NotFound")])
def test_an_operator_that_owns_the_target_is_named_whatever_is_known_of_autoscalers(
    api: ApiServer, client: Cluster, answer: object
) -> None:
    api.answers = [answer]
    owned = deployment()
    owned["metadata"]["ownerReferences"] = [{"kind": "Kafka", "name": "events", "controller": True}]
    (note,) = notes_on(client, owned)
    assert note.startswith("kafka/events manages deployment/web")

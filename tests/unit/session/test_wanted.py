"""Which port of the laptop answers which of the pod's, and what stays of a change."""

from __future__ import annotations

from bridge.plan.ports import Expose, PortMap
from bridge.session.wanted import Wanted

HTTP, METRICS = PortMap(8080, 8080, "http", "container"), PortMap(9090, 9091, "metrics", "--expose")


def test_each_port_of_the_pods_has_one_of_the_laptops() -> None:
    wanted = Wanted([HTTP, METRICS])
    assert wanted.ports == {8080, 9091}
    assert (wanted.laptop(8080), wanted.laptop(9090)) == (8080, 9091)


def test_another_port_may_answer_from_now_on_also_in_the_next_swap() -> None:
    wanted = Wanted([HTTP, METRICS])
    wanted.expose(Expose(pod=8080, laptop=8000))
    assert wanted.ports == {8000, 9091}
    wanted.renew([HTTP, PortMap(7070, 7070, "", "service/web")])
    assert [str(each) for each in wanted.maps] == ["8080 -> 8000", "7070"]

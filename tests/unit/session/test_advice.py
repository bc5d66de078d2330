"""A process that listens where the cluster does not send to is told of it, and none that just takes its time."""

from __future__ import annotations

from bridge.plan.ports import Expose, PortMap
from bridge.session.advice import PATIENCE, Advice, Mismatch, Noticing
from bridge.session.wanted import Wanted
from tests.unit.session.telling import Told

HTTP, METRICS = PortMap(8080, 8080, "http", "container"), PortMap(9090, 9090, "metrics", "container")


def noticed(*looks: tuple[float, set[int]], wanted: tuple[PortMap, ...] = (HTTP,)) -> list[tuple[int, ...]]:
    """What listened, each time that something was found wrong at one of the ``looks`` (when, the ports)."""
    noticing = Noticing(not_servers=range(32768, 61000))
    found = [noticing.look(ports, wanted, now) for now, ports in looks]
    return [each.listens for each in found if each]


def test_a_process_on_another_port_is_noticed_once() -> None:
    assert noticed((0, set()), (1, {8000}), (1.5, {8000}), (1 + PATIENCE, {8000}), (9, {8000})) == [(8000,)]


def test_one_that_opens_several_ports_has_a_moment_for_each() -> None:
    assert noticed((0, {8000}), (0.9, {8000, 8001}), (1.5, {8000, 8001, 8080}), (9, {8000, 8001})) == []


def test_another_port_is_another_mistake() -> None:
    assert noticed((0, {8000}), (1, {8000}), (5, {8001}), (6, {8001})) == [(8000,), (8001,)]


def test_debuggers_and_ports_of_the_kernel_s_choice_are_no_servers() -> None:
    assert noticed((0, {5678, 40001}), (5, {5678, 40001})) == []


def test_one_of_several_ports_is_enough_and_settles_it() -> None:
    assert noticed((0, {9090, 8000}), (5, {8000}), (9, {8000}), wanted=(HTTP, METRICS)) == []


def test_where_the_cluster_sends_to_nothing_there_is_nothing_to_miss() -> None:
    assert noticed((0, {8000}), (5, {8000}), wanted=()) == []


def test_it_is_told_with_the_remedy() -> None:
    one = Mismatch((8000,), (HTTP,))
    assert one.told("the process") == "the process listens on 8000, the cluster sends to 8080: use --expose 8000:8080"
    assert one.certain
    assert one.expose == Expose(pod=8080, laptop=8000)
    several = Mismatch((8000, 8001, 8002), (HTTP, METRICS))
    assert several.told("it").startswith("it listens on 8000, 8001 and 8002, the cluster sends to 8080 and 9090: use")
    assert not several.certain


def test_what_is_waited_for_and_what_listens_is_told_when_it_takes_long() -> None:
    advice = Advice(Wanted([METRICS, HTTP]), Told(), who="the process", may_ask=lambda: False)
    assert "on 8080 and 9090 yet (it listens on nothing)" in advice.slow()
    advice.listening = {5678}
    assert "yet (it listens on 5678)" in advice.slow()

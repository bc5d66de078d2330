"""Which ways there are, and how another tool is one of them."""

from __future__ import annotations

from tests.bench import ways


def test_a_way_of_another_tool_is_named_by_its_module_and_function() -> None:
    assert ways.opener("bridge") is ways.bridge
    assert ways.opener("tests.bench.ways:direct") is ways.direct

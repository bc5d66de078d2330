"""The rules by which a pod is Ready, as they are written."""

from __future__ import annotations

import pytest

from bridge.errors import UsageError
from bridge.plan.probe import Probe, Rule


@pytest.mark.parametrize(
    ("text", "probe"),
    [
        ("port", Probe()),
        ("process", Probe(Rule.PROCESS)),
        ("http:/", Probe(Rule.HTTP, "/")),
        ("http:/healthz?full=1", Probe(Rule.HTTP, "/healthz?full=1")),
        ("http:/healthz@9000", Probe(Rule.HTTP, "/healthz", 9000)),
    ],
)
def test_what_is_read_is_written_the_same(text: str, probe: Probe) -> None:
    assert Probe.parse(text) == probe
    assert str(probe) == text


@pytest.mark.parametrize(
    "text",
    ["", "tcp", "http", "http:", "http:healthz", "http:/a@0", "http:/a@70000", "http:/a@x", "http:/a b", "port:80"],
)
def test_what_is_no_probe_is_refused_with_those_that_there_are(text: str) -> None:
    with pytest.raises(UsageError, match="is no probe") as caught:
        Probe.parse(text)
    assert "http:PATH" in caught.value.hint

"""What a program that enters gets its environment from, and what it is told when it comes too early."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from bridge.errors import BridgeError
from bridge.plan.environment import SessionIdentity
from bridge.session.door import Door
from bridge.session.enter import Inside

if TYPE_CHECKING:
    from bridge.laptop.sandbox import Sandbox

IDENTITY = SessionIdentity(
    session="abcd2345", namespace="shop", context="kind", target="deployment/tasks", mounts=("/etc/config", "/d\udcff")
)


@pytest.mark.parametrize("image", [None, b"", b"A=of the image\0"])
def test_it_arrives_byte_for_byte(image: bytes | None) -> None:
    inside = Inside(pod=b"BYTES=\xff\xfe\0NAME=\xc3\xa4\nb\0", image=image, identity=IDENTITY)
    assert Inside.parse(inside.render()) == inside


def test_the_cluster_s_variables_are_merged_over_the_caller_s_own() -> None:
    inside = Inside(pod=b"DB=of the pod\0PATH=/pod\0", image=b"LEVEL=of the image\0", identity=IDENTITY)
    found = inside.environment({b"PATH": b"/mine", b"DB": b"mine", b"MINE": b"mine", b"BRIDGE_SESSION": b"another"})
    assert found[b"PATH"] == b"/mine"
    assert (found[b"DB"], found[b"LEVEL"], found[b"MINE"]) == (b"of the pod", b"of the image", b"mine")
    assert found[b"BRIDGE_SESSION"] == b"abcd2345"


def test_a_session_that_just_starts_can_not_be_entered() -> None:
    door = Door(cast("Sandbox", None))  # it does not come to that
    with pytest.raises(BridgeError, match="just starting"):
        asyncio.run(door.way_in(lambda: IDENTITY))

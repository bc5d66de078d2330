import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.plan.names import (
    ID_PATTERN,
    dns_label,
    free_name,
    near_names,
    one_of,
    secret_name,
    session_id,
    workload_name,
)

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@given(st.binary(min_size=5, max_size=5))
def test_a_session_id_is_eight_characters_of_base32(data: bytes) -> None:
    assert ID_PATTERN.fullmatch(session_id(data))


def test_a_session_id_needs_its_bytes() -> None:
    with pytest.raises(ValueError, match="made of 5 bytes"):
        session_id(b"four")


@given(st.text(max_size=300), st.binary(min_size=5, max_size=5))
def test_object_names_are_dns_labels_with_room_for_the_pods_suffix(target: str, data: bytes) -> None:
    session = session_id(data)
    for name in (workload_name(target, session), secret_name(session)):
        assert DNS_LABEL.fullmatch(name)
        assert len(name) + len("-abcde") <= 63
        assert name.endswith(session)


def test_a_name_holds_the_target_and_a_dot_becomes_a_dash() -> None:
    assert workload_name("my.tasks", "abcdefgh") == "bridge-my-tasks-abcdefgh"
    assert dns_label("..A_b..") == "a-b"


@given(st.lists(st.sampled_from(["v", "v-2", "v-3", "w"])))
def test_a_free_name_is_free(taken: list[str]) -> None:
    assert free_name("v", taken) not in taken


def test_near_names_are_slips_and_parts() -> None:
    there = ["tasks", "tasks-canary", "search", "auth"]
    assert near_names("taks", there)[0] == "tasks"
    assert near_names("canary", there) == ("tasks-canary",)
    assert near_names("zzz", there) == ()


def test_choices_are_written_as_one_says_them() -> None:
    assert [one_of([]), one_of(["a"]), one_of(["a", "b"]), one_of(["a", "b", "c"])] == ["", "a", "a or b", "a, b or c"]

import struct
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.laptop.dns import IN_FLIGHT, Lost, Pipeline, choose


def message(number: int, body: bytes = b"x" * 10) -> bytes:
    return number.to_bytes(2, "big") + body


def framed(data: bytes) -> bytes:
    return struct.pack("!H", len(data)) + data


def test_queries_with_the_same_id_are_told_apart():
    pipeline = Pipeline()
    first, sent_first = pipeline.ask(message(5, b"first....."), 0.0)
    second, sent_second = pipeline.ask(message(5, b"second...."), 0.0)
    assert first != second
    assert sent_first == framed(message(first, b"first....."))
    assert pipeline.receive(sent_second + sent_first) == [
        (second, message(5, b"second....")),
        (first, message(5, b"first.....")),
    ]


def test_an_answer_is_given_once_and_only_to_who_waits():
    pipeline = Pipeline()
    number, sent = pipeline.ask(message(5), 0.0)
    forgotten, late = pipeline.ask(message(6), 0.0)
    pipeline.forget(forgotten)
    assert pipeline.receive(sent + sent + late + framed(message(999)) + framed(b"")) == [(number, message(5))]


def test_ids_come_round_past_those_that_are_on_their_way():
    pipeline = Pipeline()
    kept, _ = pipeline.ask(message(1), 0.0)
    for _ in range(70_000):
        number, sent = pipeline.ask(message(2), 0.0)
        assert number != kept
        assert pipeline.receive(sent) == [(number, message(2))]


def test_no_more_are_taken_than_there_may_be():
    pipeline = Pipeline()
    for _ in range(IN_FLIGHT):
        pipeline.ask(message(1), 0.0)
    with pytest.raises(Lost):
        pipeline.ask(message(1), 0.0)


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(min_size=10, max_size=40)), max_size=20), st.data())
def test_answers_in_any_order_and_cut_anywhere_find_their_queries(queries, data):
    pipeline = Pipeline()
    asked = [pipeline.ask(message(number, body), 0.0) for number, body in queries]
    order = data.draw(st.permutations(range(len(asked))))
    stream = b"".join(asked[n][1] for n in order)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    answers = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        answers += pipeline.receive(stream[start:end])
    assert answers == [(asked[n][0], message(*queries[n])) for n in order]


def test_the_oldest_is_outstanding_until_it_is_answered_even_if_nobody_waits():
    pipeline = Pipeline()
    assert pipeline.oldest == inf
    first, sent_first = pipeline.ask(message(1), 10.0)
    _, sent_second = pipeline.ask(message(2), 11.0)
    pipeline.forget(first)
    assert pipeline.oldest == 10.0
    assert pipeline.receive(sent_first) == []
    assert pipeline.oldest == 11.0
    pipeline.receive(sent_second)
    assert pipeline.oldest == inf


@pytest.mark.parametrize(
    ("outstanding", "room", "chosen"),
    [
        ([], True, None),
        ([], False, None),
        ([inf], True, 0),
        ([5.0], True, 0),
        ([4.9], True, None),
        ([4.9, inf], True, 1),
        ([6.0, inf], True, 0),
        ([1.0, 4.0, 3.0], False, 1),
        ([-inf], True, None),
        ([-inf, 2.0], False, 1),
    ],
)
def test_a_query_goes_where_nothing_old_is_before_it(outstanding, room, chosen):
    assert choose(outstanding, since=5.0, room=room) == chosen

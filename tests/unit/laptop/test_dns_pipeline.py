import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.laptop.dns import IN_FLIGHT, Lost, Pipeline


def message(number: int, body: bytes = b"x" * 10) -> bytes:
    return number.to_bytes(2, "big") + body


def framed(data: bytes) -> bytes:
    return struct.pack("!H", len(data)) + data


def test_queries_with_the_same_id_are_told_apart():
    pipeline = Pipeline()
    first, sent_first = pipeline.ask(message(5, b"first....."))
    second, sent_second = pipeline.ask(message(5, b"second...."))
    assert first != second
    assert sent_first == framed(message(first, b"first....."))
    assert pipeline.receive(sent_second + sent_first) == [
        (second, message(5, b"second....")),
        (first, message(5, b"first.....")),
    ]


def test_an_answer_is_given_once_and_only_to_who_waits():
    pipeline = Pipeline()
    number, sent = pipeline.ask(message(5))
    forgotten, late = pipeline.ask(message(6))
    pipeline.forget(forgotten)
    assert pipeline.receive(sent + sent + late + framed(message(999)) + framed(b"")) == [(number, message(5))]


def test_ids_come_round_past_those_that_are_on_their_way():
    pipeline = Pipeline()
    kept, _ = pipeline.ask(message(1))
    for _ in range(70_000):
        number, _ = pipeline.ask(message(2))
        assert number != kept
        pipeline.forget(number)


def test_no_more_are_taken_than_there_may_be():
    pipeline = Pipeline()
    for _ in range(IN_FLIGHT):
        pipeline.ask(message(1))
    with pytest.raises(Lost):
        pipeline.ask(message(1))


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(min_size=10, max_size=40)), max_size=20), st.data())
def test_answers_in_any_order_and_cut_anywhere_find_their_queries(queries, data):
    pipeline = Pipeline()
    asked = [pipeline.ask(message(number, body)) for number, body in queries]
    order = data.draw(st.permutations(range(len(asked))))
    stream = b"".join(asked[n][1] for n in order)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    answers = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        answers += pipeline.receive(stream[start:end])
    assert answers == [(asked[n][0], message(*queries[n])) for n in order]

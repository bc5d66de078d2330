"""What of the benchmark is measured, as it was asked for."""

from __future__ import annotations

import pytest

from tests.bench.agents import TaskError
from tests.bench.figures import Book, Key
from tests.bench.parts import Options, check_found


def asked_for(figure: str) -> Options:
    return Options(("bridge",), ("0",), (1,), rounds=1, seconds=1, idle=1, soak=1, figure=figure)


def test_a_figure_that_nothing_is_named_after_is_an_error_and_not_an_empty_result() -> None:
    with pytest.raises(TaskError, match='"byte copies"'):
        check_found(Book(), asked_for("byte copies"))


def test_what_was_found_is_no_error() -> None:
    book = Book()
    book.add(Key("outbound", "0 ms", "connection + first byte, p50"), "ms", "bridge", 1.0)
    check_found(book, asked_for("byte"))
    check_found(Book(), asked_for(""))

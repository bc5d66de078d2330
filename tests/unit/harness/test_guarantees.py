"""The page of guarantees: what the fault suite's figures become."""

from pathlib import Path

from tests.e2e.faults.guarantees import NO_BOUND, Guarantees


def test_the_tries_of_a_fault_are_one_row_with_their_median_and_worst() -> None:
    book = Guarantees()
    for seconds in (3.0, 1.0, 2.0):
        book.row("kill -9", who="keeper", bound="13 s").back.append(seconds)
    row = book.row("kill -9", who="keeper", bound="13 s")
    row.failed, row.sent = 4, 100
    assert row.cells() == ["kill -9", "keeper", "3", "2.0 s", "3.0 s", "13 s", "4 of 100"]


def test_what_holds_or_not_has_no_times() -> None:
    row = Guarantees().row("a race", who="Lease", bound=NO_BOUND)
    row.back += [0.0] * 50
    assert row.cells() == ["a race", "Lease", "50", "-", "-", "-", "-"]


def test_the_page_has_every_row_and_says_where_it_was_measured() -> None:
    book = Guarantees()
    book.row("one", who="bridge", bound="5 s").back.append(1.0)
    book.row("two", who="keeper", bound="9 s")
    page = book.render(machine="2 cores", version="0.1.0", date="2026-01-01")
    assert "| one | bridge | 1 |" in page
    assert "| two | keeper | 0 | - | - |" in page
    assert "2 cores" in page


def test_a_run_in_parts_keeps_what_the_others_have_measured(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    first = Guarantees()
    first.row("one", who="bridge", bound="5 s").back.append(1.0)
    first.row("two", who="bridge", bound="5 s").back.append(1.0)
    first.save(file)
    second = Guarantees.kept(file)
    second.row("two", who="bridge", bound="5 s").back.append(4.0)
    second.save(file)
    assert [row.back for row in Guarantees.kept(file).all()] == [[1.0], [4.0]]

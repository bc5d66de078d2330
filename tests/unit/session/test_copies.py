"""Copies of what the kubelet publishes: laid out as there, changed from one moment to the next."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from bridge.session.copies import Copy
from bridge.tunnel.published import Published

if TYPE_CHECKING:
    from pathlib import Path

FIRST = Published(
    "..2026_11_24_1",
    links={"app.yaml": "..data/app.yaml", "keys": "..data/keys"},
    folders=["keys"],
    files={"app.yaml": (0o100644, b"color: blue\n"), "keys/id": (0o100400, b"secret"), "keys/\udcff": (0o100777, b"")},
)
SECOND = Published(
    "..2026_11_24_2",
    links={"app.yaml": "..data/app.yaml", "new": "..data/new"},
    files={"app.yaml": (0o100644, b"color: red\n"), "new": (0o100644, b"1")},
)


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy("/etc/config", tmp_path / "0")


def test_names_bytes_and_links_are_the_pods_and_modes_the_owners(copy: Copy) -> None:
    copy.publish(FIRST)
    assert str((copy.local / "..data").readlink()) == FIRST.data
    assert str((copy.local / "app.yaml").readlink()) == "..data/app.yaml"
    assert (copy.local / "app.yaml").read_bytes() == b"color: blue\n"
    modes = {
        path: stat.S_IMODE((copy.local / path).stat().st_mode)
        for path in ("app.yaml", "keys/id", "keys/\udcff", "keys", "")
    }
    assert modes == {"app.yaml": 0o600, "keys/id": 0o400, "keys/\udcff": 0o700, "keys": 0o700, "": 0o700}
    assert copy.follows


def test_a_change_leaves_nothing_of_before_and_who_reads_the_old_file_goes_on(copy: Copy) -> None:
    copy.publish(FIRST)
    with (copy.local / "app.yaml").open("rb") as old:
        copy.publish(SECOND)
        assert old.read() == b"color: blue\n"
    assert sorted(each.name for each in copy.local.iterdir()) == ["..2026_11_24_2", "..data", "app.yaml", "new"]
    assert (copy.local / "app.yaml").read_bytes() == b"color: red\n"


def test_it_is_the_same_again_and_again_also_after_an_attempt_that_failed(copy: Copy) -> None:
    copy.publish(FIRST)
    half = copy.local / SECOND.data
    half.mkdir()
    (half / "app.yaml").write_bytes(b"half")
    for _ in range(2):
        copy.publish(SECOND)
        assert (copy.local / "app.yaml").read_bytes() == b"color: red\n"

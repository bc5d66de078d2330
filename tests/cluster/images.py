"""Container images without a registry: an `ImageRecipe` says what is in one, `build` makes a docker archive of it.

An image has up to four layers: the skeleton that all share, the files of Debian packages, those of PyPI wheels, local
files. A layer is made again only when its own inputs change, so an edit of a local file costs the time to write one
archive. The same inputs give the same digests.

    from tests.cluster.images import ImageRecipe, build
    recipe = ImageRecipe("bridge.local/hello:1", debian_packages=("python3.11-minimal",), files={"/app": Path("app")})
    tar = build(recipe)             # then: python -m tests.cluster load TAR
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from . import debian, rootfs, wheels
from .rootfs import Entry, Tree, normal
from .settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FORMAT = 1  # raise it when the same recipe gives other bytes


@dataclass(frozen=True)
class ImageRecipe:
    """What is in an image.

    ``debian_packages`` come with what they depend on (but for `debian.INSTALL_TIME_ONLY` and ``leave_out``);
    ``only_these_packages`` takes the list as it is. ``wheels`` are pip requirements (pin them: ``name==1.2``).
    ``files`` maps a destination to a local file or folder (`Path`) or to a text (executable if it begins with
    ``#!``). ``links`` maps a path to what it points to; ``folders`` maps a path to its mode. Of packages and
    wheels, ``strip`` removes the paths (and all below them) that match a pattern such as ``/usr/lib/*/perl*``;
    ``keep``, if given, keeps only what matches one.
    """

    name: str
    debian_packages: tuple[str, ...] = ()
    only_these_packages: bool = False
    leave_out: tuple[str, ...] = ()
    wheels: tuple[str, ...] = ()
    files: Mapping[str, Path | str | bytes] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, int] = field(default_factory=dict)
    strip: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    workdir: str = "/"

    @property
    def slug(self) -> str:
        """The name as a file's name."""
        return self.name.replace("/", "_").replace(":", "_")


@dataclass(frozen=True)
class Layer:
    """A layer on disk and its digest."""

    path: Path
    digest: str


def build(recipe: ImageRecipe, *, settings: Settings | None = None) -> Path:
    """The docker archive of the image, made if its inputs changed since the last time."""
    folder = (settings or Settings()).build / "images"
    folder.mkdir(parents=True, exist_ok=True)
    archive, marker = folder / f"{recipe.slug}.tar", folder / f"{recipe.slug}.inputs"
    local = _local_files(recipe)
    key = _key(FORMAT, _package_inputs(recipe), _wheel_inputs(recipe), _tree_key(local), _config(recipe, ()))
    if archive.exists() and marker.exists() and marker.read_text() == key:
        return archive
    _write_archive(recipe, _layers(recipe, local, folder.parent), archive)
    marker.write_text(key)
    return archive


def fingerprint(archive: Path) -> str:
    """What tells one version of an archive from another: the inputs it was made from, or its content."""
    marker = archive.with_suffix(".inputs")
    if marker.exists():
        return marker.read_text()
    with archive.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _layers(recipe: ImageRecipe, local: Tree, folder: Path) -> list[Layer]:
    layers = [_layer(folder, "skeleton", _tree_key(rootfs.skeleton()), rootfs.skeleton)]
    if recipe.debian_packages:
        layers.append(
            _layer(folder, "debian", _key(*_package_inputs(recipe)), lambda: _debian_tree(recipe, folder / "debs"))
        )
    if recipe.wheels:
        layers.append(_layer(folder, "wheels", _key(*_wheel_inputs(recipe)), lambda: _wheel_tree(recipe)))
    if local:
        layers.append(_layer(folder, "files", _tree_key(local), lambda: local))
    return layers


def _layer(folder: Path, kind: str, key: str, tree: Callable[[], Tree]) -> Layer:
    """The layer of these inputs; written under another name first, so that a killed build leaves no half of one."""
    (folder / "layers").mkdir(parents=True, exist_ok=True)
    path = folder / "layers" / f"{kind}-{key[:24]}.tar"
    digest = path.with_suffix(".digest")
    if not (path.exists() and digest.exists()):
        partial = _partial(path)
        value = rootfs.write_layer(tree(), partial)
        partial.rename(path)
        digest.write_text(value)
    return Layer(path, digest.read_text())


def _partial(path: Path) -> Path:
    """Where a file is written until it is whole; another process may be making the same one."""
    return path.with_suffix(f".{os.getpid()}.partial")


def _debian_tree(recipe: ImageRecipe, downloads: Path) -> Tree:
    packages = list(recipe.debian_packages)
    if not recipe.only_these_packages:
        packages = debian.closure(packages, leave_out=recipe.leave_out)
    tree: Tree = {}
    for archive in debian.download(packages, downloads / debian.release()):
        tree |= debian.tree(archive)
    return _kept(rootfs.without(tree, (*debian.NEVER_READ, *recipe.strip)), recipe)


def _wheel_tree(recipe: ImageRecipe) -> Tree:
    tree: Tree = {}
    with tempfile.TemporaryDirectory() as scratch:
        for wheel in wheels.download(recipe.wheels, Path(scratch)):
            tree |= wheels.tree(wheel)
    return _kept(rootfs.without(tree, recipe.strip), recipe)


def _kept(tree: Tree, recipe: ImageRecipe) -> Tree:
    if not recipe.keep:
        return tree
    unwanted = rootfs.without(tree, recipe.keep)
    return {path: entry for path, entry in tree.items() if path not in unwanted}


def _local_files(recipe: ImageRecipe) -> Tree:
    tree: Tree = {normal(path): Entry(mode) for path, mode in recipe.folders.items()}
    for destination, source in recipe.files.items():
        tree |= rootfs.from_source(destination, source)
    tree |= {normal(path): Entry(0o777, target=target) for path, target in recipe.links.items()}
    return tree


# -- what an image and its layers are made from, as text -----------------------------------------------------------
def _package_inputs(recipe: ImageRecipe) -> tuple[object, ...]:
    if not recipe.debian_packages:
        return ()
    left_out = (
        sorted(recipe.leave_out),
        sorted(debian.INSTALL_TIME_ONLY),
        debian.NEVER_READ,
        recipe.strip,
        recipe.keep,
    )
    return (debian.release(), sorted(recipe.debian_packages), recipe.only_these_packages, *left_out)


def _wheel_inputs(recipe: ImageRecipe) -> tuple[object, ...]:
    return (sorted(recipe.wheels), recipe.strip, recipe.keep, wheels.PYTHON) if recipe.wheels else ()


def _tree_key(tree: Tree) -> str:
    digest = hashlib.sha256()
    for path in sorted(tree):
        entry = tree[path]
        digest.update(repr((path, entry.mode, entry.target, len(entry.content or b""))).encode())
        digest.update(entry.content or b"")
    return digest.hexdigest()


def _key(*inputs: object) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


# -- the archive ---------------------------------------------------------------------------------------------------
def _config(recipe: ImageRecipe, digests: tuple[str, ...]) -> dict[str, object]:
    """The image's configuration (https://github.com/opencontainers/image-spec/blob/main/config.md)."""
    return {
        "architecture": debian.architecture(),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Env": [f"{name}={value}" for name, value in {"PATH": PATH, **recipe.env}.items()],
            "Entrypoint": list(recipe.entrypoint) or None,
            "Cmd": list(recipe.cmd) or None,
            "User": recipe.user,
            "WorkingDir": recipe.workdir,
        },
        "rootfs": {"type": "layers", "diff_ids": list(digests)},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": recipe.name} for _ in digests],
    }


def _write_archive(recipe: ImageRecipe, layers: list[Layer], path: Path) -> None:
    """A docker archive: what docker, podman, ``kind load image-archive`` and ``ctr images import`` all take."""
    config = json.dumps(_config(recipe, tuple(layer.digest for layer in layers)), sort_keys=True).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    names = [layer.digest.removeprefix("sha256:") + ".tar" for layer in layers]
    manifest = json.dumps([{"Config": config_name, "RepoTags": [recipe.name], "Layers": names}]).encode()
    partial = _partial(path)
    with tarfile.open(partial, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in (("manifest.json", manifest), (config_name, config)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, layer in zip(names, layers, strict=True):
            member = tarfile.TarInfo(name)
            member.size = layer.path.stat().st_size
            with layer.path.open("rb") as file:
                archive.addfile(member, file)
    partial.rename(path)

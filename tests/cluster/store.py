"""The images as containerd keeps them, unpacked once and lent to each new node by hard links.

Importing 400 MiB costs 8 s of hashing; a new node would pay that each time it starts from nothing. So a
containerd of its own keeps a store in ``.build``, and a node begins with a copy: real ones of the two databases,
hard links to the rest, which nobody ever changes (content is addressed by its digest, and overlayfs copies a file
up before it writes).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from . import checks, images, system
from .system import Process, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .settings import Settings

# Snapshotters that this harness can't need, or that look for their devices.
UNUSED_PLUGINS = (
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.internal.v1.opt",
    "io.containerd.tracing.processor.v1.otlp",
)
_DATABASES = "*.db"


def missing(record: Path, archives: Iterable[Path]) -> list[Path]:
    """The archives that the store or node of this record does not have, or has in another version."""
    loaded = json.loads(record.read_text()) if record.exists() else {}
    return [path for path in archives if loaded.get(str(path)) != images.fingerprint(path)]


def load(address: Path | str, record: Path, archives: Iterable[Path], *, snapshotter: str) -> None:
    """Import archives, and write each down as soon as it is there."""
    for path in archives:
        system.run(["ctr", "-a", address, "-n", "k8s.io", "images", "import", "--snapshotter", snapshotter, path])
        loaded = json.loads(record.read_text()) if record.exists() else {}
        record.write_text(json.dumps({**loaded, str(path): images.fingerprint(path)}, indent=1))


def refresh(settings: Settings, archives: Iterable[Path], say: Callable[[str], None]) -> None:
    """Bring the store up to date."""
    folder = _folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "loaded.json"
    new = missing(record, archives)
    if not new:
        return
    with _containerd(folder) as address:
        load(address, record, new, snapshotter=checks.snapshotter(settings.build))
    say(f"{len(new)} images put into the store")


def lend(settings: Settings) -> None:
    """Give a node that has no images yet the store's."""
    folder, target = _folder(settings), settings.place / "containerd"
    if target.exists() or not (folder / "loaded.json").exists():
        return
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        system.run(["cp", "-al", folder / "containerd", partial])
    except system.HarnessError:  # no hard links from one of these folders to the other
        shutil.rmtree(partial, ignore_errors=True)
        return
    for database in partial.rglob(_DATABASES):
        _own_copy(database)
    partial.rename(target)  # only now: a killed copy must not share a database with the store
    shutil.copy(folder / "loaded.json", settings.place / "loaded.json")


def _folder(settings: Settings) -> Path:
    return settings.build / f"store-{checks.snapshotter(settings.build)}"


def _own_copy(path: Path) -> None:
    copy = path.with_suffix(".copy")
    shutil.copy2(path, copy)
    copy.rename(path)


@contextlib.contextmanager
def _containerd(folder: Path) -> Iterator[Path]:
    """A containerd that only keeps images. It dies with us, whatever ends us."""
    with tempfile.TemporaryDirectory() as scratch:
        address = Path(scratch) / "containerd.sock"
        configuration = Path(scratch) / "containerd.toml"
        configuration.write_text(_configuration(folder / "containerd", Path(scratch), address))
        program = ["unshare", "--mount", "setpriv", "--pdeathsig", "KILL", "containerd", "--config", str(configuration)]
        with (folder / "containerd.log").open("wb") as log:
            process = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_until("the store's containerd", address.exists, timeout=30, alive=Process.of(process.pid))
            yield address
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _configuration(root: Path, scratch: Path, address: Path) -> str:
    disabled = json.dumps([*UNUSED_PLUGINS, "io.containerd.grpc.v1.cri"])
    return f"""version = 2
root = "{root}"
state = "{scratch / "state"}"
disabled_plugins = {disabled}
[grpc]
  address = "{address}"
"""

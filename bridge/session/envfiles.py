"""``--env-file`` and ``--env-json``: the cluster's variables, in files that only their owner can read."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.errors import UsageError
from bridge.plan.envfiles import EnvFile, render_dotenv, render_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bridge.session.narrator import Narrator
    from bridge.session.request import RunRequest


def write_environment(request: RunRequest, variables: Mapping[bytes, bytes], narrator: Narrator) -> None:
    """Write the files that were asked for; say what could not be put in them."""
    for path, render in ((request.env_file, render_dotenv), (request.env_json, render_json)):
        if path is not None:
            file = render(variables)
            _write(path, file)
            for note in file.notes:
                narrator.warn(f"{path}: {note}")


def _write(path: Path, file: EnvFile) -> None:
    """Write atomically, with 0600 from the first byte: it holds what the pod's Secrets hold."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(file.content)
        new.replace(path)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        raise UsageError(f"{path} can't be written: {error.strerror}", hint="Name another file.") from error

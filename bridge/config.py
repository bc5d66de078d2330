"""Settings: what stays the same from run to run, so that it need not be typed.

    key          variable            default                 what it is
    -----------  ------------------  ----------------------  -----------------------------------------------------
    image        BRIDGE_IMAGE        bridge-proxy:VERSION    the proxy image, as the cluster's nodes can pull it
    timeout      BRIDGE_TIMEOUT      60                      seconds to wait for the cluster at each step
    grace        BRIDGE_GRACE        30                      seconds without the laptop until the original is put back
    hold         BRIDGE_HOLD         10                      seconds that a connection waits for a process that restarts
    copy_limit   BRIDGE_COPY_LIMIT   100Mi                   bytes in a volume that is copied without a question

A flag wins over a variable, a variable over ``~/.config/bridge/config.toml``, that over the default. An unknown key in
the file is an error that names the near one: a setting that silently does nothing costs an afternoon.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bridge import __version__
from bridge.errors import UsageError
from bridge.paths import config_file

_PREFIX = "BRIDGE_"
LEAST_GRACE = 3.0
"""Seconds: the laptop is heard of every two."""


@dataclass(frozen=True)
class Config:
    """All settings, complete and checked. The fields are described in the module's docstring."""

    image: str = f"bridge-proxy:{__version__}"
    timeout: float = 60.0
    grace: float = 30.0
    hold: float = 10.0
    copy_limit: int = 100 * 1024 * 1024

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> "Config":
        """Read the configuration file, if there is one, and the BRIDGE_* variables. Raise UsageError."""
        environ = os.environ if environ is None else environ
        path = config_file(environ)
        return cls.parse(_read(path), environ, path=str(path))

    @classmethod
    def parse(cls, toml: str, environ: Mapping[str, str], *, path: str = "config.toml") -> "Config":
        """Make settings of a file's text and of variables. Raise UsageError, naming ``path``, key or variable."""
        of_file = {key: _checked(key, value, f"{path}: {key}") for key, value in _table(toml, path).items()}
        of_variables = {
            field.name: _checked(field.name, environ[name], name)
            for field in fields(cls)
            if environ.get(name := _PREFIX + field.name.upper())
        }
        return cls(**(of_file | of_variables))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read: {error}", hint="Mend or remove it.") from error


def _table(toml: str, path: str) -> dict[str, Any]:
    if not toml.strip():
        return {}
    import tomllib  # only where there is a file: start-up time

    try:
        table = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}", hint="It is a TOML file: key = value.") from error
    for key in table:
        if key not in _KEYS:
            raise UsageError(f"{path}: there is no setting {key!r}", hint=_near(key))
    return table


def _near(key: str) -> str:
    import difflib

    near = difflib.get_close_matches(key, _KEYS, n=1)
    return f"Did you mean {near[0]}?" if near else f"The settings are: {', '.join(_KEYS)}."


def _checked(key: str, value: object, where: str) -> Any:
    return _CHECKS[key](value, where)


def _word(value: object, where: str) -> str:
    if isinstance(value, str) and value.strip() and not any(character.isspace() for character in value.strip()):
        return value.strip()
    raise UsageError(f"{where}: {value!r} is no name of an image", hint="For example registry.example.com/bridge:1.")


def _seconds(value: object, where: str) -> float:
    try:
        seconds = math.nan if isinstance(value, bool) else float(str(value))
    except ValueError:
        seconds = math.nan
    if math.isfinite(seconds) and seconds > 0:
        return seconds
    raise UsageError(f"{where}: {value!r} is no time", hint="Write seconds, for example 60.")


def _grace(value: object, where: str) -> float:
    seconds = _seconds(value, where)
    if seconds >= LEAST_GRACE:
        return seconds
    raise UsageError(f"{where}: {value!r} is too short", hint=f"The keeper needs {LEAST_GRACE:g} s at least.")


def _hold(value: object, where: str) -> float:
    return 0.0 if str(value).strip() in ("0", "0.0") else _seconds(value, where)


def parse_size(value: object, where: str) -> int:
    """Read a size as Kubernetes writes it (``512Mi``, ``2G``, ``1048576``): bytes. UsageError names ``where``."""
    match = re.fullmatch(r"(\d+)([KMGT]i?|k)?", str(value).strip())
    if match is None or isinstance(value, bool):
        raise UsageError(f"{where}: {value!r} is no size", hint="Write bytes, or for example 500Mi or 2Gi.")
    return int(match[1]) * _UNITS[match[2] or ""]


def parse_duration(value: str, where: str) -> float:
    """Read a time as Kubernetes writes it (``90s``, ``10m``, ``1h30m``), or seconds: seconds. UsageError: ``where``."""
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", value.strip())
    parts = [int(part or 0) for part in match.groups()] if match else []
    seconds = sum(part * size for part, size in zip(parts, (3600, 60, 1), strict=False))
    if seconds:
        return float(seconds)
    raise UsageError(f"{where}: {value!r} is no time", hint="Write for example 90s, 10m or 1h.")


_UNITS: dict[str, int] = {"": 1, "k": 1000} | {
    f"{letter}{binary}": (1024 if binary else 1000) ** power
    for power, letter in enumerate("KMGT", start=1)
    for binary in ("i", "")
}
_CHECKS = {"image": _word, "timeout": _seconds, "grace": _grace, "hold": _hold, "copy_limit": parse_size}
_KEYS = tuple(_CHECKS)

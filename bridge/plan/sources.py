"""Which files of a project mean, when they change, that the process is to be started again. Pure.

    *.py               by name, in any folder
    templates/*.html   by the path from the working directory; ``**`` for any number of folders
    ../lib/**/*.go     also outside of it, and absolute

Without patterns: what programs are written in and set up by (`SUFFIXES`). What editors, version control and tools keep
for themselves is passed over (`IGNORED`), in the working directory or whatever folder a pattern begins with.
"""

from __future__ import annotations

import os.path
import re
from dataclasses import dataclass

from bridge.errors import UsageError

SUFFIXES = (
    *("py", "pyx", "js", "mjs", "cjs", "jsx", "ts", "mts", "cts", "tsx", "rb", "php", "pl", "lua", "ex", "exs", "sh"),
    *("go", "rs", "java", "kt", "kts", "scala", "groovy", "clj", "c", "cc", "cpp", "h", "hpp", "cs", "fs", "swift"),
    *("html", "htm", "jinja", "jinja2", "j2", "tmpl", "tpl", "erb", "ejs", "hbs", "sql", "graphql", "proto"),
    *("yaml", "yml", "toml", "ini", "cfg", "conf", "env", "properties"),
)
"""Not JSON and XML: these are what programs write for themselves, too, and each write would end them."""
IGNORED = frozenset(
    {
        *(".git", ".hg", ".svn", ".jj", ".idea", ".vscode", ".vs", ".direnv", ".terraform"),
        *("node_modules", "bower_components", ".next", ".nuxt", ".yarn", ".pnpm-store"),
        *("__pycache__", ".venv", "venv", "site-packages", ".tox", ".nox", ".eggs", ".ipynb_checkpoints"),
        *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".cache", ".gradle", ".m2", ".bundle"),
    }
)
_OF_EDITORS = re.compile(r"^\.#|^#.*#$|~$|\.sw[a-z]$|___jb_(tmp|old|bak)___$|^flycheck_")
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Sources:
    """The files that count: paths below ``roots`` (absolute, no ``..``) that ``patterns`` match."""

    roots: tuple[str, ...]
    patterns: tuple[re.Pattern[str], ...]

    @classmethod
    def parse(cls, globs: tuple[str, ...], folder: str) -> Sources:
        """Take patterns as they are given in ``folder``, absolute; none: the default. UsageError."""
        globs = globs or tuple(f"*.{suffix}" for suffix in SUFFIXES)
        if any(not each for each in globs):
            raise UsageError("a pattern of files is empty", hint="Name files, as '*.py' or 'templates/**/*.html'.")
        paths = [_absolute(each, folder) for each in globs]
        outside = [root for root in map(_fixed, paths) if not is_within(root, folder)]
        return cls((folder, *dict.fromkeys(outside)), tuple(map(_compiled, paths)))

    def count(self, path: str) -> bool:
        """Whether a change of this file, absolute, counts."""
        folder, name = os.path.split(path)
        if _OF_EDITORS.search(name) or not any(each.fullmatch(path) for each in self.patterns):
            return False
        return any(is_within(folder, root) and not self._is_ignored(folder, root) for root in self.roots)

    def watches(self, folder: str) -> bool:
        """Whether a folder, absolute, may have such files: for who looks through the folders."""
        return any(is_within(folder, root) and not self._is_ignored(folder, root) for root in self.roots)

    @staticmethod
    def _is_ignored(folder: str, root: str) -> bool:
        return not IGNORED.isdisjoint(os.path.relpath(folder, root).split("/"))


def is_within(path: str, folder: str) -> bool:
    """Whether a path is a folder's own or below it; both absolute."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _fixed(pattern: str) -> str:
    """The folder that a pattern's matches have in common."""
    parts = pattern.split("/")
    fixed = next((at for at, part in enumerate(parts) if _MAGIC.search(part)), len(parts) - 1)
    return "/".join(parts[:fixed]) or "/"


def _absolute(pattern: str, folder: str) -> str:
    if pattern.startswith("/"):
        return os.path.normpath(pattern)
    return os.path.normpath(f"{folder}/{pattern if '/' in pattern else f'**/{pattern}'}")


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(_regex(pattern))
    except re.error as error:
        raise UsageError(f"no pattern of files: {pattern} ({error})", hint="Is it the range in brackets?") from error


def _regex(pattern: str) -> str:
    """As pathlib.PurePath.full_match of Python 3.13 reads a pattern."""
    found = []
    for token in re.findall(r"\*\*/|\*\*$|\*|\?|\[!?\]?[^\]]*\]|.", pattern, re.DOTALL):
        match token:
            case "**/":
                found.append("(?:[^/]+/)*")
            case "**":
                found.append(".*")
            case "*":
                found.append("[^/]*")
            case "?":
                found.append("[^/]")
            case _ if len(token) > 1:
                inside = token[1:-1].replace("\\", "\\\\")
                found.append(f"[^/{inside[1:]}]" if inside[0] == "!" else f"[{inside}]")
            case _:
                found.append(re.escape(token))
    return "".join(found)

"""What an IDE is told: which program to start, and that it is started by `bridge run`. Texts in, texts out.

No IDE has a setting "start it with this command instead". All have options for the interpreter, which come before the
debugger and the program. So the first of these options is a file that Python runs in their stead
(``bridge.session.debuggee``), and which gets all the rest:

    VS Code    python .vscode/bridge_run.py --swap tasks -- -X frozen_modules=off .../debugpy --connect ... app.py
    PyCharm    python .run/bridge_run.py --swap tasks -- .../pydevd.py --client 127.0.0.1 --port ... --file app.py
               interpreter options           ---------- what the IDE adds

So the interpreter stays the one that is chosen in the IDE, and the entry is valid in the IDE's own terms.

An entry is found by its name. What is there of it stays, but for the few settings that make it what it is; so who has
added environment variables or another console keeps them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from bridge.plan.ports import Expose
from bridge.plan.target import TargetSpec

RUNNER = "bridge_run.py"


@dataclass(frozen=True, kw_only=True)
class Start:
    """What is to be started.

    ``options``: of `bridge run`. ``program``: a path, relative to the project unless absolute; or ``module``, as
    ``python -m`` takes it; or neither: then whatever an entry that is there already says.
    """

    name: str
    options: tuple[str, ...]
    program: str = ""
    module: str = ""
    arguments: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, words: Sequence[str], *, module: str, name: str | None, target: TargetSpec | None, options: tuple[str, ...]
    ) -> Self:
        """Make it of a command's words: a program and its arguments, or a module's arguments."""
        program, arguments = ("", tuple(words)) if module else ("".join(words[:1]), tuple(words[1:]))
        return cls(
            name=name or (f"bridge: {target.name}" if target else "bridge"),
            options=options,
            program=program,
            module=module,
            arguments=arguments,
        )

    @property
    def is_named(self) -> bool:
        """Whether it is said what to start."""
        return bool(self.program or self.module)


def run_options(
    target: TargetSpec | None,
    exposes: Iterable[Expose],
    *,
    context: str | None,
    namespace: str | None,
    kubeconfig: str | None,
) -> tuple[str, ...]:
    """Return the options of `bridge run` that say which place is taken; what is None is left to bridge's defaults."""
    where = {"--swap": target, "--context": context, "--namespace": namespace, "--kubeconfig": kubeconfig}
    words = [word for option, value in where.items() if value is not None for word in (option, str(value))]
    return (*words, *(word for each in exposes for word in ("--expose", str(each))))


class NotMergeable(ValueError):
    """What is in a file of the IDE's can't be added to. ``line`` and ``column`` from 1, 0 where it is no one place."""

    def __init__(self, what: str, *, line: int = 0, column: int = 0) -> None:
        super().__init__(what)
        self.what = what
        self.line = line
        self.column = column


def python_arguments(project: str, folder: str, start: Start) -> list[str]:
    """Return the interpreter's options; ``project`` is how the IDE names the project's folder."""
    return [f"{project}/{folder}/{RUNNER}", *start.options, "--"]


def inside(project: str, path: str) -> str:
    """Return a path of the project as the IDE takes it."""
    return path if path.startswith("/") else f"{project}/{path}"

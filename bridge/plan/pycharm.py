"""PyCharm's run configurations: one that starts a program by `bridge run`, as PyCharm itself writes them.

One file each, in ``.run/`` or ``.idea/runConfigurations/``. Ours are made in the first: it is PyCharm's own default for
what is stored as a file of the project, and is there where ``.idea`` is kept out of the repository.
"""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.parsers import expat  # the user's own file; and since 2.4.1 expat itself bounds what entities make of it

from bridge.plan.ide import NotMergeable, Start, inside, python_arguments

FOLDER, IDEA_FOLDER = ".run", ".idea/runConfigurations"
PROJECT = "$PROJECT_DIR$"
_TYPE = "PythonConfigurationType"


def file_name(name: str) -> str:
    """Return the name of the file of a run configuration."""
    return re.sub(r"[^\w.-]+", "_", name) + ".run.xml"


def new_configuration(start: Start, module: str) -> str:
    """Return a run configuration as PyCharm writes it. ``module``: the project's in PyCharm, empty if not known.

    Without it the interpreter is the project's (IS_MODULE_SDK), which is the same where there is one module.
    """
    settings = {"SCRIPT_NAME": "", "MODULE_MODE": "false", "PARAMETERS": "", **_settings(start)}
    return f"""\
<component name="ProjectRunConfigurationManager">
  <configuration default="false" name="{_escaped(start.name)}" type="{_TYPE}" factoryName="Python">
    <module name="{_escaped(module)}" />
    <option name="ENV_FILES" value="" />
    {_option("INTERPRETER_OPTIONS", settings["INTERPRETER_OPTIONS"])}
    <option name="PARENT_ENVS" value="true" />
    <envs>
      <env name="PYTHONUNBUFFERED" value="1" />
    </envs>
    <option name="SDK_HOME" value="" />
    <option name="WORKING_DIRECTORY" value="{PROJECT}" />
    {_option("IS_MODULE_SDK", "true" if module else "false")}
    <option name="ADD_CONTENT_ROOTS" value="true" />
    <option name="ADD_SOURCE_ROOTS" value="true" />
    {_option("SCRIPT_NAME", settings["SCRIPT_NAME"])}
    {_option("PARAMETERS", settings["PARAMETERS"])}
    <option name="SHOW_COMMAND_LINE" value="false" />
    <option name="EMULATE_TERMINAL" value="false" />
    {_option("MODULE_MODE", settings["MODULE_MODE"])}
    <option name="REDIRECT_INPUT" value="false" />
    <option name="INPUT_FILE" value="" />
    <method v="2" />
  </configuration>
</component>
"""


def _settings(start: Start) -> dict[str, str]:
    settings = {"INTERPRETER_OPTIONS": _joined(python_arguments(PROJECT, FOLDER, start))}
    if start.is_named:
        settings["SCRIPT_NAME"] = start.module or inside(PROJECT, start.program)
        settings["MODULE_MODE"] = "true" if start.module else "false"
        settings["PARAMETERS"] = _joined(start.arguments)
    return settings


def _option(name: str, value: str) -> str:
    return f'<option name="{name}" value="{_escaped(value)}" />'


def _escaped(text: str) -> str:
    return html.escape(text, quote=False).replace('"', "&quot;")


def _joined(words: Sequence[str]) -> str:
    """One text, as PyCharm splits it: at blanks, but for those in double quotes; ``\\"`` is a quote.

    It does so when it has put in the project's folder, which may have blanks in its path.
    """
    return " ".join(_quoted(word) if not word or re.search(r'[\s"$]', word) else word for word in words)


def _quoted(word: str) -> str:
    escaped = word.replace('"', '\\"')
    return f'"{escaped}"'


def merged_configuration(text: bytes, start: Start) -> bytes:
    """Return the file of a run configuration with what is to be started. Raises NotMergeable."""
    for name, value in _settings(start).items():
        found = _Configuration.find(text, start.name)
        if name in found.options:
            text = _with_value(text, found.options[name], value)
        else:
            at = found.inside
            text = text[:at] + b"\n    " + _option(name, value).encode() + text[at:]
    return text


_TAG = re.compile(rb"""<(?:[^<>"']|"[^"]*"|'[^']*')*>""")
_VALUE = re.compile(rb"""(\svalue\s*=\s*)("[^"]*"|'[^']*')""")


def _with_value(text: bytes, at: int, value: str) -> bytes:
    """Set the attribute ``value`` of the tag that begins at ``at``, unless it means the same already."""
    tag = _TAG.match(text, at)
    assert tag is not None  # expat has read it
    there = _VALUE.search(text, at, tag.end())
    if there is None:
        raise NotMergeable("an option has no value", line=text.count(b"\n", 0, at) + 1)
    if html.unescape(there[2][1:-1].decode()) == value:
        return text
    return text[: there.start(2)] + f'"{_escaped(value)}"'.encode() + text[there.end(2) :]


@dataclass(frozen=True)
class _Configuration:
    """Where things stand in the file, in bytes: what is behind the opening tag, and each option's tag."""

    inside: int
    options: Mapping[str, int]

    @classmethod
    def find(cls, text: bytes, name: str) -> "_Configuration":
        tags = _tags(text)
        for at, (depth, tag, attributes) in tags.items():
            if tag == "configuration" and attributes.get("name") == name:
                if attributes.get("type") != _TYPE:
                    raise NotMergeable(f'"{name}" is no configuration for Python', line=text.count(b"\n", 0, at) + 1)
                opening = _TAG.match(text, at)
                assert opening is not None  # expat has read it
                if opening[0].endswith(b"/>"):
                    raise NotMergeable(f'"{name}" is empty', line=text.count(b"\n", 0, at) + 1)
                return cls(opening.end(), dict(_options_behind(tags, at, depth)))
        raise NotMergeable(f'there is no configuration "{name}" in it')


_Tags = dict[int, tuple[int, str, dict[str, str]]]


def _options_behind(tags: _Tags, start: int, depth: int) -> list[tuple[str, int]]:
    """The options of the element at ``start``, which is at ``depth``: each its name and where its tag is."""
    found = []
    for at, (level, tag, attributes) in tags.items():
        if at > start:
            if level <= depth:
                break
            if level == depth + 1 and tag == "option":
                found.append((attributes.get("name", ""), at))
    return found


def _tags(text: bytes) -> _Tags:
    """All opening tags in the order of the file: where they begin -> depth, name, attributes. Raises NotMergeable."""
    parser, found, depth = expat.ParserCreate(), _Tags(), 0

    def opened(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        found[parser.CurrentByteIndex] = (depth, name, attributes)
        depth += 1

    def closed(_name: str) -> None:
        nonlocal depth
        depth -= 1

    parser.StartElementHandler, parser.EndElementHandler = opened, closed
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        what = expat.errors.messages[error.code]
        raise NotMergeable(what, line=error.lineno, column=error.offset + 1) from error
    return found


def configurations_in(text: bytes) -> list[str]:
    """Return the names of the run configurations in a file; none where it is not XML."""
    try:
        return [attributes.get("name", "") for _, tag, attributes in _tags(text).values() if tag == "configuration"]
    except NotMergeable:
        return []

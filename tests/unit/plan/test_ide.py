"""The entries of the IDEs: valid in the IDE's own terms, and put among the others without touching them."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import pytest

from bridge.plan import pycharm, vscode
from bridge.plan.ide import NotMergeable, Start, run_options
from bridge.plan.jsonc import parse
from bridge.plan.ports import Expose
from bridge.plan.target import TargetSpec
from tests.unit.plan.schemas import LAUNCH, PYCHARM, faults

TASKS = Start(name="bridge: tasks", options=("--swap", "tasks"), program="app.py", arguments=("--port", "8080"))
MODULE = Start(name="bridge: tasks", options=(), module="uvicorn", arguments=("app:app",))
OPEN_FILE = Start(name="bridge", options=())

COMMENTED = """\
// Ours; see the wiki.
{
  "version": "0.2.0",
  "configurations": [
    {
      "name": "tests", // with coverage
      "type": "debugpy",
      "request": "launch",
      "module": "pytest",
      "ourOwn": {"kept": true,},
    },
    /* { "name": "old" }, */
  ],
  "compounds": [],
}
"""


# ---- what is started -------------------------------------------------------------------------------------------------
def test_the_words_of_the_command_line_say_what_is_started() -> None:
    target = TargetSpec.parse("deploy/tasks:app")
    options = run_options(target, [Expose.parse("8000:80")], context=None, namespace="shop", kubeconfig=None)
    assert options == ("--swap", "deployment/tasks:app", "--namespace", "shop", "--expose", "8000:80")
    start = Start.of(["app.py", "--port", "1"], module="", name=None, target=target, options=options)
    assert start == Start(name="bridge: tasks", options=options, program="app.py", arguments=("--port", "1"))
    start = Start.of(["app:app"], module="uvicorn", name="mine", target=None, options=())
    assert start == Start(name="mine", options=(), module="uvicorn", arguments=("app:app",))
    assert Start.of([], module="", name=None, target=None, options=()) == OPEN_FILE


# ---- VS Code ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("start", [TASKS, MODULE, OPEN_FILE])
def test_a_new_launch_json_is_valid(start: Start) -> None:
    assert faults(json.loads(vscode.merged_launch("", start)), LAUNCH) == []


def test_an_entry_is_put_behind_the_others_which_stay_byte_for_byte() -> None:
    merged = vscode.merged_launch(COMMENTED, TASKS)
    before, _, after = COMMENTED.partition("    /* {")
    assert merged.startswith(before)
    assert merged.endswith("    /* {" + after)
    assert parse(merged).members["configurations"].items[1].value == vscode.entry_of(TASKS)


def test_a_file_without_a_list_gets_one() -> None:
    merged = vscode.merged_launch('{\n\t"version": "0.2.0" // ours\n}\n', TASKS)
    assert merged.startswith('{\n\t"version": "0.2.0", // ours\n\t"configurations": [\n\t\t{\n')
    assert faults(parse(merged).value, LAUNCH) == []


@pytest.mark.parametrize("text", ["", COMMENTED, "{}"])
@pytest.mark.parametrize("start", [TASKS, MODULE, OPEN_FILE])
def test_a_second_time_changes_nothing(text: str, start: Start) -> None:
    merged = vscode.merged_launch(text, start)
    assert vscode.merged_launch(merged, start) == merged


def test_an_entry_that_is_there_keeps_what_is_the_user_s() -> None:
    text = vscode.merged_launch("", TASKS).replace(
        '"console": "integratedTerminal"', '"console": "internalConsole", // mine\n            "env": {"DEBUG": "1"}'
    )
    assert vscode.merged_launch(text, TASKS) == text
    other = Start(name=TASKS.name, options=("--swap", "tasks", "--namespace", "dev"))
    changed = vscode.merged_launch(text, other)
    assert changed == text.replace('"tasks", "--"', '"tasks", "--namespace", "dev", "--"')


def test_a_program_does_not_become_a_module_beside_it() -> None:
    with pytest.raises(NotMergeable, match=r'"bridge: tasks" starts a program, not a module'):
        vscode.merged_launch(vscode.merged_launch("", TASKS), MODULE)


@pytest.mark.parametrize(
    ("text", "what", "line", "column"),
    [
        ('{\n  "configurations": [\n', "the text ends, and a value is missing here", 3, 1),
        ("[]", "it is no object", 1, 1),
        ('{"configurations": {}}', '"configurations" is no list', 1, 20),
    ],
)
def test_what_can_not_be_added_to_is_told_with_its_place(text: str, what: str, line: int, column: int) -> None:
    with pytest.raises(NotMergeable) as raised:
        vscode.merged_launch(text, TASKS)
    assert (raised.value.what, raised.value.line, raised.value.column) == (what, line, column)


# ---- PyCharm ---------------------------------------------------------------------------------------------------------
def shape(text: str | bytes) -> list[tuple[str, list[str], str | None]]:
    """Elements, their attributes and options, without values."""
    return [
        (each.tag, list(each.attrib), each.get("name") if each.tag != "module" else None)
        for each in ET.fromstring(text).iter()
    ]


def options(text: str | bytes) -> dict[str, str]:
    return {each.attrib["name"]: each.attrib["value"] for each in ET.fromstring(text).iter("option")}


def test_a_new_configuration_is_as_pycharm_writes_it() -> None:
    new = pycharm.new_configuration(TASKS, "shop")
    named = PYCHARM.replace('name="app"', 'name="bridge: tasks"')
    assert shape(new) == shape(named)
    assert re.sub('value="[^"]*"', "", new) == re.sub('value="[^"]*"', "", named)
    assert options(new) == {
        **options(PYCHARM),
        "INTERPRETER_OPTIONS": '"$PROJECT_DIR$/.run/bridge_run.py" --swap tasks --',
        "PARAMETERS": "--port 8080",
    }
    assert options(pycharm.new_configuration(MODULE, ""))["SCRIPT_NAME"] == "uvicorn"
    assert options(pycharm.new_configuration(MODULE, ""))["MODULE_MODE"] == "true"


def test_words_are_joined_as_pycharm_splits_them() -> None:
    start = Start(name='<a> & "b"', options=("--swap", "x"), program="a b.py", arguments=("", "c d", 'e"f', "<&>"))
    new = pycharm.new_configuration(start, "")
    assert options(new)["SCRIPT_NAME"] == "$PROJECT_DIR$/a b.py"
    assert options(new)["PARAMETERS"] == '"" "c d" "e\\"f" <&>'
    assert pycharm.configurations_in(new.encode()) == [start.name]
    assert pycharm.merged_configuration(new.encode(), start) == new.encode()
    assert re.fullmatch(r"[\w.-]+\.run\.xml", pycharm.file_name(start.name))


def test_a_configuration_that_is_there_keeps_what_is_the_user_s() -> None:
    text = pycharm.new_configuration(TASKS, "shop").replace(
        "<envs>", '<!-- mine > --><envs>\r\n<env name="A" value="é"/>'
    )
    other = Start(name=TASKS.name, options=("--swap", "tasks", "-n", "dev"))
    merged = pycharm.merged_configuration(text.encode(), other).decode()
    assert merged == text.replace("--swap tasks --", "--swap tasks -n dev --")
    assert pycharm.merged_configuration(merged.encode(), other) == merged.encode()


def test_an_option_that_is_not_there_is_put_in() -> None:
    text = PYCHARM.replace('name="app"', "name='bridge: tasks'").replace(
        '    <option name="INTERPRETER_OPTIONS" value="" />\n', ""
    )
    merged = pycharm.merged_configuration(text.encode(), TASKS).decode()
    assert options(merged)["INTERPRETER_OPTIONS"] == '"$PROJECT_DIR$/.run/bridge_run.py" --swap tasks --'
    assert pycharm.merged_configuration(merged.encode(), TASKS) == merged.encode()


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        (PYCHARM, 'there is no configuration "bridge: tasks" in it', 0),
        (PYCHARM.replace("</envs>", ""), "mismatched tag", 23),
        (
            '<c>\n<configuration name="bridge: tasks" type="Docker"/></c>',
            '"bridge: tasks" is no configuration for Python',
            2,
        ),
        ('<configuration name="bridge: tasks" type="PythonConfigurationType"/>', '"bridge: tasks" is empty', 1),
    ],
)
def test_a_file_of_another_kind_is_left(text: str, what: str, line: int) -> None:
    with pytest.raises(NotMergeable) as raised:
        pycharm.merged_configuration(text.encode(), TASKS)
    assert (raised.value.what, raised.value.line) == (what, line)

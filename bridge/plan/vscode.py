"""VS Code's launch.json: the entry that starts a program by `bridge run`, and how it comes among the others.

https://code.visualstudio.com/docs/python/debugging#_set-configuration-options says what a configuration may hold.
"""

from bridge.plan.ide import NotMergeable, Start, inside, python_arguments
from bridge.plan.jsonc import Node, NotJsonc, Style, parse, with_item, with_member

FOLDER, FILE = ".vscode", "launch.json"
PROJECT, OPEN_FILE = "${workspaceFolder}", "${file}"

Entry = dict[str, object]


def entry_of(start: Start) -> Entry:
    """Return the launch configuration."""
    return {
        "name": start.name,
        "type": "debugpy",
        "request": "launch",
        **(_program(start) if start.is_named else {"program": OPEN_FILE}),
        "cwd": PROJECT,
        "console": "integratedTerminal",
        "pythonArgs": python_arguments(PROJECT, FOLDER, start),
    }


def _program(start: Start) -> Entry:
    what = {"module": start.module} if start.module else {"program": inside(PROJECT, start.program)}
    return {**what, "args": list(start.arguments)}


def render_entry(entry: Entry) -> str:
    """Return the entry as it is to be put into the file by hand."""
    return Style("", "    ", "\n").render(entry)


def merged_launch(text: str, start: Start) -> str:
    """Return launch.json with the entry in it; an empty text is a new file. Raises NotMergeable."""
    if not text.strip():
        return render_entry({"version": "0.2.0", "configurations": [entry_of(start)]}) + "\n"
    root = _read(text)
    there = root.members.get("configurations")
    if there is None:
        return with_member(text, root, "configurations", [entry_of(start)])
    if not there.is_array:
        raise _unexpected('"configurations" is no list', text, there)
    if _named(there, start.name) is None:
        return with_item(text, there, entry_of(start))
    return _updated(text, start)


def _updated(text: str, start: Start) -> str:
    """Set what makes the entry what it is, and leave what else is in it."""
    new = entry_of(start)
    wanted = {key: new[key] for key in ("type", "request", "pythonArgs")}
    if start.is_named:
        wanted.update(_program(start))
    for key, value in wanted.items():
        node = _named(_read(text).members["configurations"], start.name)
        assert node is not None  # its name is not among what changes
        other = {"program": "module", "module": "program"}.get(key, "")
        if other in node.members:
            raise _unexpected(f'"{start.name}" starts a {other}, not a {key}', text, node.members[other])
        text = with_member(text, node, key, value)
    return text


def _read(text: str) -> Node:
    try:
        root = parse(text)
    except NotJsonc as error:
        raise NotMergeable(error.what, line=error.line, column=error.column) from error
    if not root.is_object:
        raise _unexpected("it is no object", text, root)
    return root


def _named(configurations: Node, name: str) -> Node | None:
    return next((each for each in configurations.items if each.is_object and _name_of(each) == name), None)


def _name_of(node: Node) -> object:
    return node.members["name"].value if "name" in node.members else None


def _unexpected(what: str, text: str, node: Node) -> NotMergeable:
    place = NotJsonc(what, text, node.start)
    return NotMergeable(what, line=place.line, column=place.column)

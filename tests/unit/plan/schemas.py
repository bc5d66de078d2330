"""What VS Code and PyCharm take, as far as `bridge ide` writes it; and whether a value is of a schema.

LAUNCH is the schema of launch.json (microsoft/vscode, debugSchemas.ts), with one configuration of the debugger: the
attributes that VS Code gives every debugger (debugger.ts, ``getSchemaAttributes``: three are required, and none is
allowed that is not named), and those of the extension (microsoft/vscode-python-debugger, package.json 2024.15,
``contributes.debuggers.configurationAttributes.launch``).

PYCHARM is a run configuration for Python as PyCharm 2024.3 stores it in .run/, but for its values.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

_TEXT: Schema = {"type": str}
_TRUTH: Schema = {"type": bool}
_TEXTS: Schema = {"type": list, "items": _TEXT}
_ANY: Schema = {}

CONFIGURATION: Schema = {
    "type": dict,
    "required": ["name", "type", "request"],
    "properties": {
        "name": _TEXT,
        "type": {"enum": ["debugpy"]},
        "request": {"enum": ["launch"]},
        **dict.fromkeys(("debugServer", "preLaunchTask", "postDebugTask", "internalConsoleOptions"), _ANY),
        **dict.fromkeys(("windows", "osx", "linux", "presentation"), _ANY),
        "args": _TEXTS,
        "autoReload": {"type": dict},
        "console": {"enum": ["externalTerminal", "integratedTerminal", "internalConsole"]},
        "env": {"type": dict},
        "jinja": {"enum": [True, False, None]},
        "pathMappings": {"type": list},
        "purpose": {"type": list},
        "pythonArgs": _TEXTS,
        **dict.fromkeys(("cwd", "debugAdapterPath", "envFile", "module", "program", "python"), _TEXT),
        **dict.fromkeys(("guiEventLoop", "consoleName", "clientOS"), _TEXT),
        **dict.fromkeys(("autoStartBrowser", "django", "gevent", "justMyCode", "logToFile", "pyramid"), _TRUTH),
        **dict.fromkeys(("redirectOutput", "showReturnValue", "stopOnEntry", "subProcess", "sudo"), _TRUTH),
    },
}
LAUNCH: Schema = {
    "type": dict,
    "properties": {
        "version": _TEXT,
        "configurations": {"type": list, "items": CONFIGURATION},
        "compounds": {"type": list},
        "inputs": {"type": list},
    },
}


def faults(value: Any, schema: Schema, where: str = "$") -> list[str]:
    """What is against the schema."""
    found = []
    if "type" in schema and not isinstance(value, schema["type"]):
        return [f"{where} is no {schema['type'].__name__}"]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where} is none of {schema['enum']}")
    found += [f"{where} has no {key}" for key in schema.get("required", []) if key not in value]
    if "properties" in schema:
        for key, each in value.items():
            inner = schema["properties"].get(key)
            found += [f"{where}.{key} is not allowed"] if inner is None else faults(each, inner, f"{where}.{key}")
    if "items" in schema:
        for at, each in enumerate(value):
            found += faults(each, schema["items"], f"{where}[{at}]")
    return found


PYCHARM = """<component name="ProjectRunConfigurationManager">
  <configuration default="false" name="app" type="PythonConfigurationType" factoryName="Python">
    <module name="shop" />
    <option name="ENV_FILES" value="" />
    <option name="INTERPRETER_OPTIONS" value="" />
    <option name="PARENT_ENVS" value="true" />
    <envs>
      <env name="PYTHONUNBUFFERED" value="1" />
    </envs>
    <option name="SDK_HOME" value="" />
    <option name="WORKING_DIRECTORY" value="$PROJECT_DIR$" />
    <option name="IS_MODULE_SDK" value="true" />
    <option name="ADD_CONTENT_ROOTS" value="true" />
    <option name="ADD_SOURCE_ROOTS" value="true" />
    <option name="SCRIPT_NAME" value="$PROJECT_DIR$/app.py" />
    <option name="PARAMETERS" value="" />
    <option name="SHOW_COMMAND_LINE" value="false" />
    <option name="EMULATE_TERMINAL" value="false" />
    <option name="MODULE_MODE" value="false" />
    <option name="REDIRECT_INPUT" value="false" />
    <option name="INPUT_FILE" value="" />
    <method v="2" />
  </configuration>
</component>
"""

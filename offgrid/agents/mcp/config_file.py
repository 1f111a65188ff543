"""mcp.json as other programs write it: Claude's `mcpServers`, and VS Code's `servers`.

Pure. What an entry says and cannot be honoured here is an error of that entry; what only concerns the other program's
own window is passed over.
"""

import re
from typing import Any

from offgrid.agents.mcp.spec import NAME, ServerSpec, make_spec
from offgrid.errors import BadRequest

# What an entry may say without meaning here: whom the other program asks, how it shows things.
PASSED_OVER = {
    "alwaysAllow",
    "autoApprove",
    "description",
    "dev",
    "disabledTools",
    "gallery",
    "icon",
    "name",
    "timeout",
    "version",
}
KINDS = ("stdio", "http", "streamable-http", "streamableHttp")
Entry = tuple[ServerSpec, bool]  # and whether it is switched on


def read_entry(name: str, entry: Any) -> Entry:
    """One server of such a file. Raises BadRequest."""
    if not re.fullmatch(NAME, name):
        raise BadRequest(f"{name[:80]!r} is no name: up to 32 letters, digits, _ and -, without two _ in a row.")
    if not isinstance(entry, dict):
        raise BadRequest("It must be an object with command or url.")
    rest = {key: value for key, value in entry.items() if key not in PASSED_OVER}
    kind = rest.pop("type", None)
    is_enabled = not rest.pop("disabled", False)
    if kind is not None and kind not in KINDS:
        raise BadRequest(f"Its type is {str(kind)[:40]!r}; known here are stdio and http.")
    given = {
        "url": _text(rest, "url"),
        "command": _text(rest, "command"),
        "args": _texts(rest, "args"),
        "env": _names(rest, "env"),
        "cwd": _text(rest, "cwd"),
        "headers": _names(rest, "headers"),
    }
    if given["command"]:
        given["args"] = given["args"] or ()  # here a command is never a command line
    if unknown := rest.keys() - given.keys():
        raise BadRequest(f"It has {min(unknown)[:80]}, which is not known here.")
    if "${" in str(rest):
        raise BadRequest("It has a ${variable}, which only the program that it was written for can fill in.")
    return make_spec(**given), is_enabled


def _text(entry: dict, key: str) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str):
        raise BadRequest(f"Its {key} must be a string.")
    return value


def _texts(entry: dict, key: str) -> tuple[str, ...] | None:
    value = entry.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadRequest(f"Its {key} must be a list of strings.")
    return tuple(value)


def _names(entry: dict, key: str) -> dict[str, str]:
    value = entry.get(key) or {}
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise BadRequest(f"Its {key} must be an object of strings.")
    return value

"""`tools` and `tool_choice` in this family's form, which is flat: {"type": "function", "name": …, "parameters": …}."""

from dataclasses import replace
from typing import Any

from offgrid.api.fields import Asked, Field, Ignored, Object, Unsupported, required
from offgrid.api.messages import FUNCTION_NAME
from offgrid.api.responses.items import NO_CUSTOM
from offgrid.api.responses.kinds import Kinds
from offgrid.api.shapes import Choice, Flag, ListOf, Shape, Text, wrong
from offgrid.api.tools import CHOICES, MAX_TOOLS, Parameters
from offgrid.errors import BadRequest
from offgrid.types import ToolUse

NAME = required("name", FUNCTION_NAME, "The function.", "get_weather")
HOSTED = "only OpenAI runs that tool. Tools here are functions of the client's own."
FOREIGN = (
    *("file_search", "web_search", "web_search_preview", "computer", "computer_use_preview", "mcp", "code_interpreter"),
    *("image_generation", "local_shell", "shell", "apply_patch", "tool_search", "namespace"),
    *("programmatic_tool_calling", "web_search_2025_08_26", "web_search_preview_2025_03_11"),
)
REFUSED = {**dict.fromkeys(FOREIGN, HOSTED), "custom": NO_CUSTOM}
TOOL = Kinds(
    {
        "function": Object(
            NAME,
            Field("description", Text(), "What it does, for the model."),
            Field("parameters", Parameters(), "A JSON Schema of its arguments."),
            Field("strict", Flag(), "Refuse a schema that calls cannot be held to in full.", False),
            Unsupported("defer_loading", "all tools are shown to the model.", False),
            Unsupported("async", "an answer waits for no tool.", False),
            Ignored("allowed_callers", "The model calls it."),
            Ignored("output_schema", "What it returns is read as text."),
        )
    },
    REFUSED,
)
NAMED = Kinds({"function": Object(NAME)}, REFUSED)
CHOSEN = Kinds(
    {
        "function": Object(NAME),
        "allowed_tools": Object(
            required("mode", Choice(("auto", "required")), "Whether one must be called.", "auto"),
            required("tools", ListOf(NAMED, MAX_TOOLS, 1), "The ones that may be called.", [
                {"type": "function", "name": "get_weather"}
            ]),
        ),
    },
    REFUSED,
)  # fmt: skip


class ToolChoice(Shape):
    """One of the words, or an object that names functions."""

    wanted = f"{', '.join(CHOICES)}, or an object that names a function"

    def read(self, value: Any, path: str) -> str | Asked:
        if isinstance(value, dict):
            return CHOSEN.read(value, path)
        if value not in CHOICES:
            raise wrong(path, self.wanted, value)
        return value

    def schema(self) -> dict:
        return {"anyOf": [{"enum": list(CHOICES)}, CHOSEN.schema()]}


TOOL_FIELDS = (
    Field("tools", ListOf(TOOL, MAX_TOOLS), "The functions that the answer may call.", []),
    Field("tool_choice", ToolChoice(), "Whether it must, and which.", "auto"),
    Field("parallel_tool_calls", Flag(), "False: at most one call in an answer.", True),
)


def tool_use_of(asked: Asked) -> ToolUse | None:
    """None: nothing may be called. Raises BadRequest."""
    tools, choice = asked["tools"], asked["tool_choice"]
    names = [tool["name"] for tool in tools]
    for i, name in enumerate(names):
        if name in names[:i]:
            message = f"tools[{i}].name is {name}, and so is another one's. Names must differ."
            raise BadRequest(message, param=f"tools[{i}].name")
    use = ToolUse([_for_templates(tool) for tool in tools], is_parallel=asked["parallel_tool_calls"])
    if isinstance(choice, str):
        if choice == "required" and not tools:
            raise BadRequest("tool_choice asks for a call, and tools names no function.", param="tool_choice")
        return replace(use, is_required=choice == "required") if tools and choice != "none" else None
    if choice["type"] == "function":
        return replace(use, only=_known(choice["name"], names, "tool_choice.name"))
    wanted = {_known(one["name"], names, f"tool_choice.tools[{i}].name") for i, one in enumerate(choice["tools"])}
    allowed = [tool for tool in use.tools if tool["function"]["name"] in wanted]
    return replace(use, tools=allowed, is_required=choice["mode"] == "required")


def _known(name: str, names: list[str], path: str) -> str:
    if name not in names:
        known = f"one of tools: {', '.join(names[:10])}" if names else "one of tools, which names no function"
        raise BadRequest(f"{path} must be {known}; it is {name!r}.", param=path)
    return name


def _for_templates(tool: Asked) -> dict:
    """As chat templates know tools."""
    function = {name: tool[name] for name in ("name", "description", "parameters") if name in tool}
    return {"type": "function", "function": function | ({"strict": True} if tool["strict"] else {})}


def tools_as_answered(asked: Asked) -> list[dict]:
    return [
        {"type": "function", **{name: tool[name] for name in ("name", "description", "parameters", "strict")}}
        for tool in asked["tools"]
    ]


def choice_as_answered(asked: Asked) -> str | dict:
    choice = asked["tool_choice"]
    if isinstance(choice, str) or choice["type"] == "function":
        return choice
    return {**choice, "tools": [dict(one) for one in choice["tools"]]}

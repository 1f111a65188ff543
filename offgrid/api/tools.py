"""`tools` and `tool_choice`: which functions an answer may call, and whether it must."""

from dataclasses import replace
from typing import Any

from offgrid.api.fields import Asked, Field, Object, Variants, required
from offgrid.api.messages import CACHE_CONTROL, FUNCTION_NAME
from offgrid.api.shapes import Choice, Flag, ListOf, Shape, Text, wrong
from offgrid.errors import BadRequest
from offgrid.types import ToolUse

MAX_TOOLS = 128
CHOICES = ("none", "auto", "required")
ALIASES = {"any": "required"}  # Mistral's word, and Anthropic's


class Parameters(Shape):
    """The JSON Schema of a function's arguments, which `dialects/calls.py` reads."""

    wanted = "a JSON Schema, as an object"

    def read(self, value: Any, path: str) -> dict:
        if not isinstance(value, dict):
            raise wrong(path, self.wanted, value)
        return value

    def schema(self) -> dict:
        return {"type": "object"}


FUNCTION = Object(
    required("name", FUNCTION_NAME, "What it is called; each tool differently.", "add"),
    Field("description", Text(), "What it does, for the model."),
    Field("parameters", Parameters(), "A JSON Schema of its arguments; none when left out."),
    Field("strict", Flag(), "Refuse a schema that a grammar cannot hold the arguments to.", False),
)
NAMED = Object(required("name", FUNCTION_NAME, "One of the tools.", "add"))
TOOL = Variants(
    "type", {"function": Object(required("function", FUNCTION, "The function.", {"name": "add"}), CACHE_CONTROL)}
)
ONE = Object(required("function", NAMED, "Which.", {"name": "add"}))
SOME = [{"type": "function", "function": {"name": "add"}}]
ALLOWED = Object(
    required("mode", Choice(("auto", "required")), "Whether one of them must be called.", "auto"),
    required(
        "tools",
        ListOf(Variants("type", {"function": ONE}), MAX_TOOLS, 1, 'a list of {"type": "function", "function": …}'),
        "Which.",
        SOME,
    ),
)
SEVERAL = Object(required("allowed_tools", ALLOWED, "Some of the tools.", {"mode": "auto", "tools": SOME}))


class ToolChoice(Shape):
    """A word, or an object that names one function or some of the tools."""

    wanted = f"{', '.join(CHOICES)}, or an object that names a function"
    named = Variants("type", {"function": ONE, "allowed_tools": SEVERAL})
    flat = Variants("type", {"function": NAMED})  # as the Responses API has it, and clients that speak both

    def read(self, value: Any, path: str) -> str | Asked:
        if isinstance(value, dict):
            is_flat = "name" in value and "function" not in value
            return (self.flat if is_flat else self.named).read(value, path)
        value = ALIASES.get(value, value) if isinstance(value, str) else value
        if value not in CHOICES:
            raise wrong(path, self.wanted, value)
        return value

    def schema(self) -> dict:
        return {"anyOf": [{"type": "string", "enum": [*CHOICES, *ALIASES]}, self.named.schema(), self.flat.schema()]}


TOOLS = (
    Field("tools", ListOf(TOOL, MAX_TOOLS, says=f"a list of at most {MAX_TOOLS} tools"), "What may be called.", []),
    Field("tool_choice", ToolChoice(), "Whether something is called, and what; auto when there are tools."),
    Field("parallel_tool_calls", Flag(), "false: one call in an answer at most.", True),
)


def read_tool_use(asked: Asked) -> ToolUse | None:
    """What the request says about tools; None: none may be called. Raises BadRequest."""
    tools = [_tool(one["function"]) for one in asked["tools"]]
    _check_names(tools)
    use = ToolUse(tools, is_parallel=asked["parallel_tool_calls"])
    choice = asked["tool_choice"] or "auto"
    if isinstance(choice, str):
        use = replace(use, is_required=choice == "required")
    elif choice["type"] == "function":
        inner = choice.get("function")
        only = _known(inner, "tool_choice.function", use) if inner else _known(choice, "tool_choice", use)
        use = replace(use, only=only)
    else:
        use = _allowed(choice["allowed_tools"], use)
    if not tools and (use.is_required or use.only):
        raise BadRequest("tool_choice asks for a call, and tools names no function.", param="tool_choice")
    return use if tools and choice != "none" else None


def _tool(function: Asked) -> dict:
    """In OpenAI's shape, with what was given."""
    given = {name: function[name] for name in ("name", "description", "parameters") if name in function}
    return {"type": "function", "function": given | ({"strict": True} if function["strict"] else {})}


def _check_names(tools: list[dict]) -> None:
    names = [tool["function"]["name"] for tool in tools]
    for i, name in enumerate(names):
        if name in names[:i]:
            message = f"tools[{i}].function.name is {name}, and so is another one's. Names must differ."
            raise BadRequest(message, param=f"tools[{i}].function.name")


def _allowed(allowed: Asked, use: ToolUse) -> ToolUse:
    """Only some of the tools."""
    at = "tool_choice.allowed_tools.tools"
    names = {_known(one["function"], f"{at}[{i}].function", use) for i, one in enumerate(allowed["tools"])}
    tools = [tool for tool in use.tools if tool["function"]["name"] in names]
    return replace(use, tools=tools, is_required=allowed["mode"] == "required")


def _known(function: Asked, path: str, use: ToolUse) -> str:
    """The name of one of the tools."""
    name, names = function["name"], [tool["function"]["name"] for tool in use.tools]
    if name not in names:
        raise wrong(path + ".name", "one of tools: " + ", ".join(names[:10]) if names else "one of tools", name)
    return name

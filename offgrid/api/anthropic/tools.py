"""`tools` and `tool_choice` in Anthropic's shape, read into what every model here is told."""

from dataclasses import replace
from typing import Any

from offgrid.api.anthropic.blocks import CACHE_CONTROL, TOOL_NAME
from offgrid.api.fields import Asked, Field, Ignored, Object, Variants, required
from offgrid.api.shapes import Choice, Flag, ListOf, Text, wrong
from offgrid.api.tools import MAX_TOOLS, Parameters
from offgrid.errors import BadRequest
from offgrid.types import ToolUse


class Tool(Object):
    """A tool of the caller's own."""

    def read(self, value: Any, path: str) -> Asked:
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind != "custom":
            message = (
                f"{path} is of the type {kind[:80]}: tools that Anthropic defines do not exist here. "
                "Send tools of your own, with name, description and input_schema."
            )
            raise BadRequest(message, param=f"{path}.type")
        return super().read(value, path)


_ALL = "All tools are in the prompt."
TOOL = Tool(
    required("name", TOOL_NAME, "What it is called; each tool differently.", "add"),
    required("input_schema", Parameters(), "A JSON Schema of its arguments.", {"type": "object"}),
    Field("description", Text(), "What it does, for the model."),
    Field("type", Choice(("custom",)), "The only one there is.", "custom"),
    Field("strict", Flag(), "Refuse a schema that a grammar cannot hold the arguments to.", False),
    Ignored("input_examples", "The schema and the description are what the model is told."),
    Ignored("eager_input_streaming", "Arguments are always streamed as they come."),
    Ignored("defer_loading", _ALL),
    Ignored("allowed_callers", "The model calls, nobody else."),
    CACHE_CONTROL,
)
_ONE = Field("disable_parallel_tool_use", Flag(), "One call in an answer at most.", False)
CHOICE = Variants(
    "type",
    {
        "auto": Object(_ONE),
        "any": Object(_ONE),
        "tool": Object(required("name", TOOL_NAME, "One of the tools.", "add"), _ONE),
        "none": Object(_ONE),
    },
)
TOOLS = (
    Field("tools", ListOf(TOOL, MAX_TOOLS, says=f"a list of at most {MAX_TOOLS} tools"), "What may be called.", []),
    Field("tool_choice", CHOICE, "Whether a tool is called, and which.", {"type": "auto"}),
)


def read_tool_use(asked: Asked) -> ToolUse | None:
    """What the request says about tools; None: none may be called. Raises BadRequest."""
    names = [tool["name"] for tool in asked["tools"]]
    for i, name in enumerate(names):
        if name in names[:i]:
            message = f"tools[{i}].name is {name}, and so is another one's. Names must differ."
            raise BadRequest(message, param=f"tools[{i}].name")
    choice = asked["tool_choice"]
    use = ToolUse(
        [_tool(tool) for tool in asked["tools"]],
        is_required=choice["type"] == "any",
        is_parallel=not choice["disable_parallel_tool_use"],
        schema_at="input_schema",
    )
    if choice["type"] == "tool":
        if choice["name"] not in names:
            raise wrong("tool_choice.name", "one of tools: " + ", ".join(names[:10]), choice["name"])
        use = replace(use, only=choice["name"])
    if use.is_required and not names:
        raise BadRequest("tool_choice asks for a call, and tools names no tool.", param="tool_choice")
    return use if names and choice["type"] != "none" else None


def _tool(tool: Asked) -> dict:
    """In OpenAI's shape, as templates know it."""
    function = {"name": tool["name"], "description": tool["description"], "parameters": tool["input_schema"]}
    given = {name: value for name, value in function.items() if value is not None}
    return {"type": "function", "function": given | ({"strict": True} if tool["strict"] else {})}

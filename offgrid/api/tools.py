"""`tools` and `tool_choice`: which functions an answer may call, and whether it must; and calls of earlier turns."""

import json
import re
from dataclasses import replace

from offgrid.api.fields import Fields, kind_of
from offgrid.errors import BadRequest
from offgrid.types import ToolUse

MAX_TOOLS = 128
MAX_CALLS = 128  # in one earlier turn
NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")  # OpenAI's, and dots
NAME_WANTED = "1 to 64 letters, digits, _ . or -"
CHOICES = ("none", "auto", "required")


def read_tool_use(fields: Fields) -> ToolUse | None:
    """What the request says about tools; None: none may be called. Raises BadRequest."""
    tools = _tools(fields)
    is_parallel = fields.boolean("parallel_tool_calls", True)
    choice = fields.take("tool_choice")
    if choice is None:
        choice = "auto" if tools else "none"
    if isinstance(choice, str):
        if choice not in CHOICES:
            raise fields.refuse("tool_choice", f"{', '.join(CHOICES)}, or an object that names a function", choice)
        use = ToolUse(tools, is_required=choice == "required", is_parallel=is_parallel)
    else:
        use = _chosen(fields, ToolUse(tools, is_parallel=is_parallel))
        choice = ""
    if not tools and (use.is_required or use.only):
        raise BadRequest("tool_choice asks for a call, and tools names no function.", param="tool_choice")
    return use if tools and choice != "none" else None


def _tools(fields: Fields) -> list[dict]:
    tools = fields.take("tools")
    if tools is None:
        return []
    if not isinstance(tools, list) or len(tools) > MAX_TOOLS:
        raise fields.refuse("tools", f"a list of at most {MAX_TOOLS} tools", tools)
    read = [_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools)]
    names = [tool["function"]["name"] for tool in read]
    for i, name in enumerate(names):
        if name in names[:i]:
            message = f"tools[{i}].function.name is {name}, and so is another one's. Names must differ."
            raise BadRequest(message, param=f"tools[{i}].function.name")
    return read


def _tool(value: object, path: str) -> dict:
    if not isinstance(value, dict):
        raise BadRequest(f'{path} must be {{"type": "function", "function": …}}; it is {kind_of(value)}.', param=path)
    fields = Fields(value, path + ".")
    if (kind := fields.take("type")) != "function":
        raise fields.refuse("type", '"function": models here call no others', kind)
    function = fields.mapping("function")
    tool: dict = {"name": _name(function)}
    if (description := function.string("description")) is not None:
        tool["description"] = description
    parameters = function.take("parameters")
    if parameters is not None:
        if not isinstance(parameters, dict):
            raise function.refuse("parameters", "a JSON Schema, as an object", parameters)
        tool["parameters"] = parameters
    if function.boolean("strict"):
        tool["strict"] = True
    function.finish()
    fields.finish()
    return {"type": "function", "function": tool}


def _name(function: Fields) -> str:
    name = function.take("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise function.refuse("name", NAME_WANTED, name)
    return name


def _chosen(fields: Fields, use: ToolUse) -> ToolUse:
    """The choice as an object: one function, or some of the tools."""
    choice = fields.mapping("tool_choice")
    kind = choice.take("type")
    if kind == "function":
        name = _known(choice.mapping("function"), use)
        choice.finish()
        return replace(use, only=name)
    if kind != "allowed_tools":
        raise choice.refuse("type", '"function" or "allowed_tools"', kind)
    allowed = choice.mapping("allowed_tools")
    mode = allowed.take("mode")
    if mode not in ("auto", "required"):
        raise allowed.refuse("mode", '"auto" or "required"', mode)
    entries = allowed.take("tools")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise allowed.refuse("tools", 'a list of {"type": "function", "function": {"name": …}}', entries)
    names = set()
    for i, entry in enumerate(entries):
        one = Fields(entry, f"tool_choice.allowed_tools.tools[{i}].")
        if (kind := one.take("type")) != "function":
            raise one.refuse("type", '"function"', kind)
        names.add(_known(one.mapping("function"), use))
        one.finish()
    allowed.finish()
    choice.finish()
    return replace(use, tools=[t for t in use.tools if t["function"]["name"] in names], is_required=mode == "required")


def _known(function: Fields, use: ToolUse) -> str:
    """The name of one of the tools."""
    name = function.take("name")
    names = [tool["function"]["name"] for tool in use.tools]
    if name not in names:
        raise function.refuse("name", "one of tools: " + ", ".join(names[:10]) if names else "one of tools", name)
    function.finish()
    return name


def read_calls(message: Fields) -> list[dict]:
    """`tool_calls` of an earlier answer, as chat templates know them."""
    calls = message.take("tool_calls")
    if calls is None:
        return []
    if not isinstance(calls, list) or len(calls) > MAX_CALLS:
        raise message.refuse("tool_calls", f"a list of at most {MAX_CALLS} calls", calls)
    return [_call(message, call, i) for i, call in enumerate(calls)]


def _call(message: Fields, value: object, i: int) -> dict:
    if not isinstance(value, dict):
        raise message.refuse(f"tool_calls[{i}]", "an object with id, type and function", value)
    call = Fields(value, message.path_of(f"tool_calls[{i}]."))
    if (kind := call.take("type")) not in (None, "function"):
        raise call.refuse("type", '"function"', kind)
    function = call.mapping("function")
    name = _name(function)
    arguments = function.take("arguments")
    if isinstance(arguments, dict):  # as Ollama's clients keep them
        arguments = json.dumps(arguments, ensure_ascii=False)
    if arguments is not None and not isinstance(arguments, str):
        raise function.refuse("arguments", "JSON as a string", arguments)
    function.finish()
    call_id = call.string("id", f"call_{i}")
    call.ignore("index")  # of a streamed call; some clients keep it
    call.finish()
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments or "{}"}}

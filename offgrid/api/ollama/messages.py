"""`messages` as Ollama's clients send them, read into what chat templates take.

Two things differ from OpenAI's: the arguments of calls are objects, and a result may name its tool instead of its call.
"""

from typing import Any

from offgrid.api.fields import Asked, Field, Ignored, Object, Unsupported, required
from offgrid.api.messages import FUNCTION_NAME, MAX_CALLS, MAX_MESSAGES, Arguments
from offgrid.api.shapes import Choice, ListOf, Text

ROLES = ("system", "user", "assistant", "tool")

CALLED = Object(
    required("name", FUNCTION_NAME, "Which function.", "add"),
    Field("arguments", Arguments(), "What it was called with: an object."),
    Ignored("index", "Its place among the calls, which is its place in the list."),
)
CALL = Object(
    Field("id", Text(), "What its result refers to."),
    Field("type", Choice(("function",)), "The only one there is."),
    required("function", CALLED, "The call.", {"name": "add", "arguments": {}}),
)
IMAGES = Unsupported("images", "models here read text only; images come later.", [])
MESSAGE = Object(
    required("role", Choice(ROLES), "Who says it.", "user"),
    Field("content", Text(), "What is said.", ""),
    Field("thinking", Text(), "What it thought before it answered."),
    Field("tool_calls", ListOf(CALL, MAX_CALLS, says=f"a list of at most {MAX_CALLS} calls"), "What it called.", []),
    Field("tool_name", Text(), "Of a result: which tool's."),
    Field("tool_call_id", Text(), "Of a result: which call's."),
    Field("name", Text(), "Who says it, for templates that show it; of a result: which tool's."),
    IMAGES,
)
MESSAGES = Field(
    "messages",
    ListOf(MESSAGE, MAX_MESSAGES, says="a list of messages"),
    "The conversation so far; without any, the model is only loaded.",
    [],
    example=[{"role": "user", "content": "Hello!"}],
)


def conversation(messages: tuple[Asked, ...]) -> list[dict]:
    """The messages as chat templates know them: OpenAI's, with an id for each call and result."""
    written: list[dict] = []
    waiting: list[dict] = []  # calls without a result so far
    for asked in messages:
        message: dict[str, Any] = {"role": asked["role"], "content": asked["content"]}
        if name := asked["tool_name"] or asked["name"]:
            message["name"] = name
        if asked["role"] == "tool":
            message |= _result(asked["tool_call_id"], name, waiting)
        if asked["role"] == "assistant":
            if asked["thinking"]:
                message["reasoning_content"] = asked["thinking"]
            if calls := [_call(call, f"call_{len(written)}_{i}") for i, call in enumerate(asked["tool_calls"])]:
                message["tool_calls"] = calls
                waiting = waiting + calls
        written.append(message)
    return written


def _call(asked: Asked, id: str) -> dict:
    function = {"name": asked["function"]["name"], "arguments": asked["function"]["arguments"] or "{}"}
    return {"id": asked["id"] or id, "type": "function", "function": function}


def _result(call_id: str | None, name: str | None, waiting: list[dict]) -> dict:
    """The id and the name of a result; without an id it is that of the first call which waits for one, of its tool."""
    for call in waiting:
        if call["id"] == call_id or (not call_id and name in (None, call["function"]["name"])):
            waiting.remove(call)
            return {"tool_call_id": call["id"], "name": call["function"]["name"]}
    return {"tool_call_id": call_id} if call_id else {}

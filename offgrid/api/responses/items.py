"""Items: what `input` holds. Read from a request into the form in which they are kept, listed and answered; and from
that form into the messages that a chat template takes.

A turn of the assistant may be several items (thinking, text, calls): to a template they are one message.
"""

import secrets
from typing import Any

from offgrid.api.fields import Asked, Field, Ignored, Object, required
from offgrid.api.messages import FUNCTION_NAME
from offgrid.api.responses.kinds import Kinds
from offgrid.api.shapes import Choice, ListOf, Shape, Text
from offgrid.errors import NotFound

MAX_ITEMS = 10_000
MAX_PARTS = 1000  # of one item
MAX_ID_CHARS = 256

NO_MEDIA = "this version reads text only."
ID = Field("id", Text(1, MAX_ID_CHARS), "Its id, where an answer gave it one.")
STATUSES = ("in_progress", "completed", "incomplete")
STATUS = Field("status", Choice(STATUSES), "Whether it is whole.", "completed")
NO_MEANING = "Has no meaning here."
CALL_ID = required("call_id", Text(1, MAX_ID_CHARS), "Which call it is.", "call_1")
OF_TOOLS = tuple(Ignored(name, NO_MEANING) for name in ("caller", "namespace"))
TEXT = required("text", Text(), "The text.", "Hello!")

MESSAGE_PARTS = Kinds(
    {
        "input_text": Object(TEXT, Ignored("prompt_cache_breakpoint", NO_MEANING)),
        "output_text": Object(TEXT, *(Ignored(name, NO_MEANING) for name in ("annotations", "logprobs", "parsed"))),
        "refusal": Object(required("refusal", Text(), "Why there is no answer.", "No.")),
    },
    dict.fromkeys(("input_image", "input_file", "input_audio"), NO_MEDIA),
)
RESULT_PARTS = Kinds(
    {"input_text": Object(TEXT, Ignored("prompt_cache_breakpoint", NO_MEANING))},
    dict.fromkeys(("input_image", "input_file"), NO_MEDIA),
)
THOUGHTS = Kinds({"reasoning_text": Object(TEXT)}, {})
SUMMARIES = Kinds({"summary_text": Object(TEXT)}, {})


class TextOrParts(Shape):
    """A string, or a list of parts; read as it came, with parts read by their shape."""

    wanted = "a string or a list of parts"

    def __init__(self, parts: Kinds):
        self.parts = ListOf(parts, MAX_PARTS, says=self.wanted)

    def read(self, value: Any, path: str) -> str | tuple[Asked, ...]:
        return value if isinstance(value, str) else self.parts.read(value, path)

    def schema(self) -> dict:
        return {"anyOf": [{"type": "string"}, self.parts.schema()]}


ELSEWHERE = "it belongs to a tool that only OpenAI runs. Leave it out."
FOREIGN = (
    *("file_search_call", "web_search_call", "computer_call", "computer_call_output", "image_generation_call"),
    *("code_interpreter_call", "local_shell_call", "local_shell_call_output", "shell_call", "shell_call_output"),
    *("apply_patch_call", "apply_patch_call_output", "mcp_list_tools", "mcp_approval_request"),
    *("mcp_approval_response", "mcp_call", "tool_search_call", "tool_search_output", "additional_tools"),
    *("program", "program_output", "compaction", "compaction_trigger", "configuration_update"),
)
REFERENCE = "item_reference"
NO_CUSTOM = "tools with free text are not supported by this version of OffGrid; make it a function."
ITEM = Kinds(
    {
        "message": Object(
            required("role", Choice(("user", "assistant", "system", "developer")), "Who says it.", "user"),
            required("content", TextOrParts(MESSAGE_PARTS), "What is said.", "Hello!"),
            *(ID, STATUS, Ignored("phase", NO_MEANING)),
        ),
        "function_call": Object(
            CALL_ID,
            required("name", FUNCTION_NAME, "The function.", "get_weather"),
            required("arguments", Text(), "JSON, as text.", "{}"),
            *(ID, STATUS, *OF_TOOLS, Ignored("async", NO_MEANING), Ignored("parsed_arguments", NO_MEANING)),
        ),
        "function_call_output": Object(
            CALL_ID,
            required("output", TextOrParts(RESULT_PARTS), "What the function returned.", "Sunny"),
            *(ID, STATUS, *OF_TOOLS, Ignored("name", "The call that it belongs to says it.")),
        ),
        "reasoning": Object(
            Field("content", ListOf(THOUGHTS, MAX_PARTS), "The thoughts.", []),
            Field("summary", ListOf(SUMMARIES, MAX_PARTS), "What another server tells of them.", []),
            *(ID, STATUS, Ignored("encrypted_content", "Only who encrypted it can read it.")),
        ),
        REFERENCE: Object(required("id", Text(1, MAX_ID_CHARS), "An item of a kept response, to stand here.", "msg_1")),
    },
    {
        "custom_tool_call": NO_CUSTOM,
        "custom_tool_call_output": NO_CUSTOM,
        **dict.fromkeys(FOREIGN, ELSEWHERE),
    },
    usual="message",
)


class Input(Shape):
    """A text, or items. Read as a list of items in the form in which they are kept; references are what they were."""

    wanted = "a string, or a list of at least one item"
    items = ListOf(ITEM, MAX_ITEMS, 1, wanted)

    def read(self, value: Any, path: str) -> list[dict]:
        if isinstance(value, str):
            value = [{"role": "user", "content": value}]
        return [_kept(item) for item in self.items.read(value, path)]

    def schema(self) -> dict:
        return {"anyOf": [{"type": "string"}, self.items.schema()]}


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(24)}"


def _kept(item: Asked) -> dict:
    """An item as it is kept, listed and answered."""
    match item["type"]:
        case "message":
            role = item["role"]
            kind = "output_text" if role == "assistant" else "input_text"
            return _about(item, "msg") | {"role": role, "content": _parts(item["content"], kind)}
        case "function_call":
            return _about(item, "fc") | {name: item[name] for name in ("call_id", "name", "arguments")}
        case "function_call_output":
            output = item["output"]
            output = output if isinstance(output, str) else _parts(output, "input_text")
            return _about(item, "fco") | {"call_id": item["call_id"], "output": output}
        case "reasoning":
            return _about(item, "rs") | {name: list(map(dict, item[name])) for name in ("summary", "content")}
        case _:
            return {"type": REFERENCE, "id": item["id"]}


def referred_ids(items: list[dict]) -> set[str]:
    """The ids of the items that are only referred to."""
    return {item["id"] for item in items if item["type"] == REFERENCE}


def with_referred(items: list[dict], found: dict[str, dict]) -> list[dict]:
    """The items, with those that are meant in the place of references to them. Raises NotFound, naming the first that
    is not among `found`."""
    for i, item in enumerate(items):
        if item["type"] == REFERENCE and item["id"] not in found:
            message = (
                f"There is no item {item['id']!r}: items are found by their id while the response that holds them is "
                "kept, so not after store: false. Send the item itself."
            )
            raise NotFound(message, code="item_not_found", param=f"input[{i}].id")
    return [found[item["id"]] if item["type"] == REFERENCE else item for item in items]


def _about(item: Asked, prefix: str) -> dict:
    return {"id": item["id"] or new_id(prefix), "type": item["type"], "status": item["status"]}


def _parts(content: str | tuple[Asked, ...], kind: str) -> list[dict]:
    """`kind` is that of texts: what somebody says, or what the assistant has said."""
    texts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
    return [
        {"type": "refusal", "refusal": part["refusal"]}
        if part["type"] == "refusal"
        else {"type": kind, "text": part["text"]} | ({"annotations": []} if kind == "output_text" else {})
        for part in texts
    ]


# --- for the chat template ---


def messages_of(items: list[dict], instructions: str | None) -> list[dict]:
    """The messages of a conversation, as GenerateRequest has them."""
    messages = [{"role": "system", "content": instructions}] if instructions else []
    turn: dict | None = None  # the assistant's message that further items belong to
    for item in items:
        kind = item["type"]
        if kind == "function_call_output":
            messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": _text(item["output"])})
            turn = None
        elif kind == "message" and item["role"] != "assistant":
            role = "user" if item["role"] == "user" else "system"  # what developers say, too
            messages.append({"role": role, "content": _text(item["content"])})
            turn = None
        else:
            if turn is None or not _goes_on(turn, kind):
                turn = {"role": "assistant", "content": ""}
                messages.append(turn)
            _add(turn, item)
    return messages


def _goes_on(turn: dict, kind: str) -> bool:
    """Whether an item of that kind belongs to the same turn: thoughts, then a text, then calls."""
    if kind == "function_call":
        return True
    if "tool_calls" in turn or turn["content"]:
        return False
    return kind == "message" or "reasoning_content" not in turn


def _add(turn: dict, item: dict) -> None:
    match item["type"]:
        case "message":
            turn["content"] = _text(item["content"])
        case "reasoning":
            if thought := _text(item["content"] or item["summary"]):
                turn["reasoning_content"] = thought
        case "function_call":
            function = {"name": item["name"], "arguments": item["arguments"] or "{}"}
            turn.setdefault("tool_calls", []).append({"id": item["call_id"], "type": "function", "function": function})


def _text(content: str | list[dict]) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["refusal"] if part["type"] == "refusal" else part["text"] for part in content)

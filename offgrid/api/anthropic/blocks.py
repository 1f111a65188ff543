"""`messages` and `system` in Anthropic's shape, read into what chat templates take.

There a message is a list of blocks, and results of tools are blocks of the user's; here they are messages of their own,
and calls and thoughts belong to the assistant's message. Texts of one message are put together as paragraphs.
"""

import json
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from offgrid.api.fields import Asked, Field, Ignored, Object, Variants, required
from offgrid.api.messages import MAX_MESSAGES
from offgrid.api.shapes import Flag, ListOf, Shape, Text, wrong
from offgrid.errors import BadRequest

TOOL_NAME = Text(pattern="[a-zA-Z0-9_.-]{1,128}", says="1 to 128 letters, digits, _ . or -")
CACHE_CONTROL = Ignored("cache_control", "Prompts' beginnings are always kept and shared.")
# The block that Claude Code puts first: another text in every request, and no part of what the model is to know.
BILLING = "x-anthropic-billing-header:"

_NO_SERVERS = "tools of Anthropic's own servers do not run here"
_NO_SOURCES = "sources are not read yet; send what they say as text"
# Types of blocks that Anthropic has and this version does not → why.
NOT_HERE = {
    "image": "this version reads text only; images come later",
    "search_result": _NO_SOURCES,
    "browser_state": _NO_SOURCES,
    "container_upload": _NO_SERVERS,
    "server_tool_use": _NO_SERVERS,
    "mcp_tool_use": _NO_SERVERS,
    "mcp_tool_result": _NO_SERVERS,
    "tool_reference": _NO_SERVERS,
    "tool_search_tool_result": _NO_SERVERS,
    "web_search_tool_result": _NO_SERVERS,
    "web_fetch_tool_result": _NO_SERVERS,
    "code_execution_tool_result": _NO_SERVERS,
    "bash_code_execution_tool_result": _NO_SERVERS,
    "text_editor_code_execution_tool_result": _NO_SERVERS,
}


NO_FILES = "this version reads documents that are sent as text only; files come later"


class Source(Variants):
    """Where the text of a document is; read as the text."""

    def __init__(self):
        text = Object(required("data", Text(), "The text.", "Hello!"), Ignored("media_type", "It is plain text."))
        super().__init__("type", {"text": text})

    def read(self, value: Any, path: str) -> str:
        kind = value.get("type") if isinstance(value, dict) else None
        if kind in ("base64", "url", "file", "content"):
            raise BadRequest(f"{path} is of the type {kind}: {NO_FILES}.", param=path)
        return super().read(value, path)["data"]


class Blocks(Variants):
    """One content block, told apart by its type; a document is read as the text that it is."""

    def read(self, value: Any, path: str) -> Asked:
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind in NOT_HERE:
            raise BadRequest(f"{path} is a block of the type {kind}: {NOT_HERE[kind]}.", param=path)
        block = super().read(value, path)
        if block["type"] == "document":
            lines = (block[name] for name in ("title", "context", "source"))
            block |= {"type": "text", "text": "\n".join(line for line in lines if line)}
        return block


class Content(Shape):
    """A text, or a list of blocks; read as blocks."""

    wanted = "a string or a list of content blocks"

    def __init__(self, **kinds: Object):
        self.blocks = Blocks("type", {"text": TEXT, **kinds})

    def read(self, value: Any, path: str) -> tuple[Asked, ...]:
        if isinstance(value, str):
            return (self.blocks.read({"type": "text", "text": value}, path),)
        if not isinstance(value, list):
            raise wrong(path, self.wanted, value)
        return tuple(self.blocks.read(block, f"{path}[{i}]") for i, block in enumerate(value))

    def schema(self) -> dict:
        return {"anyOf": [{"type": "string"}, {"type": "array", "items": self.blocks.schema()}]}


class Json(Shape):
    """An object of any names; read as its JSON."""

    wanted = "an object"

    def read(self, value: Any, path: str) -> str:
        if not isinstance(value, dict):
            raise wrong(path, self.wanted, value)
        return json.dumps(value, ensure_ascii=False)

    def schema(self) -> dict:
        return {"type": "object"}


TEXT = Object(
    required("text", Text(), "The text.", "Hello!"),
    Ignored("citations", "What an earlier answer cited is not read again."),
    CACHE_CONTROL,
)
DOCUMENT = Object(
    required("source", Source(), "The text of the document.", {"type": "text", "data": "Hello!"}),
    Field("title", Text(), "Its title, for the model."),
    Field("context", Text(), "What else is known of it, for the model."),
    Ignored("citations", "What an earlier answer cited is not read again."),
    CACHE_CONTROL,
)
TEXTS = Content()
_TOOLSET = Ignored("toolset_name", "There are no toolsets.")
RESULT = Object(
    required("tool_use_id", Text(1), "The call that this is the result of.", "toolu_1"),
    Field("content", Content(document=DOCUMENT), "What the tool returned.", ""),
    Field("is_error", Flag(), "The tool failed: its text begins with Error: in the prompt.", False),
    _TOOLSET,
    CACHE_CONTROL,
)
CALL = Object(
    required("id", Text(1), "What its result refers to.", "toolu_1"),
    required("name", TOOL_NAME, "Which tool.", "add"),
    required("input", Json(), "What it was called with.", {}),
    Ignored("caller", "The model calls, nobody else."),
    _TOOLSET,
    CACHE_CONTROL,
)
THOUGHT = Object(
    required("thinking", Text(), "What it thought.", "Hm."),
    Ignored("signature", "Nobody checks it."),
)
HIDDEN = Object(Ignored("data", "What Anthropic's servers have encrypted nobody here can read."))


class Message(Variants):
    """Read as the messages that chat templates take for it."""

    def __init__(self):
        said = "What is said."
        contents = {
            "user": Content(tool_result=RESULT, document=DOCUMENT),
            "assistant": Content(thinking=THOUGHT, redacted_thinking=HIDDEN, tool_use=CALL),
            "system": TEXTS,
        }
        super().__init__(
            "role", {role: Object(required("content", shape, said, "Hello!")) for role, shape in contents.items()}
        )

    def read(self, value: Any, path: str) -> list[dict]:
        asked = super().read(value, path)
        return TURNS[asked["role"]](asked["content"])


class Messages(ListOf):
    """Read as one list of what chat templates take."""

    def read(self, value: Any, path: str) -> tuple[dict, ...]:
        return tuple(message for turn in super().read(value, path) for message in turn)


MESSAGES = required(
    "messages",
    Messages(Message(), MAX_MESSAGES, 1, "a list of at least one message"),
    "The conversation so far.",
    [{"role": "user", "content": "Hello!"}],
)
SYSTEM = Field("system", TEXTS, "What the model is to be and to know.")


def system_messages(blocks: tuple[Asked, ...] | None) -> list[dict]:
    """What `system` is as messages: one, or none."""
    text = joined(block for block in blocks or () if not block["text"].startswith(BILLING))
    return [{"role": "system", "content": text}] if text else []


def joined(blocks: Iterable[Asked]) -> str:
    """The texts among the blocks."""
    return "\n\n".join(block["text"] for block in blocks if block["type"] == "text" and block["text"])


def _user(blocks: tuple[Asked, ...]) -> list[dict]:
    """Results of tools, and the text between and after them."""
    messages = []
    for kind, run in groupby(blocks, key=lambda block: block["type"]):
        alike = tuple(run)
        messages += [{"role": "user", "content": joined(alike)}] if kind == "text" else map(_result, alike)
    return messages or [{"role": "user", "content": ""}]


def _result(block: Asked) -> dict:
    text = joined(block["content"])
    content = f"Error: {text}" if block["is_error"] else text
    return {"role": "tool", "tool_call_id": block["tool_use_id"], "content": content}


def _assistant(blocks: tuple[Asked, ...]) -> list[dict]:
    message: dict = {"role": "assistant", "content": joined(blocks)}
    if calls := [_call(block) for block in blocks if block["type"] == "tool_use"]:
        message["tool_calls"] = calls
    if thoughts := [block["thinking"] for block in blocks if block["type"] == "thinking" and block["thinking"]]:
        message["reasoning_content"] = "\n\n".join(thoughts)
    return [message]


def _call(block: Asked) -> dict:
    return {
        "id": block["id"],
        "type": "function",
        "function": {"name": block["name"], "arguments": block["input"]},
    }


def _system(blocks: tuple[Asked, ...]) -> list[dict]:
    return [{"role": "system", "content": joined(blocks)}]


TURNS = {"user": _user, "assistant": _assistant, "system": _system}

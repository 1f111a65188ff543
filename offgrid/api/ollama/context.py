"""`context` of /api/generate: the conversation so far, as the numbers that a client sends back with its next request.

With Ollama these are tokens. Here they are the bytes of the messages, so that the next prompt is made by the model's
template from all of them, and nothing that somebody wrote can become a control token on the way.
"""

import json
from collections.abc import Callable
from typing import Any

from offgrid.api.ollama.wire import compact
from offgrid.api.shapes import Shape, wrong

MAX_NUMBERS = 8_000_000
ROLES = ("system", "user", "assistant")


class Context(Shape):
    """Read as messages."""

    wanted = "the context of an earlier answer of this server"

    def read(self, value: Any, path: str) -> list[dict]:
        if not isinstance(value, list) or len(value) > MAX_NUMBERS:
            raise wrong(path, self.wanted, value)
        if not value:
            return []
        try:
            turns = json.loads(bytes(value))
            messages = [{"role": role, "content": text} for role, text in turns]
        except (ValueError, TypeError, OverflowError, RecursionError):  # tokens of another server, say
            raise wrong(path, self.wanted, value) from None
        if not all(m["role"] in ROLES and isinstance(m["content"], str) for m in messages):
            raise wrong(path, self.wanted, value)
        return messages

    def schema(self) -> dict:
        byte = {"type": "integer", "minimum": 0, "maximum": 255}
        return {"type": "array", "items": byte, "maxItems": MAX_NUMBERS}


def context_maker(messages: list[dict]) -> Callable[[str], list[int]]:
    """What makes the context of a conversation from its answer; what is known before the answer is written once."""
    before = compact([[m["role"], m["content"]] for m in messages])[:-1] + ","

    def with_answer(text: str) -> list[int]:
        return list((before + compact(["assistant", text]) + "]").encode("utf-8", "replace"))

    return with_answer

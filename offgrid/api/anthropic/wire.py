"""Anthropic's wire format of a message: pure functions from events to JSON and to the bytes of a stream.

Order of a stream: message_start, then each content block (start, deltas, stop), message_delta with the reason and the
usage, message_stop. A block is what comes without a change between thinking, text and a call. `input_tokens` are those
that were computed; those taken from the cache count apart, as Anthropic has it.
"""

import json
import secrets
from itertools import groupby
from json.encoder import encode_basestring
from typing import ClassVar

from offgrid.api.error_body import error_body
from offgrid.errors import ApiError
from offgrid.types import Begun, CallArguments, CallBegun, Delta, Finish, Part, Thought, Usage
from offgrid.web import sse

# Nothing here is signed; it is not empty because clients take a thought without one for an unfinished one.
SIGNATURE = "unsigned"


class AnthropicEncoder:
    """One answer, whole or as a stream. A `generate.Encoder` that is told the begin."""

    n_choices: ClassVar = 1
    content_type: ClassVar = sse.CONTENT_TYPE
    silence: ClassVar = b'event: ping\ndata: {"type": "ping"}\n\n'

    def __init__(self, model: str, max_tokens: int, request_id: str, more: dict, *, shows_thoughts: bool):
        """`more`: members of the message, and in a stream of message_delta.

        `shows_thoughts` False: that something was thought is told, and not what.
        """
        self._more = more
        self._max_tokens = max_tokens
        self._request_id = request_id
        self._shows_thoughts = shows_thoughts
        self._about = {"id": "msg_" + secrets.token_hex(12), "type": "message", "role": "assistant", "model": model}
        self._begun = Begun(0)
        self._is_started = False
        self._n_blocks = 0
        self._kind: type[Part] | None = None  # of the block that is open
        self._head = ""  # of its deltas, up to their text

    def whole(self, parts: list[list[Part]], ends: list[Finish]) -> dict:
        [own], [end] = parts, ends
        content = [self._block(kind, list(run)) for kind, run in groupby(own, key=_Blocks())]
        return {**self._about, "content": content, **self._ending(end), "usage": _usage(end.usage), **self._more}

    def begin(self, begun: Begun) -> None:
        self._begun = begun

    def part(self, _index: int, part: Part) -> bytes:
        kind = Delta if isinstance(part, Delta) else Thought if isinstance(part, Thought) else CallBegun
        events = ""
        if kind is not self._kind or isinstance(part, CallBegun):
            events = self._start() + self._close() + self._open(kind, part)
        if isinstance(part, CallBegun) or (kind is Thought and not self._shows_thoughts):
            return events.encode("utf-8", "replace")
        return f"{events}{self._head}{encode_basestring(part.text)}}}}}\n\n".encode("utf-8", "replace")

    def finish(self, _index: int, end: Finish, _ends: list[Finish]) -> bytes:
        delta = {"type": "message_delta", "delta": self._ending(end), "usage": _usage(end.usage), **self._more}
        events = self._start() + self._close() + _event(delta) + _event({"type": "message_stop"})
        return events.encode("utf-8", "replace")

    def error(self, error: ApiError) -> bytes:
        return _event(error_body(error, "anthropic", self._request_id)).encode("utf-8", "replace")

    def _start(self) -> str:
        if self._is_started:
            return ""
        self._is_started = True
        usage = _usage(Usage(self._begun.prompt_tokens, 0, self._begun.cached_tokens))
        message = {**self._about, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        return _event({"type": "message_start", "message": message})

    def _open(self, kind: type[Part], first: Part) -> str:
        block, name, key = {
            Delta: ({"type": "text", "text": ""}, "text_delta", "text"),
            Thought: ({"type": "thinking", "thinking": "", "signature": ""}, "thinking_delta", "thinking"),
            CallBegun: (None, "input_json_delta", "partial_json"),
        }[kind]
        if block is None:
            block = {"type": "tool_use", "id": tool_use_id(), "name": first.name, "input": {}}
        index, self._kind = self._n_blocks, kind
        self._n_blocks += 1
        start = '{"type":"content_block_delta","index":%d,"delta":{"type":"%s","%s":'
        self._head = "event: content_block_delta\ndata: " + start % (index, name, key)
        return _event({"type": "content_block_start", "index": index, "content_block": block})

    def _close(self) -> str:
        """The end of the block that is open, if one is."""
        kind, index, self._kind = self._kind, self._n_blocks - 1, None
        if kind is None:
            return ""
        events = _event({"type": "content_block_stop", "index": index})
        if kind is Thought:
            delta = {"type": "signature_delta", "signature": SIGNATURE}
            events = _event({"type": "content_block_delta", "index": index, "delta": delta}) + events
        return events

    def _block(self, kind: tuple[type[Part], int], parts: list[Part]) -> dict:
        """One content block of a whole answer."""
        if kind[0] is CallBegun:
            text = "".join(part.text for part in parts[1:])
            return {"type": "tool_use", "id": tool_use_id(), "name": parts[0].name, "input": _read_input(text)}
        text = "".join(part.text for part in parts)
        if kind[0] is Thought:
            return {"type": "thinking", "thinking": text if self._shows_thoughts else "", "signature": SIGNATURE}
        return {"type": "text", "text": text}

    def _ending(self, end: Finish) -> dict:
        reason = "tool_use" if end.reason == "tool_calls" else "end_turn"
        if end.reason == "length":
            is_own_limit = end.usage.completion_tokens >= self._max_tokens
            reason = "max_tokens" if is_own_limit else "model_context_window_exceeded"
        elif end.reason == "stop" and end.stop:
            reason = "stop_sequence"
        return {"stop_reason": reason, "stop_sequence": end.stop if reason == "stop_sequence" else None}


class _Blocks:
    """A key for `groupby`: equal for parts of one block."""

    def __init__(self):
        self._n_calls = 0

    def __call__(self, part: Part) -> tuple[type[Part], int]:
        self._n_calls += isinstance(part, CallBegun)
        kind = CallBegun if isinstance(part, CallArguments) else type(part)
        return kind, self._n_calls


def tool_use_id() -> str:
    return "toolu_" + secrets.token_hex(12)


def _usage(usage: Usage) -> dict:
    body = {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }
    if usage.thinking_tokens:
        body["output_tokens_details"] = {"thinking_tokens": usage.thinking_tokens}
    return body


def _read_input(text: str) -> dict:
    """The arguments of a call; of one that was cut off, what there is, as Anthropic wants invalid JSON sent back."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"INVALID_JSON": text}


def _event(body: dict) -> str:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return f"event: {body['type']}\ndata: {text}\n\n"

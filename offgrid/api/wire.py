"""The OpenAI wire format of generated text: pure functions from events to JSON and to the bytes of a stream.

A family's encoder is what the engine's reader thread calls for every step, so what does not change within a stream
is written once. Order of a stream: role (once a choice), thinking, content, calls, finish, usage if asked for, [DONE].
"""

import secrets
import time
from dataclasses import dataclass
from json import dumps
from json.encoder import encode_basestring
from typing import ClassVar

from offgrid.api.error_body import error_body
from offgrid.api.logprobs import chat_logprobs, text_logprobs
from offgrid.errors import ApiError
from offgrid.types import CallArguments, CallBegun, Delta, Finish, Part, Thought, TokenScore, Usage
from offgrid.web import sse


def total_usage(usages: list[Usage], n_choices: int) -> Usage:
    """The sum over all choices; a prompt counts once, and what its first choice computed was computed.

    `usages` come prompt after prompt, `n_choices` for each.
    """
    by_prompt = [usages[i : i + n_choices] for i in range(0, len(usages), n_choices)]
    prompt = sum(choices[0].prompt_tokens for choices in by_prompt)
    cached = sum(min(u.cached_tokens for u in choices) for choices in by_prompt)
    thinking = sum(u.thinking_tokens for u in usages)
    return Usage(prompt, sum(u.completion_tokens for u in usages), cached, thinking)


def usage_body(usages: list[Usage], n_choices: int) -> dict:
    total = total_usage(usages, n_choices)
    prompt, completion = total.prompt_tokens, total.completion_tokens
    body = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": total.cached_tokens},
    }
    if total.thinking_tokens:
        body["completion_tokens_details"] = {"reasoning_tokens": total.thinking_tokens}
    return body


def timings_body(end: Finish) -> dict:
    """How fast it went, under llama-server's names. Milliseconds, and tokens per second."""
    n_prompt, n_predicted = end.usage.prompt_tokens - end.usage.cached_tokens, end.usage.completion_tokens
    timings = {
        "cache_n": end.usage.cached_tokens,
        "prompt_n": n_prompt,
        "prompt_ms": round(end.prompt_ms, 3),
        "prompt_per_token_ms": round(end.prompt_ms / max(n_prompt, 1), 3),
        "prompt_per_second": _per_second(n_prompt, end.prompt_ms),
        "predicted_n": n_predicted,
        "predicted_ms": round(end.predicted_ms, 3),
        "predicted_per_token_ms": round(end.predicted_ms / max(n_predicted, 1), 3),
        "predicted_per_second": _per_second(n_predicted, end.predicted_ms),
        "queued_ms": round(end.queued_ms, 3),  # not llama-server's
    }
    if end.drafted.n:  # else llama-server leaves them out too
        timings |= {"draft_n": end.drafted.n, "draft_n_accepted": end.drafted.n_accepted}
    return timings


def _per_second(n: int, ms: float) -> float:
    return round(1e3 * n / ms, 3) if ms > 0 else 0.0


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """chat.completion and chat.completion.chunk, of one request."""

    id_prefix: ClassVar = "chatcmpl-"
    whole: ClassVar = "chat.completion"
    part: ClassVar = "chat.completion.chunk"

    n_choices: int  # for each prompt
    has_logprobs: bool = False

    def choice(self, index: int, parts: list[Part], reason: str) -> dict:
        text, calls = content_of(parts), calls_of(parts)
        message: dict = {"role": "assistant", "content": text if text or not calls else None}
        if thought := "".join(part.text for part in parts if isinstance(part, Thought)):
            message["reasoning_content"] = thought
        if calls:
            message["tool_calls"] = calls
        logprobs = chat_logprobs(scores_of(parts)) if self.has_logprobs else None
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": reason}

    def opening(self, index: int, first: Part | None) -> str:
        content = "null" if isinstance(first, CallBegun) else '""'
        return f'{{"index":{index},"delta":{{"role":"assistant","content":{content}}},"finish_reason":null}}'

    def piece(self, index: int, text: str) -> str:
        return f'{{"index":{index},"delta":{{"content":{encode_basestring(text)}}},"finish_reason":null}}'

    def other_piece(self, index: int, part: Thought | CallBegun | CallArguments) -> str:
        match part:
            case Thought(text):
                delta = {"reasoning_content": text}
            case CallBegun(i, name):
                function = {"name": name, "arguments": ""}
                delta = {"tool_calls": [{"index": i, "id": call_id(), "type": "function", "function": function}]}
            case CallArguments(i, text):
                delta = {"tool_calls": [{"index": i, "function": {"arguments": text}}]}
        return _compact({"index": index, "delta": delta, "finish_reason": None})

    def scored_piece(self, index: int, delta: Delta) -> str:
        logprobs = chat_logprobs(delta.scores)
        return _compact({"index": index, "delta": {"content": delta.text}, "logprobs": logprobs, "finish_reason": None})

    def closing(self, index: int, reason: str) -> str:
        return f'{{"index":{index},"delta":{{}},"finish_reason":"{reason}"}}'


@dataclass(frozen=True, slots=True)
class TextFormat:
    """text_completion, whole and in parts, of one request."""

    id_prefix: ClassVar = "cmpl-"
    whole: ClassVar = "text_completion"
    part: ClassVar = "text_completion"

    n_choices: int  # for each prompt
    has_logprobs: bool = False
    echo: tuple[str, ...] = ()  # what the text of each choice begins with; (): with what was generated

    def choice(self, index: int, parts: list[Delta], reason: str) -> dict:
        before = self.echo[index] if self.echo else ""
        logprobs = text_logprobs(scores_of(parts), len(before)) if self.has_logprobs else None
        return {"index": index, "text": before + content_of(parts), "logprobs": logprobs, "finish_reason": reason}

    def opening(self, index: int, _first: Delta | None) -> str | None:
        return self.piece(index, self.echo[index]) if self.echo else None  # a text has no role to announce

    def scored_piece(self, index: int, delta: Delta) -> str:
        logprobs = text_logprobs(delta.scores, 0)
        return _compact({"index": index, "text": delta.text, "logprobs": logprobs, "finish_reason": None})

    def piece(self, index: int, text: str) -> str:
        return f'{{"index":{index},"text":{encode_basestring(text)},"logprobs":null,"finish_reason":null}}'

    def closing(self, index: int, reason: str) -> str:
        return f'{{"index":{index},"text":"","logprobs":null,"finish_reason":"{reason}"}}'


Format = ChatFormat | TextFormat


def content_of(parts: list[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Delta))


def scores_of(parts: list[Part]) -> list[TokenScore]:
    return [score for part in parts if isinstance(part, Delta) for score in part.scores]


def calls_of(parts: list[Part]) -> list[dict]:
    """OpenAI's `tool_calls` of one message."""
    names = {part.index: part.name for part in parts if isinstance(part, CallBegun)}
    arguments: dict[int, str] = {}
    for part in parts:
        if isinstance(part, CallArguments):
            arguments[part.index] = arguments.get(part.index, "") + part.text
    functions = [{"name": name, "arguments": arguments.get(i, "")} for i, name in names.items()]
    return [{"id": call_id(), "type": "function", "function": function} for function in functions]


def call_id() -> str:
    return "call_" + secrets.token_hex(12)


class OpenAIEncoder:
    """One answer, whole or as a stream of complete server-sent events. A `generate.Encoder`."""

    content_type: ClassVar = sse.CONTENT_TYPE
    silence: ClassVar = sse.comment()

    def __init__(self, form: Format, model: str, more: dict | None = None, *, include_usage: bool = False):
        """`more`: members of the answer, and in a stream of the last event that has a choice."""
        self.form = form
        self._more = more or {}
        self.n_choices = form.n_choices
        self._include_usage = include_usage
        self._about = {
            "id": form.id_prefix + secrets.token_hex(12),
            "object": form.part,
            "created": int(time.time()),
            "model": model,
        }
        self._head = "data: " + _compact(self._about)[:-1] + ',"choices":['
        self._opened: set[int] = set()

    def whole(self, parts: list[list[Part]], ends: list[Finish]) -> dict:
        choices = zip(parts, ends, strict=True)
        answer = {
            **self._about,
            "object": self.form.whole,
            "choices": [self.form.choice(i, own, end.reason) for i, (own, end) in enumerate(choices)],
            "usage": usage_body([end.usage for end in ends], self.n_choices),
        }
        if len(ends) == 1:
            answer["timings"] = timings_body(ends[0])
        return answer | self._more

    def part(self, index: int, part: Part) -> bytes:
        form = self.form
        if not isinstance(part, Delta):
            piece = form.other_piece(index, part)
        else:
            piece = form.scored_piece(index, part) if part.scores else form.piece(index, part.text)
        event = f"{self._head}{piece}]}}\n\n"
        if index not in self._opened:
            event = self._open(index, part) + event
        return event.encode("utf-8", "replace")

    def finish(self, index: int, end: Finish, ends: list[Finish]) -> bytes:
        """The end of one choice; `ends` are those of all choices when this was the last one, else empty."""
        opening = "" if index in self._opened else self._open(index)
        events = f"{opening}{self._head}{self.form.closing(index, end.reason)}]"
        if not ends:
            return (events + "}\n\n").encode()
        if self._more:
            events += f",{_compact(self._more)[1:-1]}"
        timings = f',"timings":{_compact(timings_body(end))}' if len(ends) == 1 else ""
        if self._include_usage:
            usage = _compact(usage_body([e.usage for e in ends], self.n_choices))
            events += f'}}\n\n{self._head}],"usage":{usage}'
        return f"{events}{timings}}}\n\n".encode() + sse.DONE

    def _open(self, index: int, first: Part | None = None) -> str:
        self._opened.add(index)
        opening = self.form.opening(index, first)
        return f"{self._head}{opening}]}}\n\n" if opening else ""

    @staticmethod
    def error(error: ApiError) -> bytes:
        return sse.event(_compact(error_body(error)).encode("utf-8", "replace"))


def _compact(value: dict) -> str:
    return dumps(value, ensure_ascii=False, separators=(",", ":"))

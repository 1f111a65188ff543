"""The OpenAI wire format of generated text: pure functions from events to JSON and to the bytes of a stream.

A family's encoder is what the engine's reader thread calls for every step, so what does not change within a stream
is written once. Order of a stream: role (once a choice), content, finish, usage if asked for, [DONE].
"""

import secrets
import time
from json import dumps
from json.encoder import encode_basestring

from offgrid.errors import ApiError
from offgrid.types import Finish, Usage
from offgrid.web import sse


def error_body(error: ApiError, family: str = "openai") -> dict:
    """The one shape of an OpenAI-style error, in an answer and in a stream; for LoLLMs' clients with their `detail`."""
    body = {"error": {"message": error.message, "type": error.type, "code": error.code, "param": error.param}}
    return body | {"detail": error.message} if family == "lollms" else body


def usage_body(usages: list[Usage]) -> dict:
    """The sum over all choices. A prompt is counted once for each choice that had to take it in."""
    prompt = sum(u.prompt_tokens for u in usages)
    completion = sum(u.completion_tokens for u in usages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(u.cached_tokens for u in usages)},
    }


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


class ChatFormat:
    """chat.completion and chat.completion.chunk."""

    id_prefix, whole, part = "chatcmpl-", "chat.completion", "chat.completion.chunk"

    @staticmethod
    def choice(index: int, text: str, reason: str) -> dict:
        message = {"role": "assistant", "content": text}
        return {"index": index, "message": message, "logprobs": None, "finish_reason": reason}

    @staticmethod
    def opening(index: int) -> str:
        return f'{{"index":{index},"delta":{{"role":"assistant","content":""}},"finish_reason":null}}'

    @staticmethod
    def piece(index: int, text: str) -> str:
        return f'{{"index":{index},"delta":{{"content":{encode_basestring(text)}}},"finish_reason":null}}'

    @staticmethod
    def closing(index: int, reason: str) -> str:
        return f'{{"index":{index},"delta":{{}},"finish_reason":"{reason}"}}'


class TextFormat:
    """text_completion, whole and in parts."""

    id_prefix, whole, part = "cmpl-", "text_completion", "text_completion"

    @staticmethod
    def choice(index: int, text: str, reason: str) -> dict:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}

    @staticmethod
    def opening(index: int) -> None:
        return None  # a text has no role to announce

    @staticmethod
    def piece(index: int, text: str) -> str:
        return f'{{"index":{index},"text":{encode_basestring(text)},"logprobs":null,"finish_reason":null}}'

    @staticmethod
    def closing(index: int, reason: str) -> str:
        return f'{{"index":{index},"text":"","logprobs":null,"finish_reason":"{reason}"}}'


Format = type[ChatFormat] | type[TextFormat]


def whole_answer(form: Format, model: str, texts: list[str], ends: list[Finish]) -> dict:
    """The answer to a request without stream; one choice for each text."""
    answer = {
        "id": form.id_prefix + secrets.token_hex(12),
        "object": form.whole,
        "created": int(time.time()),
        "model": model,
        "choices": [form.choice(i, text, end.reason) for i, (text, end) in enumerate(zip(texts, ends, strict=True))],
        "usage": usage_body([end.usage for end in ends]),
    }
    if len(ends) == 1:
        answer["timings"] = timings_body(ends[0])
    return answer


class StreamEncoder:
    """The bytes of one stream. Each method gives complete SSE events."""

    def __init__(self, form: Format, model: str, *, include_usage: bool):
        self._form = form
        self._include_usage = include_usage
        about = {
            "id": form.id_prefix + secrets.token_hex(12),
            "object": form.part,
            "created": int(time.time()),
            "model": model,
        }
        self._head = "data: " + _compact(about)[:-1] + ',"choices":['
        self._opened: set[int] = set()

    def delta(self, index: int, text: str) -> bytes:
        event = f"{self._head}{self._form.piece(index, text)}]}}\n\n"
        if index not in self._opened:
            event = self._open(index) + event
        return event.encode("utf-8", "replace")

    def finish(self, index: int, end: Finish, ends: list[Finish]) -> bytes:
        """The end of one choice; `ends` are those of all choices when this was the last one, else empty."""
        opening = "" if index in self._opened else self._open(index)
        events = f"{opening}{self._head}{self._form.closing(index, end.reason)}]"
        if not ends:
            return (events + "}\n\n").encode()
        timings = f',"timings":{_compact(timings_body(end))}' if len(ends) == 1 else ""
        if self._include_usage:
            usage = _compact(usage_body([e.usage for e in ends]))
            events += f'}}\n\n{self._head}],"usage":{usage}'
        return f"{events}{timings}}}\n\n".encode() + sse.DONE

    def _open(self, index: int) -> str:
        self._opened.add(index)
        opening = self._form.opening(index)
        return f"{self._head}{opening}]}}\n\n" if opening else ""

    @staticmethod
    def error(error: ApiError) -> bytes:
        return sse.event(_compact(error_body(error)).encode("utf-8", "replace"))


def _compact(value: dict) -> str:
    return dumps(value, ensure_ascii=False, separators=(",", ":"))

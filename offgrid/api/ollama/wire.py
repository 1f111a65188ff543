"""Ollama's wire format of generated text: pure functions from events to JSON and to the lines of a stream.

A stream is NDJSON: one object a line, the last with `done`. No line is ever empty, because its clients read each one as
JSON, so there is no sign of life either. Durations are nanoseconds; figures that are 0 are left out, as Ollama does.
"""

import secrets
import time
from collections.abc import Callable
from json import dumps, loads
from json.encoder import encode_basestring
from typing import ClassVar

from offgrid.api.answers import NDJSON
from offgrid.api.error_body import error_body
from offgrid.api.logprobs import chat_logprobs
from offgrid.api.wire import content_of, scores_of
from offgrid.errors import ApiError
from offgrid.types import CallArguments, CallBegun, Delta, Finish, Part, Thought, TokenScore

REASONS = {"tool_calls": "stop"}  # Ollama has no word of its own for an end by calls
MS = 1_000_000  # nanoseconds


def compact(value: object) -> str:
    return dumps(value, ensure_ascii=False, separators=(",", ":"))


def line(value: dict) -> bytes:
    """An object as a line of NDJSON."""
    return (compact(value) + "\n").encode("utf-8", "replace")


def rfc3339_ns(unix_ns: int) -> str:
    """A time as Go writes it: UTC, with nanoseconds."""
    seconds, ns = divmod(unix_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{ns:09d}Z"


class Clock:
    """`rfc3339_ns` of now, where most of the text is that of the call before."""

    def __init__(self):
        self._second, self._text = -1, ""

    def now(self) -> str:
        seconds, ns = divmod(time.time_ns(), 1_000_000_000)
        if seconds != self._second:
            self._second, self._text = seconds, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        return f"{self._text}.{ns:09d}Z"


class Calls:
    """Calls in the making: Ollama sends each as a whole, its arguments as an object."""

    def __init__(self):
        self._name = ""
        self._arguments: list[str] = []

    @property
    def is_open(self) -> bool:
        return bool(self._name)

    def take(self, part: CallBegun | CallArguments) -> dict | None:
        """Returns the call that is complete because another begins."""
        if isinstance(part, CallArguments):
            self._arguments.append(part.text)
            return None
        done = self.end()
        self._name = part.name
        return done

    def end(self) -> dict | None:
        """The call that is complete; None without one, and for one that was cut off: it is no object."""
        name, text = self._name, "".join(self._arguments)
        self._name, self._arguments = "", []
        if not name:
            return None
        try:
            arguments = loads(text or "{}")
        except ValueError:
            return None
        return {"id": "call_" + secrets.token_hex(4), "function": {"name": name, "arguments": arguments}}


def calls_of(parts: list[Part]) -> list[dict]:
    """Ollama's `tool_calls` of one message."""
    calls = Calls()
    found = [calls.take(part) for part in parts if isinstance(part, CallBegun | CallArguments)]
    return [call for call in (*found, calls.end()) if call]


def logprobs_of(scores: list[TokenScore]) -> list[dict]:
    return chat_logprobs(scores)["content"]


class OllamaEncoder:
    """One answer, whole or as the lines of a stream. A `generate.Encoder`.

    A subclass says where the text stands in an object. `context`: what the last line says of the conversation, from
    the whole answer; it is made by the engine's thread.
    """

    n_choices: ClassVar = 1
    content_type: ClassVar = NDJSON
    silence: ClassVar = b""

    def __init__(self, model: str, context: Callable[[str], list[int]] | None = None):
        self._clock = Clock()
        self._model = model
        self._head = f'{{"model":{compact(model)},"created_at":"'
        self._began = time.perf_counter()
        self._context = context
        self._texts: list[str] = []  # of the answer so far, where it is needed at the end
        self._calls = Calls()

    # --- what a subclass says ---

    def piece(self, text: str) -> str:
        """The members of a line with new text, as JSON without braces."""
        raise NotImplementedError

    def thought(self, text: str) -> str:
        raise NotImplementedError

    def calls(self, calls: list[dict]) -> str:
        raise NotImplementedError

    def answer(self, text: str, thought: str, calls: list[dict]) -> dict:
        """The members of a whole answer."""
        raise NotImplementedError

    # --- generate.Encoder ---

    def whole(self, parts: list[list[Part]], ends: list[Finish]) -> dict:
        [own], [end] = parts, ends
        text = content_of(own)
        thought = "".join(part.text for part in own if isinstance(part, Thought))
        scores = scores_of(own)
        return {
            "model": self._model,
            "created_at": self._clock.now(),
            **self.answer(text, thought, calls_of(own)),
            **({"logprobs": logprobs_of(scores)} if scores else {}),
            **self._ending(end, text),
        }

    def part(self, index: int, part: Part) -> bytes:
        if isinstance(part, Delta):
            if self._context is not None:
                self._texts.append(part.text)
            members = self.piece(part.text)
            if part.scores:
                members += f',"logprobs":{compact(logprobs_of(list(part.scores)))}'
            return self._end_call() + self._line(members)
        if isinstance(part, Thought):
            return self._end_call() + self._line(self.thought(part.text))
        done = self._calls.take(part)
        return self._line(self.calls([done])) if done else b""

    def finish(self, index: int, end: Finish, ends: list[Finish]) -> bytes:
        last = compact(self._ending(end, "".join(self._texts)))[1:-1]
        return self._end_call() + f'{self._head}{self._clock.now()}",{self.piece("")},{last}}}\n'.encode()

    @staticmethod
    def error(error: ApiError) -> bytes:
        return line(error_body(error, "ollama"))

    def _end_call(self) -> bytes:
        if not self._calls.is_open:
            return b""
        done = self._calls.end()
        return self._line(self.calls([done])) if done else b""

    def _line(self, members: str) -> bytes:
        return f'{self._head}{self._clock.now()}",{members},"done":false}}\n'.encode("utf-8", "replace")

    def _ending(self, end: Finish, text: str) -> dict:
        """What the last object of an answer holds besides text."""
        context = {} if self._context is None else {"context": self._context(text)}
        return {
            "done": True,
            "done_reason": REASONS.get(end.reason, end.reason),
            **context,
            **durations(time.perf_counter() - self._began, end),
        }


class ChatEncoder(OllamaEncoder):
    def piece(self, text: str) -> str:
        return f'"message":{{"role":"assistant","content":{encode_basestring(text)}}}'

    def thought(self, text: str) -> str:
        return f'"message":{{"role":"assistant","content":"","thinking":{encode_basestring(text)}}}'

    def calls(self, calls: list[dict]) -> str:
        return f'"message":{{"role":"assistant","content":"","tool_calls":{compact(calls)}}}'

    def answer(self, text: str, thought: str, calls: list[dict]) -> dict:
        thinking = {"thinking": thought} if thought else {}
        return {
            "message": {
                "role": "assistant",
                "content": text,
                **thinking,
                **({"tool_calls": calls} if calls else {}),
            }
        }


class GenerateEncoder(OllamaEncoder):
    def piece(self, text: str) -> str:
        return f'"response":{encode_basestring(text)}'

    def thought(self, text: str) -> str:
        return f'"response":"","thinking":{encode_basestring(text)}'

    def answer(self, text: str, thought: str, calls: list[dict]) -> dict:
        return {"response": text, **({"thinking": thought} if thought else {})}


def durations(total_s: float, end: Finish) -> dict[str, int]:
    """Ollama's figures. What neither waited for its turn nor computed was spent on having the model loaded."""
    usage = end.usage
    total = int(total_s * 1e9)
    prompt, predicted = int(end.prompt_ms * MS), int(end.predicted_ms * MS)
    figures = {
        "total_duration": total,
        "load_duration": max(total - prompt - predicted - int(end.queued_ms * MS), 0),
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_duration": prompt,
        "eval_count": usage.completion_tokens,
        "eval_duration": predicted,
    }
    return {name: n for name, n in figures.items() if n}

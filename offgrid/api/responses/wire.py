"""The answer, whole or as a stream of events. A `generate.Encoder`, called by the engine's thread.

Order of a stream: created, in_progress; for each item its begin, its pieces and its end; then completed or incomplete,
which `ending` writes, because an answer that is kept must be on the disk before. A stream that fails ends with failed.
Events are numbered without gaps; there is no [DONE].
"""

import re
import time
from json import dumps
from json.encoder import encode_basestring
from typing import ClassVar

from offgrid.api.responses.items import new_id
from offgrid.api.responses.output import Event, Item, Message, item_for, logprobs_of
from offgrid.errors import ApiError
from offgrid.types import CallBegun, Finish, Part, Usage
from offgrid.web import sse

# OpenAI's codes of failed responses, which typed clients read as an enumeration.
FAILURES = {400: "invalid_prompt", 429: "rate_limit_exceeded", 503: "rate_limit_exceeded"}

TOOL_PATH = re.compile(r"(tools\[\d+\])\.function\b")


class ResponseEncoder:
    """`response` is the answer as far as it is known: whole after `whole`, and after `finish`."""

    content_type: ClassVar = sse.CONTENT_TYPE
    silence: ClassVar = sse.comment()
    n_choices: ClassVar = 1

    def __init__(self, about: dict, more: dict):
        """`about`: what the request has decided, from `model` to `metadata`; `more`: what the answer has besides."""
        self._more = more
        self.response = {
            "id": new_id("resp"),
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            **about,
            "output": [],
            "usage": None,
        }
        self._n_events = 0
        self._item: Item | None = None  # the one that grows

    def whole(self, parts: list[list[Part]], ends: list[Finish]) -> dict:
        for part in parts[0]:
            self._take(part)
        self._complete(ends[0])
        return self.response

    def part(self, index: int, part: Part) -> bytes:
        last, begun = self._take(part)
        events = self._turn(last, begun) if begun else ""
        if isinstance(part, CallBegun):
            return events.encode("utf-8", "replace")
        item = self._item
        tail = item.delta_tail
        if tail and part.scores:
            tail = f',"logprobs":{_compact(logprobs_of(part.scores))}'
        events += f'{item.delta_head}{encode_basestring(part.text)}{tail},"sequence_number":{self._n_events}}}\n\n'
        self._n_events += 1
        return events.encode("utf-8", "replace")

    def finish(self, index: int, end: Finish, ends: list[Finish]) -> bytes:
        """The end of the last item; that of the stream is `ending`'s."""
        begun = self._begin_if_empty()
        events = self._turn(None, begun) if begun else ""
        item = self._item
        finished = self._complete(end)
        return (events + self._written(item.closings(finished))).encode("utf-8", "replace")

    def ending(self) -> bytes:
        """The last event of a stream that has come to its end."""
        return self._written([self._about_response(f"response.{self.response['status']}")]).encode("utf-8", "replace")

    def error(self, error: ApiError) -> bytes:
        events = self._written(self._openings()) if not self._n_events else ""
        if self._item is not None:
            self.response["output"].append(self._item.finished("incomplete"))
        error = in_own_names(error)
        code = FAILURES.get(error.status, "server_error")
        told = {"code": code, "message": error.message, "type": error.type, "param": error.param}
        self.response |= {"status": "failed", "error": told, "completed_at": None, "incomplete_details": None}
        return (events + self._written([self._about_response("response.failed")])).encode("utf-8", "replace")

    # --- the answer ---

    def _take(self, part: Part) -> tuple[tuple[Item, dict] | None, Item | None]:
        """Put a part where it belongs: (the item that ends before it, complete; the item that begins with it)."""
        last = begun = None
        if self._item is None or not isinstance(part, self._item.takes):
            last = (self._item, self._end_item("completed")) if self._item else None
            begun = self._item = item_for(part, len(self.response["output"]))
        if not isinstance(part, CallBegun):
            self._item.add(part)
        return last, begun

    def _end_item(self, status: str) -> dict:
        finished = self._item.finished(status)
        self.response["output"].append(finished)
        self._item = None
        return finished

    def _begin_if_empty(self) -> Item | None:
        """The message that an answer without anything is."""
        if self._item is not None:
            return None
        self._item = Message(0)
        return self._item

    def _complete(self, end: Finish) -> dict:
        """The last item, complete."""
        self._begin_if_empty()
        is_whole = end.reason != "length"
        finished = self._end_item("completed" if is_whole else "incomplete")
        self.response |= {
            "status": "completed" if is_whole else "incomplete",
            "completed_at": int(time.time()) if is_whole else None,
            "incomplete_details": None if is_whole else {"reason": "max_output_tokens"},
            "usage": usage_body(end.usage),
            **self._more,
        }
        return finished

    # --- its events ---

    def _turn(self, last: tuple[Item, dict] | None, begun: Item) -> str:
        """From one item to the next."""
        events = [] if self._n_events else self._openings()
        if last:
            events += last[0].closings(last[1])
        return self._written(events + begun.openings())

    def _openings(self) -> list[Event]:
        return [self._about_response("response.created"), self._about_response("response.in_progress")]

    def _about_response(self, kind: str) -> Event:
        return kind, {"response": self.response}

    def _written(self, events: list[Event]) -> str:
        written = ""
        for kind, fields in events:
            numbered = {"type": kind, "sequence_number": self._n_events, **fields}
            written += f"event: {kind}\ndata: {_compact(numbered)}\n\n"
            self._n_events += 1
        return written


def in_own_names(error: ApiError) -> ApiError:
    """The same error; what the worker calls as chats do is called as here."""
    if error.param == "messages":
        error.param = "input"
    elif error.param:
        error.param, error.message = (TOOL_PATH.sub(r"\1", text) for text in (error.param, error.message))
    return error


def usage_body(usage: Usage) -> dict:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.thinking_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _compact(value: dict | list) -> str:
    return dumps(value, ensure_ascii=False, separators=(",", ":"))

"""The items of an answer while they grow: what the model thinks, what it says, and each call of a tool.

Each knows how it is written when it is complete, and the events of a stream by which it begins and ends. An event is
(type, fields); the encoder numbers and writes it. `delta_head` and `delta_tail` stand around the text of each piece.
"""

from collections.abc import Sequence
from functools import cached_property
from json import dumps

from offgrid.api.logprobs import chat_logprobs
from offgrid.api.responses.items import new_id
from offgrid.api.wire import call_id
from offgrid.types import CallArguments, CallBegun, Delta, Part, Thought, TokenScore

Event = tuple[str, dict]


class Item:
    """`index`: its place in the answer."""

    prefix: str
    delta_type: str
    delta_tail = ""
    takes: type  # the parts that belong to it once it has begun

    def __init__(self, index: int):
        self.id = new_id(self.prefix)
        self.at = {"item_id": self.id, "output_index": index}
        self._index = index
        self._texts: list[str] = []

    def add(self, part: Part) -> None:
        self._texts.append(part.text)

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @cached_property
    def delta_head(self) -> str:
        fields = dumps({"type": self.delta_type, **self.at}, separators=(",", ":"))
        return f'event: {self.delta_type}\ndata: {fields[:-1]},"delta":'

    def finished(self, status: str) -> dict:
        """The item as it stands in an answer."""
        raise NotImplementedError

    def begun(self) -> dict:
        """The item before anything is in it."""
        raise NotImplementedError

    def openings(self) -> list[Event]:
        return [("response.output_item.added", {"output_index": self._index, "item": self.begun()})]

    def closings(self, finished: dict) -> list[Event]:
        return [("response.output_item.done", {"output_index": self._index, "item": finished})]


class WithPart(Item):
    """An item whose text is its only content part."""

    done_type: str

    def __init__(self, index: int):
        super().__init__(index)
        self.at |= {"content_index": 0}

    def part(self, text: str) -> dict:
        raise NotImplementedError

    def done_fields(self) -> dict:
        return {"text": self.text}

    def begun(self) -> dict:
        return self.finished("in_progress") | {"content": []}

    def openings(self) -> list[Event]:
        return [*super().openings(), ("response.content_part.added", {**self.at, "part": self.part("")})]

    def closings(self, finished: dict) -> list[Event]:
        return [
            (self.done_type, {**self.at, **self.done_fields()}),
            ("response.content_part.done", {**self.at, "part": finished["content"][0]}),
            *super().closings(finished),
        ]


class Message(WithPart):
    prefix = "msg"
    takes = Delta
    delta_type, done_type = "response.output_text.delta", "response.output_text.done"
    delta_tail = ',"logprobs":[]'

    def __init__(self, index: int):
        super().__init__(index)
        self._scores: list[TokenScore] = []

    def add(self, part: Delta) -> None:
        super().add(part)
        self._scores += part.scores

    def part(self, text: str, scores: Sequence[TokenScore] = ()) -> dict:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs_of(scores)}

    def done_fields(self) -> dict:
        return {"text": self.text, "logprobs": logprobs_of(self._scores)}

    def finished(self, status: str) -> dict:
        content = [self.part(self.text, self._scores)]
        return {"id": self.id, "type": "message", "status": status, "role": "assistant", "content": content}


class Thinking(WithPart):
    prefix = "rs"
    takes = Thought
    delta_type, done_type = "response.reasoning_text.delta", "response.reasoning_text.done"

    def part(self, text: str) -> dict:
        return {"type": "reasoning_text", "text": text}

    def finished(self, status: str) -> dict:
        content = [self.part(self.text)]
        return {"id": self.id, "type": "reasoning", "status": status, "summary": [], "content": content}


class Call(Item):
    prefix = "fc"
    takes = CallArguments
    delta_type = "response.function_call_arguments.delta"

    def __init__(self, index: int, name: str):
        super().__init__(index)
        self._about = {"call_id": call_id(), "name": name}

    def finished(self, status: str) -> dict:
        return {"id": self.id, "type": "function_call", "status": status, **self._about, "arguments": self.text}

    def begun(self) -> dict:
        return self.finished("in_progress")

    def closings(self, finished: dict) -> list[Event]:
        done = {**self.at, "name": finished["name"], "arguments": finished["arguments"]}
        return [("response.function_call_arguments.done", done), *super().closings(finished)]


def item_for(part: Part, index: int) -> Item:
    """The item that begins with a part, which is not yet in it."""
    if isinstance(part, CallBegun):
        return Call(index, part.name)
    return (Thinking if isinstance(part, Thought) else Message)(index)


def logprobs_of(scores: Sequence[TokenScore]) -> list[dict]:
    return chat_logprobs(scores)["content"]

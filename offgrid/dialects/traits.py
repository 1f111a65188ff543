"""What a chat template does with tools, calls and results, found out by trying it.

Knows no template language: `render` is all it needs. What a template refuses or leaves out is told by whether rare
words that were put in come out.
"""

import copy
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

Render = Callable[[list[dict], list[dict] | None], str]

MOST_S = 4.0  # of processor time for all trials of a template; what comes later counts as refused
SHORT_ID_LENGTH = 9  # Mistral's: letters and digits
_TOOL, _KEY, _VALUE, _RESULT, _TEXT, _SYSTEM, _THOUGHT = (
    f"qz{word}" for word in ["tool", "key", "value", "result", "text", "system", "thought"]
)
_CALL_ID = "qz0000001"
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": _TOOL,
            "description": "a tool",
            "parameters": {
                "type": "object",
                "properties": {_KEY: {"type": "string", "description": "a value"}},
                "required": [_KEY],
            },
        },
    }
]
_JSON_ARGUMENTS = re.compile(rf'"{_KEY}"\s*:\s*"{_VALUE}"')
_USER = {"role": "user", "content": "Hello"}


@dataclass(frozen=True, slots=True)
class Traits:
    """What a template takes. The defaults are those of one that knows nothing but user and assistant."""

    has_system: bool = False
    has_double_turns: bool = False  # two messages of one role after each other
    takes_tools: bool = False
    takes_bare_tools: bool = False  # without description and parameters
    takes_calls: bool = False  # `tool_calls` of the assistant and the role "tool"
    takes_several_calls: bool = False  # in one message
    takes_text_with_calls: bool = False  # content beside them; else it is lost, or the calls are
    takes_long_ids: bool = True  # else SHORT_ID_LENGTH letters
    has_object_arguments: bool = True  # else as a string of JSON
    empty_content: str | None = ""  # of a message that only calls
    thinking_key: str | None = None  # under which a message brings what was thought
    takes_thinking_with_text: bool = False  # beside content and calls


def traits_of(render: Render) -> Traits:
    """`render(messages, tools)` gives the prompt; whatever it raises means that the template refuses."""
    return _Trial(render).traits()


class _Trial:
    def __init__(self, render: Render):
        self._render = render
        self._until = time.thread_time() + MOST_S

    def _prompt(self, messages: list[dict], tools: list[dict] | None = None) -> str:
        """The prompt; "" where the template refuses."""
        if time.thread_time() > self._until:
            return ""
        try:
            return self._render(messages, tools)
        except Exception:  # a template may fail in any way
            return ""

    def traits(self) -> Traits:
        has_system = _SYSTEM in self._prompt([{"role": "system", "content": _SYSTEM}, _USER])
        has_double = self._prompt([_USER, _USER, _assistant("Hi"), _assistant(_TEXT), _USER]).count(_TEXT) == 1
        takes_tools = _TOOL in self._prompt([_USER], _TOOLS) and _TOOL not in self._prompt([_USER])
        takes_bare = _TOOL in self._prompt([_USER], [{"type": "function", "function": {"name": _TOOL}}])
        self._tools = _TOOLS if takes_tools else None
        usual = Traits(
            has_system=has_system,
            has_double_turns=has_double,
            takes_tools=takes_tools,
            takes_bare_tools=takes_tools and takes_bare,
        )
        shape = self._shape()
        if shape is None:
            return usual
        has_objects, empty = shape
        self._arguments = {_KEY: _VALUE} if has_objects else f'{{"{_KEY}": "{_VALUE}"}}'
        self._empty = empty
        return replace(
            usual,
            takes_calls=True,
            takes_several_calls=self._takes_several(),
            takes_text_with_calls=self._shows([_USER, self._calls(content=_TEXT), _result()], _TEXT, _TOOL, _RESULT),
            takes_long_ids=self._shows(
                [_USER, self._calls("call_0123456789abcdef"), _result("call_0123456789abcdef")], _TOOL, _RESULT
            ),
            has_object_arguments=has_objects,
            empty_content=empty,
            thinking_key=(key := self._thinking_key()),
            takes_thinking_with_text=key is not None
            and self._shows([_USER, {**self._calls(content=_TEXT), key: _THOUGHT}, _result()], _TEXT, _TOOL),
        )

    def _shape(self) -> tuple[bool, str | None] | None:
        """(arguments are objects, content of a message that only calls) with which calls and results come out."""
        found = None
        for arguments in ({_KEY: _VALUE}, f'{{"{_KEY}": "{_VALUE}"}}'):
            for empty in ("", None):
                self._arguments, self._empty = arguments, empty
                prompt = self._prompt([_USER, self._calls(), _result()], self._tools)
                if not all(word in prompt for word in (_TOOL, _KEY, _VALUE, _RESULT)):
                    continue
                shape = (isinstance(arguments, dict), empty)
                if _JSON_ARGUMENTS.search(prompt):
                    return shape
                found = found or shape
        return found

    def _takes_several(self) -> bool:
        calls = self._calls()
        second = copy.deepcopy(calls["tool_calls"][0])
        arguments = second["function"]["arguments"]
        # Told by the arguments: the name of a call may come out beside its result as well.
        other = {_KEY: "qzother"} if isinstance(arguments, dict) else arguments.replace(_VALUE, "qzother")
        second |= {"id": "qz0000002", "function": {**second["function"], "arguments": other}}
        calls["tool_calls"].append(second)
        results = [_result(), {**_result("qz0000002"), "content": "qzanswer"}]
        return self._shows([_USER, calls, *results], _VALUE, "qzother", _RESULT, "qzanswer")

    def _thinking_key(self) -> str | None:
        keys = ("reasoning_content", "thinking", "reasoning")
        return next(
            (key for key in keys if self._shows([_USER, {**self._calls(), key: _THOUGHT}, _result()], _THOUGHT)), None
        )

    def _shows(self, messages: list[dict], *words: str) -> bool:
        prompt = self._prompt(messages, self._tools)
        # Of the tools only what the messages say: their list names some of the same words.
        listed = self._prompt([_USER], self._tools)
        return bool(prompt) and all(prompt.count(word) > listed.count(word) for word in words)

    def _calls(self, call_id: str = _CALL_ID, content: str | None = None) -> dict:
        call = {"id": call_id, "type": "function", "function": {"name": _TOOL, "arguments": self._arguments}}
        return {"role": "assistant", "content": content or self._empty, "tool_calls": [call]}


def _assistant(text: str) -> dict:
    return {"role": "assistant", "content": text}


def _result(call_id: str = _CALL_ID) -> dict:
    return {"role": "tool", "tool_call_id": call_id, "name": _TOOL, "content": _RESULT}

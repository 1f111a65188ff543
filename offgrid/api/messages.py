"""`messages` of a chat as clients send them, read into what chat templates take: known roles, content as one string."""

import json
from typing import Any

from offgrid.api.fields import Asked, Field, Ignored, Object, Unsupported, Variants, required
from offgrid.api.shapes import Choice, ListOf, Shape, Text, wrong

MAX_MESSAGES = 100_000
MAX_CALLS = 128  # in one earlier turn
# "developer" is OpenAI's newer word for "system"; chat templates know only the older one.
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
FUNCTION_NAME = Text(pattern="[a-zA-Z0-9_.-]{1,64}", says="1 to 64 letters, digits, _ . or -")  # OpenAI's, and dots

_CACHED = "Prompts' beginnings are always kept and shared."
CACHE_CONTROL = Ignored("cache_control", _CACHED)  # Anthropic's, which some libraries send to everybody
TEXT_PART = Object(
    required("text", Text(), "The text.", "Hello!"),
    Ignored("prompt_cache_breakpoint", _CACHED),
    CACHE_CONTROL,
)
REFUSAL_PART = Object(required("refusal", Text(), "Why there was no answer; read as its text.", "No."))


class Content(Shape):
    """A text, or a list of parts that are texts; read as one string."""

    wanted = "a string or a list of text parts"

    def __init__(self, **more_parts: Object):
        """`more_parts`: kinds of parts besides "text", whose text is the member of the same name."""
        self.parts = {"text": TEXT_PART, **more_parts}

    def read(self, value: Any, path: str) -> str:
        if isinstance(value, str):
            return value
        if not isinstance(value, list):
            raise wrong(path, self.wanted, value)
        return "".join(self._part(part, f"{path}[{i}]") for i, part in enumerate(value))

    def _part(self, part: Any, path: str) -> str:
        kind = part.get("type") if isinstance(part, dict) else part
        if not isinstance(part, dict) or not isinstance(kind, str) or kind not in self.parts:
            said = 'a part {"type": "text", "text": …}: this version reads text only; images come later'
            raise wrong(path, said, kind)
        return self.parts[kind].read({name: member for name, member in part.items() if name != "type"}, path)[kind]

    def schema(self) -> dict:
        parts = Variants("type", self.parts).schema()["oneOf"]
        items = parts[0] if len(parts) == 1 else {"oneOf": parts}
        return {"anyOf": [{"type": "string"}, {"type": "array", "items": items}]}


class Arguments(Shape):
    """JSON as a string, or the object itself, as Ollama's clients keep it; read as a string."""

    wanted = "JSON as a string"

    def read(self, value: Any, path: str) -> str:
        if isinstance(value, dict):
            return json.dumps(value, ensure_ascii=False)
        if not isinstance(value, str):
            raise wrong(path, self.wanted, value)
        return value or "{}"

    def schema(self) -> dict:
        return {"type": ["string", "object"]}


PROVIDERS = Ignored("provider_specific_fields", "What a library keeps of another server's answer.")
CALLED = Object(
    required("name", FUNCTION_NAME, "Which function.", "add"),
    Field("arguments", Arguments(), "What it was called with.", "{}"),
    Ignored("parsed_arguments", "What a library made of the arguments."),
    PROVIDERS,
)
CALL = Object(
    Field("id", Text(), "What its result refers to."),
    Field("type", Choice(("function",)), "The only one there is.", "function"),
    required("function", CALLED, "The call.", {"name": "add", "arguments": "{}"}),
    Ignored("index", "Its place in a stream, which some clients keep."),
    PROVIDERS,
)
NAME = Field("name", Text(), "Who says it, for templates that show it.")
CONTENT = required("content", Content(), "What is said.", "Hello!")
ASSISTANT = Object(
    Field("content", Content(refusal=REFUSAL_PART), "What it answered; may be left out beside calls.", ""),
    NAME,
    Field("tool_calls", ListOf(CALL, MAX_CALLS, says=f"a list of at most {MAX_CALLS} calls"), "What it called.", []),
    Field("reasoning_content", Text(), "What it thought before."),
    Field("reasoning", Text(), "The same, as some servers call it."),
    Unsupported("function_call", "it is OpenAI's older form of tool_calls."),
    Ignored("refusal", "An answer is what stands in content."),
    Ignored("annotations", "What an earlier answer cited is not read again."),
    Ignored("audio", "An answer is what stands in content."),
    Ignored("parsed", "What a library made of the content."),
    Ignored("reasoning_details", "What it thought is read from reasoning_content."),
    PROVIDERS,
    CACHE_CONTROL,
)
SPOKEN = Object(CONTENT, NAME, CACHE_CONTROL)
RETURNED = Field("content", Content(), "What the tool returned; nothing when left out.", "")
RESULT = Object(RETURNED, NAME, Field("tool_call_id", Text(), "The call that this is the result of."), CACHE_CONTROL)


class Message(Variants):
    """Read as the dict that chat templates take."""

    def __init__(self):
        super().__init__("role", {role: {"assistant": ASSISTANT, "tool": RESULT}.get(role, SPOKEN) for role in ROLES})

    def read(self, value: Any, path: str) -> dict:
        asked = super().read(value, path)
        message = {"role": ROLES[asked["role"]], "content": asked["content"]}
        for name in ("name", "tool_call_id"):
            if given := asked.get(name):
                message[name] = given
        if calls := asked.get("tool_calls"):
            message["tool_calls"] = [_call(call, i) for i, call in enumerate(calls)]
        if thought := asked.get("reasoning_content") or asked.get("reasoning"):
            message["reasoning_content"] = thought
        return message


def _call(asked: Asked, i: int) -> dict:
    function = {"name": asked["function"]["name"], "arguments": asked["function"]["arguments"]}
    return {"id": asked.get("id", f"call_{i}"), "type": "function", "function": function}


MESSAGES = required(
    "messages",
    ListOf(Message(), MAX_MESSAGES, 1, "a list of at least one message"),
    "The conversation so far.",
    [{"role": "user", "content": "Hello!"}],
)


def with_system_prompt(messages: tuple[dict, ...], system_prompt: str | None) -> list[dict]:
    """The messages, and before them the model's own system prompt when they bring none."""
    if not system_prompt or any(m["role"] == "system" for m in messages):
        return list(messages)
    return [{"role": "system", "content": system_prompt}, *messages]

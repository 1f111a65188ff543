"""POST /v1/chat/completions: a conversation in, the assistant's next turn out."""

from dataclasses import replace

from offgrid.api.answers import EVENTS, JSON
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Fields, kind_of
from offgrid.api.generate import generate
from offgrid.api.generated import CHAT_ANSWER, CHAT_EVENT
from offgrid.api.keep_alive import KEEP_ALIVE, read_keep_alive
from offgrid.api.logprobs import read_chat_logprobs
from offgrid.api.models import MODEL, model_for
from offgrid.api.sampling import MAX_CHOICES, NO_OPS, choices, read_generation, read_stream
from offgrid.api.thinking import read_thinking
from offgrid.api.tools import read_calls, read_tool_use
from offgrid.api.wire import ChatFormat, OpenAIEncoder
from offgrid.errors import BadRequest
from offgrid.web.message import Request, Response

# "developer" is OpenAI's newer word for "system"; chat templates know only the older one.
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


@endpoint(answers={200: {JSON: CHAT_ANSWER, EVENTS: CHAT_EVENT}})
def create_chat_completion(request: Request, app) -> Response | None:
    """The next turn of a conversation."""
    request.tally.service = "chat"
    fields = Fields(request.json())
    model, own = model_for(app, fields.asked(MODEL), "chat")
    conversation = read_conversation(fields, own.system_prompt)
    logprobs = read_chat_logprobs(fields)
    generation = read_generation(fields, own, model.id, request.who.client)
    asked = replace(generation, **conversation, logprobs=logprobs)
    n = fields.whole("n", 1, MAX_CHOICES, 1)
    is_stream, include_usage = read_stream(fields)
    keep_alive_s = read_keep_alive(fields.asked(*KEEP_ALIVE))
    _refuse_what_is_not_there(fields)
    all_asked = choices(asked, n)
    return generate(
        request,
        app,
        model,
        all_asked,
        OpenAIEncoder(ChatFormat(n, has_logprobs=logprobs is not None), model.id, include_usage=include_usage),
        stream=is_stream,
        keep_alive_s=keep_alive_s,
    )


def _refuse_what_is_not_there(fields: Fields) -> None:
    fields.only("functions", [])
    fields.only("modalities", ["text"])
    fields.ignore(*NO_OPS)
    fields.finish()


def read_conversation(fields: Fields, system_prompt: str | None) -> dict:
    """The fields of a GenerateRequest, or of a RenderRequest, that say what is in a chat's prompt."""
    thinking, values = read_thinking(fields)
    return {
        "messages": with_system_prompt(read_messages(fields), system_prompt),
        "tool_use": read_tool_use(fields),
        "thinking": thinking,
        "template_values": values,
    }


def read_messages(fields: Fields) -> list[dict]:
    """`messages` as the chat template takes them: roles it knows, content as one string."""
    messages = fields.take("messages")
    if not isinstance(messages, list) or not messages:
        raise fields.refuse("messages", "a list of at least one message", messages)
    return [_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _message(value: object, path: str) -> dict:
    if not isinstance(value, dict):
        raise BadRequest(f"{path} must be an object with role and content; it is {kind_of(value)}.", param=path)
    fields = Fields(value, path + ".")
    role = fields.take("role")
    if not isinstance(role, str) or role not in ROLES:
        raise fields.refuse("role", "one of " + ", ".join(ROLES), role)
    message = {"role": ROLES[role], "content": _content(fields, role)}
    if name := fields.string("name"):
        message["name"] = name
    if role == "tool" and (call_id := fields.string("tool_call_id")):
        message["tool_call_id"] = call_id
    if role == "assistant":
        if calls := read_calls(fields):
            message["tool_calls"] = calls
        if thought := fields.string("reasoning_content") or fields.string("reasoning"):
            message["reasoning_content"] = thought
        fields.only("function_call")
        fields.ignore("refusal", "annotations", "audio", "parsed")
    fields.finish()
    return message


def _content(fields: Fields, role: str) -> str:
    content = fields.take("content")
    if isinstance(content, str):
        return content
    if content is None and role == "assistant":
        return ""  # a turn that only called tools
    if isinstance(content, list):
        return "".join(_part(fields, part, i) for i, part in enumerate(content))
    raise fields.refuse("content", "a string or a list of text parts", content)


def _part(fields: Fields, part: object, i: int) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return part["text"]
    kind = part.get("type") if isinstance(part, dict) else part
    raise fields.refuse(f"content[{i}]", 'a part {"type": "text", "text": …}: this model reads text only', kind)


def with_system_prompt(messages: list[dict], system_prompt: str | None) -> list[dict]:
    """The messages, and before them the model's own system prompt when they bring none."""
    if not system_prompt or any(m["role"] == "system" for m in messages):
        return messages
    return [{"role": "system", "content": system_prompt}, *messages]

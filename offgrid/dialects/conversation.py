"""How tools, earlier calls and their results get into a prompt: as a template knows them, else as plain words.

Never changes what it is given. Messages are OpenAI's; what comes out is for the model's chat template.
"""

import hashlib
import json
import re

from offgrid.dialects.syntax import ARGUMENTS, NAME, CallForm, Dialect, Either, Filler, Piece, Space
from offgrid.dialects.traits import SHORT_ID_LENGTH, Traits
from offgrid.types import ToolUse

_THINKING_KEYS = ("reasoning_content", "reasoning", "thinking")
_BEGUN = "qzbegunanswer"  # in an answer's place while a template runs, which may trim texts, but not this one
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)  # in a JSON string


def conversation(
    messages: list[dict], use: ToolUse | None, dialect: Dialect, traits: Traits
) -> tuple[list[dict], list[dict] | None]:
    """(messages, tools) to hand to the template; tools None: it is given none."""
    tools = use.tools if use is not None else []
    is_listed_natively = dialect.is_native and traits.takes_tools
    if dialect.is_native and traits.takes_calls:
        written = [turn for message in _with_names(messages) for turn in _native(message, traits)]
        written = written if traits.takes_several_calls else _one_call_each(written, traits)
    else:
        written = _as_text(messages, dialect.calls.forms[0])
    if tools and not is_listed_natively:
        written = _with_system(written, instructions(use, dialect))
    if not traits.has_system:
        written = _without_system(written)
    if not traits.has_double_turns:
        written = _merged(written)
    if not tools or not is_listed_natively:
        return written, None
    return written, (tools if traits.takes_bare_tools else list(map(_complete, tools)))


def begun_answer(messages: list[dict]) -> tuple[list[dict], str | None]:
    """A conversation that ends with an answer is to be gone on with: (the same with a mark in that answer's place, the
    answer so far). None: it ends otherwise, with calls for one."""
    last = messages[-1] if messages else None
    if last is None or last["role"] != "assistant" or last.get("tool_calls"):
        return messages, None
    return [*messages[:-1], {**last, "content": _BEGUN}], last.get("content") or ""


def ending_with(answer: str, prompt: str) -> str | None:
    """The prompt that was made with the mark, up to the answer so far; None: the template does not show it."""
    before, mark, _ = prompt.rpartition(_BEGUN)
    return before + answer if mark else None


def with_plain_arguments(messages: list[dict]) -> list[dict]:
    """The same with calls whose arguments escape only what JSON must: what looks for the spelling of a control token
    would not see one behind \\u003c, and a template that is given the arguments as an object writes it out."""
    return [
        {**message, "tool_calls": [_with_plain_arguments(call) for call in message["tool_calls"]]}
        if any("\\" in call["function"]["arguments"] for call in message.get("tool_calls") or ())
        else message
        for message in messages
    ]


def _with_plain_arguments(call: dict) -> dict:
    function = call["function"]
    return {**call, "function": {**function, "arguments": _ESCAPE.sub(_plain, function["arguments"])}}


def _plain(escape: re.Match) -> str:
    if escape[1] is None:
        return "/" if escape[0] == "\\/" else escape[0]
    character = chr(int(escape[1], 16))
    must_be_escaped = character in '"\\' or character < " " or "\ud800" <= character <= "\udfff"
    return escape[0] if must_be_escaped else character


# --- as the template knows them ---


def _complete(tool: dict) -> dict:
    """The tool with all that a template may ask for."""
    function = tool["function"]
    parameters = {"type": "object", "properties": {}, "required": [], **(function.get("parameters") or {})}
    return {**tool, "function": {"description": "", **function, "parameters": parameters}}


def _with_names(messages: list[dict]) -> list[dict]:
    """Results with the name of their tool, which some templates ask for."""
    names = {call["id"]: call["function"]["name"] for message in messages for call in message.get("tool_calls") or ()}
    return [
        {**message, "name": names[message["tool_call_id"]]}
        if message["role"] == "tool" and "name" not in message and message.get("tool_call_id") in names
        else message
        for message in messages
    ]


def _native(message: dict, traits: Traits) -> list[dict]:
    """The message, or the two, that the template takes for it."""
    turn = {key: value for key, value in message.items() if key not in _THINKING_KEYS}
    if message["role"] == "tool":
        if "tool_call_id" in turn:
            turn["tool_call_id"] = _id(turn["tool_call_id"], traits)
        return [turn]
    thought = next((message[key] for key in _THINKING_KEYS if message.get(key)), None)
    calls = turn.pop("tool_calls", None)
    if not calls:
        if thought and traits.thinking_key:
            turn[traits.thinking_key] = thought
        return [turn]
    turns = []
    if turn.get("content") and not traits.takes_text_with_calls and traits.has_double_turns:
        turns.append(turn)  # the text first, as a message of its own
        turn = {"role": turn["role"]}
    content = turn.get("content") or traits.empty_content
    turn = {**turn, "content": content, "tool_calls": [_call(call, traits) for call in calls]}
    if thought and traits.thinking_key and (not content or traits.takes_thinking_with_text):
        turn[traits.thinking_key] = thought
    return [*turns, turn]


def _call(call: dict, traits: Traits) -> dict:
    function = dict(call["function"])
    if traits.has_object_arguments:
        function["arguments"] = _read_arguments(function["arguments"])
    return {**call, "type": "function", "id": _id(call["id"], traits), "function": function}


def _id(call_id: str, traits: Traits) -> str:
    """The id, or always the same short one in its place."""
    is_short = len(call_id) == SHORT_ID_LENGTH and call_id.isascii() and call_id.isalnum()
    if traits.takes_long_ids or is_short:
        return call_id
    return hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:SHORT_ID_LENGTH]


def _read_arguments(text: str) -> object:
    """The object; the text itself where it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict) else text


def _one_call_each(messages: list[dict], traits: Traits) -> list[dict]:
    """Several calls of one message as several messages, each with its result behind it."""
    written: list[dict] = []
    waiting: list[dict] = []  # further calls, until a result of theirs comes
    for message in messages:
        if message["role"] == "tool":
            while waiting and not _answers(message, written):
                written.append(waiting.pop(0))
        else:
            written += waiting
            waiting = []
        calls = message.get("tool_calls") or ()
        if len(calls) > 1:
            bare = {"role": message["role"], "content": traits.empty_content}
            waiting = [{**bare, "tool_calls": [call]} for call in calls[1:]]
            message = {**message, "tool_calls": calls[:1]}
        written.append(message)
    return written + waiting


def _answers(result: dict, written: list[dict]) -> bool:
    """Whether the call that was written last is the result's."""
    calls = next((message["tool_calls"] for message in reversed(written) if message.get("tool_calls")), ())
    return any(call["id"] == result.get("tool_call_id") for call in calls)


# --- as plain words ---


def instructions(use: ToolUse, dialect: Dialect) -> str:
    """What a model whose template knows no tools is told about them."""
    form = dialect.calls.forms[0]
    told = [{key: value for key, value in tool["function"].items() if key != "strict"} for tool in use.tools]
    listed = "\n".join(json.dumps(function, ensure_ascii=False) for function in told)
    example = write_calls(form, [("name of the tool", '{"name of an argument": "its value"}')])
    several = "For several calls, write several. " if use.is_parallel and form.separator is not None else ""
    return (
        'You can use tools. Each line below is one tool; its arguments follow the JSON Schema in "parameters".\n'
        f"<tools>\n{listed}\n</tools>\n"
        f"To call a tool, write only this:\n{example}\n"
        f"{several}What the tool returns is then given to you in <tool_response></tool_response>. {_demand(use)}"
    )


def _demand(use: ToolUse) -> str:
    if use.only is not None:
        return f"Your next answer must be a call of the tool {use.only}."
    if use.is_required:
        return "Your next answer must be a call of a tool."
    return "When no tool is of use, answer in plain words."


def write_calls(form: CallForm, calls: list[tuple[str, str]]) -> str:
    """Calls (name, arguments as JSON) as the model itself would write them."""
    between = _text(form.separator or (Space("\n"),))
    written = between.join(_text(form.call, name, arguments) for name, arguments in calls)
    return _text(form.opening) + written + _text(form.closing)


def _text(pieces: tuple[Piece, ...], name: str = "", arguments: str = "") -> str:
    texts = []
    for piece in pieces:
        match piece:
            case str():
                texts.append(piece)
            case Space(usual):
                texts.append(usual)
            case Filler():
                texts.append(piece.usual)
            case Either(options):
                texts.append(_text(options[0], name, arguments))
            case _:
                texts.append({NAME: name, ARGUMENTS: arguments}[piece])
    return "".join(texts)


def _as_text(messages: list[dict], form: CallForm) -> list[dict]:
    """Calls in the text of the assistant, results as a user's message; those that follow each other in one."""
    written: list[dict] = []
    was_result = False
    for message in messages:
        turn = {key: value for key, value in message.items() if key not in (*_THINKING_KEYS, "tool_calls")}
        is_result = message["role"] == "tool"
        if is_result:
            content = f"<tool_response>\n{message.get('content') or ''}\n</tool_response>"
            turn = {"role": "user", "content": content}
            if was_result:
                turn["content"] = f"{written.pop()['content']}\n{content}"
        elif calls := message.get("tool_calls"):
            text = write_calls(form, [(call["function"]["name"], call["function"]["arguments"]) for call in calls])
            turn["content"] = "\n".join(filter(None, (message.get("content"), text)))
        written.append(turn)
        was_result = is_result
    return written


def _with_system(messages: list[dict], text: str) -> list[dict]:
    if messages and messages[0]["role"] == "system":
        return [{**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _without_system(messages: list[dict]) -> list[dict]:
    """What system messages say, at the beginning of the first user's message behind them."""
    written: list[dict] = []
    held: list[str] = []
    for message in messages:
        if message["role"] == "system":
            held.append(message["content"])
        elif held and message["role"] == "user":
            written.append({**message, "content": "\n\n".join([*held, message["content"]])})
            held = []
        else:
            written.append(message)
    return [*written, {"role": "user", "content": "\n\n".join(held)}] if held else written


def _merged(messages: list[dict]) -> list[dict]:
    """Messages of one role that follow each other, as one."""
    written: list[dict] = []
    for message in messages:
        last = written[-1] if written else None
        if last and last["role"] == message["role"] in ("user", "assistant") and not _has_calls(last, message):
            contents = (last.get("content"), message.get("content"))
            written[-1] = {**last, "content": "\n\n".join(filter(None, contents))}
        else:
            written.append(message)
    return written


def _has_calls(*messages: dict) -> bool:
    return any(message.get("tool_calls") for message in messages)

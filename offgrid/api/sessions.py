"""/v1/sessions: conversations that the server keeps under a name, each for the one who made it."""

import unicodedata

from offgrid.api.fields import Fields
from offgrid.api.paging import read_page
from offgrid.api.times import rfc3339
from offgrid.store.sessions import MAX_MESSAGES, Message, Session
from offgrid.web.message import Request, Response

ROLES = ("system", "user", "assistant", "tool")
MAX_NAME_CHARS = 128
MAX_MODEL_CHARS = 256
N_LISTED, MAX_LISTED = 100, 1000


def list_sessions(request: Request, app) -> Response:
    """With their messages, as the original's clients read them, so that a page is also bounded in bytes."""
    limit, offset = read_page(request, N_LISTED, MAX_LISTED)
    owner = request.who.owner
    found = app.sessions.list(owner, limit, offset)
    answer = {"sessions": [_as_json(s) for s in found], "count": len(found), "total": app.sessions.count(owner)}
    return Response.json(answer)


def create_session(request: Request, app) -> Response:
    fields = Fields(request.json())
    name = read_name(fields)
    model_id = _text(fields, "model_id", fields.string("model_id", ""))
    if len(model_id) > MAX_MODEL_CHARS:
        raise fields.refuse("model_id", f"at most {MAX_MODEL_CHARS} characters long", model_id)
    messages = _messages(fields)
    fields.finish()
    return Response.json(_as_json(app.sessions.create(request.who.owner, name, model_id, messages)), status=201)


def get_session(request: Request, app, name: str) -> Response:
    return Response.json(_as_json(app.sessions.get(request.who.owner, _normal(name))))


def delete_session(request: Request, app, name: str) -> Response:
    app.sessions.delete(request.who.owner, _normal(name))
    return Response.json({"success": True, "message": f"The session {name!r} is deleted."})


def append_messages(request: Request, app, name: str) -> Response:
    """One message, or several with none of another client between them."""
    body = request.json()
    fields = Fields(body)
    if "messages" in body:
        messages = _messages(fields)
        if not messages:
            raise fields.refuse("messages", "a list of at least one message", [])
        fields.finish()
    else:
        messages = [_message(fields)]
    app.sessions.append(request.who.owner, _normal(name), messages)
    n = len(messages)
    return Response.json({"success": True, "message": f"{n} message{'s are' if n > 1 else ' is'} added to {name!r}."})


def _messages(fields: Fields) -> list[Message]:
    given = fields.take("messages") or []
    if not isinstance(given, list) or len(given) > MAX_MESSAGES:
        raise fields.refuse("messages", f"a list of up to {MAX_MESSAGES} messages", given)
    messages = []
    for i, item in enumerate(given):
        if not isinstance(item, dict):
            raise fields.refuse(f"messages[{i}]", "an object with role and content", item)
        messages.append(_message(Fields(item, f"messages[{i}].")))
    return messages


def _message(fields: Fields) -> Message:
    role = fields.string("role")
    if role not in ROLES:
        raise fields.refuse("role", f"one of {', '.join(ROLES)}", role)
    content = fields.string("content")
    if content is None or (not content and role != "assistant"):  # a model may have had nothing to say
        raise fields.refuse("content", "a string, and only an assistant's may be empty", content)
    fields.finish()
    return Message(role, _text(fields, "content", content))


def read_name(fields: Fields) -> str:
    """Letters of any script (with their marks), digits and ` . _ -`: what a URL and a page can show unharmed."""
    given = fields.string("name") or ""
    # Not a text of any length: its normal form takes a time that grows with the square of its marks.
    name = _normal(given) if len(given) <= 4 * MAX_NAME_CHARS else given
    is_right = 1 <= len(name) <= MAX_NAME_CHARS and all(_is_part_of_names(c) for c in name)
    if not is_right or not name[0].isalnum() or name[-1] == " ":
        wanted = (
            f"1 to {MAX_NAME_CHARS} letters, digits, spaces or . _ -, begin with a letter or digit, not end in a space"
        )
        raise fields.refuse("name", wanted, name)
    return name


def _is_part_of_names(character: str) -> bool:
    return character in " ._-" or unicodedata.category(character)[0] in "LMN"


def _normal(name: str) -> str:
    """One spelling where Unicode has two: é may be one character or two."""
    return unicodedata.normalize("NFC", name)


def _text(fields: Fields, name: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise fields.refuse(name, "text without halves of surrogate pairs", text) from None
    return text


def _as_json(session: Session) -> dict:
    return {
        "name": session.name,
        "model_id": session.model_id,
        "messages": [{"role": m.role, "content": m.content, "timestamp": rfc3339(m.at)} for m in session.messages],
        "created_at": rfc3339(session.created_at),
        "updated_at": rfc3339(session.updated_at),
    }

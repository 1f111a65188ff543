"""/v1/sessions: conversations that the server keeps under a name, each for the one who made it."""

import unicodedata

from offgrid.api import paging
from offgrid.api.answers import DONE, JSON, PAGE
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, Object, Variants, required
from offgrid.api.shapes import ListOf, Shape, Text, wrong
from offgrid.api.times import rfc3339
from offgrid.store.sessions import MAX_MESSAGES, Message, Session
from offgrid.web.message import Request, Response

ROLES = ("system", "user", "assistant", "tool")
MAX_NAME_CHARS = 128
MAX_MODEL_CHARS = 256


class Name(Shape):
    """Letters of any script (with their marks), digits and ` . _ -`: what a URL and a page can show unharmed."""

    wanted = f"1 to {MAX_NAME_CHARS} letters, digits, spaces or . _ -, begin with a letter or digit, not end in a space"

    def read(self, value: object, path: str) -> str:
        if not isinstance(value, str):
            raise wrong(path, "a string", value)
        # Not a text of any length: its normal form takes a time that grows with the square of its marks.
        name = _normal(value) if len(value) <= 4 * MAX_NAME_CHARS else value
        is_right = 1 <= len(name) <= MAX_NAME_CHARS and all(_is_part_of_names(c) for c in name)
        if not is_right or not name[0].isalnum() or name[-1] == " ":
            raise wrong(path, self.wanted, name)
        return name

    def schema(self) -> dict:
        return {"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS}


class OneOrMore(Shape):
    """A message by itself, or several under `messages`."""

    def read(self, value: dict, path: str) -> Asked:
        return (SEVERAL if "messages" in value else MESSAGE).read(value, path)

    def schema(self) -> dict:
        return {"anyOf": [MESSAGE.schema(), SEVERAL.schema()]}


def _content(min_chars: int) -> Object:
    return Object(required("content", Text(min_chars, is_unicode=True), "What they say.", "What is 2 + 2?"))


# An assistant's text may be empty: a model may have had nothing to say.
MESSAGE = Variants("role", {role: _content(0 if role == "assistant" else 1) for role in ROLES})
NAME = required("name", Name(), "What the session is called: letters, digits, spaces and . _ -", "maths")
MODEL_ID = Field("model_id", Text(max_chars=MAX_MODEL_CHARS, is_unicode=True), "The model that it is held with.", "")
MESSAGES = Field(
    "messages",
    ListOf(MESSAGE, MAX_MESSAGES, says=f"a list of up to {MAX_MESSAGES} messages"),
    "What has been said so far.",
    [],
)
AT_LEAST_ONE = ListOf(MESSAGE, MAX_MESSAGES, 1, "a list of at least one message")
SEVERAL = Object(required("messages", AT_LEAST_ONE, "In this order.", [{"role": "user", "content": "And 3 + 3?"}]))
SESSION = {
    "name": str,
    "model_id": str,
    "messages": [{"role": str, "content": str, "timestamp": str}],
    "created_at": str,
    "updated_at": str,
}


@endpoint(query=paging.PAGE, answer={"sessions": [SESSION], **PAGE})
def list_sessions(request: Request, app, asked: Asked) -> Response:
    """One's sessions, changed last first.

    With their messages, as the original's clients read them, so that a page is also bounded in bytes.
    """
    owner = request.who.owner
    found = app.sessions.list(owner, asked["limit"], asked["offset"])
    answer = {"sessions": [_as_json(s) for s in found], "count": len(found), "total": app.sessions.count(owner)}
    return Response.json(answer)


@endpoint(body=(NAME, MODEL_ID, MESSAGES), answers={201: {JSON: SESSION}}, errors=(409,))
def create_session(request: Request, app, asked: Asked) -> Response:
    """Keep a conversation under a name."""
    messages = [_message(one) for one in asked["messages"]]
    session = app.sessions.create(request.who.owner, asked["name"], asked["model_id"], messages)
    return Response.json(_as_json(session), status=201)


@endpoint(answer=SESSION)
def get_session(request: Request, app, name: str) -> Response:
    """A session with its messages."""
    return Response.json(_as_json(app.sessions.get(request.who.owner, _normal(name))))


@endpoint(answer=DONE)
def delete_session(request: Request, app, name: str) -> Response:
    """Delete a session and its messages."""
    app.sessions.delete(request.who.owner, _normal(name))
    return Response.json({"success": True, "message": f"The session {name!r} is deleted."})


@endpoint(body=OneOrMore(), answer=DONE)
def append_messages(request: Request, app, asked: Asked, name: str) -> Response:
    """Put a message at the end of a session, or several with none of another client between them."""
    messages = [_message(one) for one in asked.get("messages", (asked,))]
    app.sessions.append(request.who.owner, _normal(name), messages)
    n = len(messages)
    return Response.json({"success": True, "message": f"{n} message{'s are' if n > 1 else ' is'} added to {name!r}."})


def _message(asked: Asked) -> Message:
    return Message(asked["role"], asked["content"])


def _is_part_of_names(character: str) -> bool:
    return character in " ._-" or unicodedata.category(character)[0] in "LMN"


def _normal(name: str) -> str:
    """One spelling where Unicode has two: é may be one character or two."""
    return unicodedata.normalize("NFC", name)


def _as_json(session: Session) -> dict:
    return {
        "name": session.name,
        "model_id": session.model_id,
        "messages": [{"role": m.role, "content": m.content, "timestamp": rfc3339(m.at)} for m in session.messages],
        "created_at": rfc3339(session.created_at),
        "updated_at": rfc3339(session.updated_at),
    }

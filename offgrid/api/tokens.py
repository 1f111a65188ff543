"""POST /tokenize, /detokenize, /apply-template: a model's tokens and prompts as llama-server shows them."""

from offgrid.api.chat import read_conversation
from offgrid.api.fields import Fields
from offgrid.api.generate import ask_once
from offgrid.api.keep_alive import read_keep_alive
from offgrid.api.models import LISTED, model_for
from offgrid.engine.catalog import ModelFile
from offgrid.errors import BadRequest, TooLarge
from offgrid.types import DetokenizeRequest, RenderRequest, TokenizeRequest, Tokens
from offgrid.web.message import Request, Response

MAX_TEXT_BYTES = 1_000_000  # of UTF-8; while they are read, the prompts of others wait
MAX_TOKENS = 262_144


def tokenize(request: Request, app) -> Response:
    fields = Fields(request.json())
    model = _model(app, fields)
    text = fields.string("content")
    if text is None:
        raise fields.refuse("content", "a string", None)
    _check_text([("content", text)], "content")
    asked = TokenizeRequest(
        text,
        add_special=fields.boolean("add_special"),
        parse_special=fields.boolean("parse_special", True),
        with_pieces=fields.boolean("with_pieces"),
    )
    keep_alive_s = read_keep_alive(fields)
    fields.finish()
    tokens = ask_once(request, app, model, asked, keep_alive_s)
    return Response.json({"tokens": _with_pieces(tokens) if asked.with_pieces else tokens.ids})


def detokenize(request: Request, app) -> Response:
    fields = Fields(request.json())
    model = _model(app, fields)
    tokens = fields.take("tokens")
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
        raise fields.refuse("tokens", "a list of token ids (whole numbers)", tokens)
    if len(tokens) > MAX_TOKENS:
        raise TooLarge(f"tokens may hold {MAX_TOKENS} ids; it holds {len(tokens)}.", param="tokens")
    keep_alive_s = read_keep_alive(fields)
    fields.finish()
    answer = ask_once(request, app, model, DetokenizeRequest(tokens), keep_alive_s)
    return Response.json({"content": answer.text})


def apply_template(request: Request, app) -> Response:
    """The prompt that /v1/chat/completions would compute for the same messages."""
    fields = Fields(request.json())
    model, own = model_for(app, fields, "chat")
    asked = RenderRequest(**read_conversation(fields, own.system_prompt))
    _check_text([(f"messages[{i}].content", m["content"]) for i, m in enumerate(asked.messages)], "messages")
    keep_alive_s = read_keep_alive(fields)
    fields.finish()
    answer = ask_once(request, app, model, asked, keep_alive_s)
    return Response.json({"prompt": answer.text})


def _model(app, fields: Fields) -> ModelFile:
    """A model of any kind that has a vocabulary of its own; the default chat model when none is named."""
    name = fields.string("model")
    model = app.catalog.resolve(name) if name else app.default_model("chat")
    if model.kind not in LISTED:
        raise BadRequest(f"{model.id} is of the kind {model.kind} and has no tokens of its own.", param="model")
    return model


def _check_text(texts: list[tuple[str, str]], field: str) -> None:
    """Raises BadRequest, TooLarge: what the named texts of a field must not be."""
    n_bytes = 0
    for name, text in texts:
        try:
            n_bytes += len(text.encode())
        except UnicodeEncodeError:
            raise BadRequest(f"{name} holds half of a surrogate pair, which is no character.", param=name) from None
    if n_bytes > MAX_TEXT_BYTES:
        raise TooLarge(f"{field} may have {MAX_TEXT_BYTES} bytes of text; it has {n_bytes}.", param=field)


def _with_pieces(tokens: Tokens) -> list[dict]:
    pieces = {token: _piece(raw) for token, raw in tokens.pieces.items()}
    return [{"id": token, "piece": pieces[token]} for token in tokens.ids]


def _piece(raw: bytes) -> str | list[int]:
    """A part of a character is no text: then its bytes."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return list(raw)

"""POST /tokenize, /detokenize, /apply-template: a model's tokens and prompts as llama-server shows them."""

from offgrid.api.chat import CONVERSATION, read_conversation
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, required
from offgrid.api.generate import ask_once
from offgrid.api.grounding import USE_KNOWLEDGE_BASE, ground
from offgrid.api.keep_alive import KEEP_ALIVE, read_keep_alive
from offgrid.api.models import LISTED, MODEL, model_for
from offgrid.api.shapes import Flag, ListOf, Text, Whole, wrong
from offgrid.engine.catalog import ModelFile
from offgrid.errors import BadRequest, TooLarge
from offgrid.types import DetokenizeRequest, RenderRequest, TokenizeRequest, Tokens
from offgrid.web.message import Request, Response

MAX_TEXT_BYTES = 1_000_000  # of UTF-8; while they are read, the prompts of others wait
MAX_TOKENS = 262_144


class TokenIds(ListOf):
    def read(self, value: object, path: str) -> tuple[int, ...]:
        if not isinstance(value, list) or not all(type(token) is int for token in value):
            raise wrong(path, self.wanted, value)
        if len(value) > self.most:
            raise TooLarge(f"{path} may hold {self.most} ids; it holds {len(value)}.", param=path)
        return tuple(value)


IDS = TokenIds(Whole(-(2**31), 2**31 - 1), MAX_TOKENS, says="a list of token ids (whole numbers)")
TOKENIZE = (
    required("content", Text(), f"The text, of at most {MAX_TEXT_BYTES} bytes.", "Hello!"),
    MODEL,
    Field("add_special", Flag(), "With the tokens that the model puts around a text.", False),
    Field("parse_special", Flag(), "A control token that the text spells is that token.", True),
    Field("with_pieces", Flag(), "Tell for each token what it stands for.", False),
    *KEEP_ALIVE,
)
PIECES = [{"id": int, "piece": (str, [int])}]


@endpoint(body=TOKENIZE, answer={"tokens": ([int], PIECES)}, errors=(404, 413, 507))
def tokenize(request: Request, app, asked: Asked) -> Response:
    """The tokens of a text."""
    model = model_with_tokens(app, asked)
    text, with_pieces = asked["content"], asked["with_pieces"]
    _check_text([("content", text)], "content")
    question = TokenizeRequest(
        text, add_special=asked["add_special"], parse_special=asked["parse_special"], with_pieces=with_pieces
    )
    tokens = ask_once(request, app, model, question, read_keep_alive(asked))
    return Response.json({"tokens": _with_pieces(tokens) if with_pieces else tokens.ids})


@endpoint(
    body=(required("tokens", IDS, "Of this model.", [1, 2]), MODEL, *KEEP_ALIVE),
    answer={"content": str},
    errors=(404, 413, 507),
)
def detokenize(request: Request, app, asked: Asked) -> Response:
    """The text of tokens."""
    model = model_with_tokens(app, asked)
    answer = ask_once(request, app, model, DetokenizeRequest(asked["tokens"]), read_keep_alive(asked))
    return Response.json({"content": answer.text})


@endpoint(body=(MODEL, *CONVERSATION, *USE_KNOWLEDGE_BASE, *KEEP_ALIVE), answer={"prompt": str}, errors=(409, 413))
def apply_template(request: Request, app, asked: Asked) -> Response:
    """The prompt that /v1/chat/completions would compute for the same messages."""
    model, own = model_for(app, asked, "chat")
    conversation, _ = ground(request, app, asked, model, read_conversation(asked, app, own.system_prompt))
    question = RenderRequest(**conversation)
    _check_text([(f"messages[{i}].content", m["content"]) for i, m in enumerate(question.messages)], "messages")
    answer = ask_once(request, app, model, question, read_keep_alive(asked))
    return Response.json({"prompt": answer.text})


def model_with_tokens(app, asked: Asked) -> ModelFile:
    """A model of any kind that has a vocabulary of its own; the default chat model when none is named."""
    name = asked["model"]
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

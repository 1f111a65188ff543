"""LoLLMs' /tokenize, /detokenize, /count_tokens, /context_size: how long a text is for a model, and what fits.

A text is text: a control token that it spells has the tokens of its letters, as in a message of a chat. Nothing is put
before or after it.
"""

from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, required
from offgrid.api.generate import ask_once
from offgrid.api.keep_alive import KEEP_ALIVE, read_keep_alive
from offgrid.api.models import MODEL
from offgrid.api.props import context_of
from offgrid.api.shapes import Text
from offgrid.api.tokens import IDS, MAX_TEXT_BYTES, model_with_tokens
from offgrid.errors import TooLarge
from offgrid.types import DetokenizeRequest, TokenizeRequest
from offgrid.web.message import Request, Response


class TextToCount(Text):
    def read(self, value: object, path: str) -> str:
        text = super().read(value, path)
        if (n_bytes := len(text.encode())) > MAX_TEXT_BYTES:
            raise TooLarge(f"{path} may have {MAX_TEXT_BYTES} bytes of text; it has {n_bytes}.", param=path)
        return text


TEXT = required("text", TextToCount(is_unicode=True), f"At most {MAX_TEXT_BYTES} bytes of UTF-8.", "Hello world")
TOKENS = required("tokens", IDS, "Of this model.", [1, 2, 3])
ERRORS = (404, 413, 507)


@endpoint(body=(MODEL, TEXT, *KEEP_ALIVE), answer={"tokens": [int], "count": int}, errors=ERRORS)
def tokenize(request: Request, app, asked: Asked) -> Response:
    """The tokens of a text, and how many they are."""
    tokens = _tokens(request, app, asked)
    return Response.json({"tokens": tokens, "count": len(tokens)})


@endpoint(body=(MODEL, TEXT, *KEEP_ALIVE), answer={"count": int}, errors=ERRORS)
def count_tokens(request: Request, app, asked: Asked) -> Response:
    """How many tokens a text has."""
    return Response.json({"count": len(_tokens(request, app, asked))})


@endpoint(body=(MODEL, TOKENS, *KEEP_ALIVE), answer={"text": str}, errors=ERRORS)
def detokenize(request: Request, app, asked: Asked) -> Response:
    """The text of tokens."""
    model = model_with_tokens(app, asked)
    answer = ask_once(request, app, model, DetokenizeRequest(asked["tokens"]), read_keep_alive(asked))
    return Response.json({"text": answer.text})


@endpoint(body=(MODEL,), answer={"context_size": int}, errors=(404, 507))
def get_context_size(_request: Request, app, asked: Asked) -> Response:
    """How many tokens a prompt and its answer may have together; loads nothing."""
    return Response.json({"context_size": context_of(app, model_with_tokens(app, asked))})


def _tokens(request: Request, app, asked: Asked) -> tuple[int, ...]:
    model = model_with_tokens(app, asked)
    question = TokenizeRequest(asked["text"], parse_special=False)
    return ask_once(request, app, model, question, read_keep_alive(asked)).ids

"""Log probabilities in OpenAI's two formats, that of chats and the older one of completions: pure functions.

Tokens are bytes, and may be a part of a character; as text such bytes are written \\xe2, as OpenAI does.
"""

from typing import Any

from offgrid.api.fields import Asked, Field
from offgrid.api.shapes import Flag, Whole
from offgrid.errors import BadRequest
from offgrid.types import TokenScore

MOST_CHAT, MOST_TEXT = 20, 5  # alternatives for each token, as OpenAI has it


class OldLogprobs(Whole):
    """A number; false, which some clients of chats send here too, is as if it were left out."""

    def read(self, value: Any, path: str) -> int | None:
        return None if value is False else super().read(value, path)

    def schema(self) -> dict:
        return {"anyOf": [super().schema(), {"const": False}]}


CHAT_LOGPROBS = (
    Field("logprobs", Flag(), "Tell how likely the tokens were.", False),
    Field("top_logprobs", Whole(0, MOST_CHAT), "And so many of the likeliest ones in each place."),
)
TEXT_LOGPROBS = Field("logprobs", OldLogprobs(0, MOST_TEXT), "Tell how likely the tokens were, and so many others.")


def read_chat_logprobs(asked: Asked) -> int | None:
    """How many alternatives are wanted for each token; None: no probabilities at all."""
    wanted, n = asked["logprobs"], asked["top_logprobs"]
    if n and not wanted:
        raise BadRequest("top_logprobs goes with logprobs: true.", param="top_logprobs")
    return (n or 0) if wanted else None


def chat_logprobs(scores: list[TokenScore]) -> dict:
    return {"content": [_chat_entry(s) for s in scores], "refusal": None}


def text_logprobs(scores: list[TokenScore], n_before: int) -> dict:
    """`n_before`: characters of the choice's text before the generated ones."""
    return {
        "tokens": [_name(s.piece) for s in scores],
        "token_logprobs": [s.logprob for s in scores],
        "top_logprobs": [_by_name(s) for s in scores] if any(s.top for s in scores) else None,
        "text_offset": [n_before + s.start for s in scores],
    }


def _chat_entry(score: TokenScore) -> dict:
    top = [_token(piece, logprob) for piece, logprob in score.top]
    return {**_token(score.piece, score.logprob), "top_logprobs": top}


def _token(piece: bytes, logprob: float) -> dict:
    return {"token": piece.decode("utf-8", "backslashreplace"), "bytes": list(piece), "logprob": logprob}


def _by_name(score: TokenScore) -> dict[str, float]:
    """The likeliest tokens, and the one that was taken."""
    return {_name(piece): logprob for piece, logprob in (*score.top, (score.piece, score.logprob))}


def _name(piece: bytes) -> str:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + piece.decode("utf-8", "backslashreplace")

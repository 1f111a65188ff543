"""What tokens stand for, for clients that look at them.

Needs a vocabulary and no context, so any thread may ask. Must stay true: no id reaches llama.cpp that its vocabulary
does not have, which would end the process.
"""

import re
from functools import lru_cache

from offgrid.worker.refused import Refused


def text_of(model, tokens: list[int]) -> str:
    """The text of `tokens`, control tokens by their names; U+FFFD for bytes that are no character. Raises Refused."""
    for place, token in enumerate(tokens):
        if not 0 <= token < model.n_vocab:
            message = f"tokens[{place}] is {str(token)[:20]}; this model's tokens are 0 to {model.n_vocab - 1}."
            raise Refused(kind="bad_request", message=message, param=f"tokens[{place}]")
    return b"".join(map(model.shown_piece, tokens)).decode("utf-8", "replace")


def spelling(model, text: str, names: dict[str, int]) -> list[int] | None:
    """Tokens that print exactly `text`, a character at a time; None when the vocabulary cannot.

    `names`: control tokens that stand for themselves where the text spells them.
    """
    tokens: list[int] = []
    for part in re.findall("|".join([*map(re.escape, names), "."]), text, re.DOTALL):
        found = (names[part],) if part in names else _character(model, part)
        if found is None:
            return None
        tokens += found
    return tokens


@lru_cache(maxsize=1024)
def _character(model, character: str) -> tuple[int, ...] | None:
    wanted = character.encode("utf-8", "replace")
    for before in ("", "\n", "a"):  # some tokenizers put a space before the first character of a text
        tokens = model.tokenize(before + character, add_special=False, parse_special=False)
        for start in range(len(tokens) - 1, -1, -1):
            if b"".join(map(model.piece, tokens[start:])) == wanted:
                return tuple(tokens[start:])
    return None


def pieces_of(model, tokens: list[int]) -> dict[int, bytes]:
    """What each of the tokens stands for, each once."""
    return {token: model.shown_piece(token) for token in set(tokens)}

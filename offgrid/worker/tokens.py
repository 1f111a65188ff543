"""What tokens stand for, for clients that look at them.

Needs a vocabulary and no context, so any thread may ask. Must stay true: no id reaches llama.cpp that its vocabulary
does not have, which would end the process.
"""

from offgrid.worker.refused import Refused


def text_of(model, tokens: list[int]) -> str:
    """The text of `tokens`, control tokens by their names; U+FFFD for bytes that are no character. Raises Refused."""
    for place, token in enumerate(tokens):
        if not 0 <= token < model.n_vocab:
            message = f"tokens[{place}] is {str(token)[:20]}; this model's tokens are 0 to {model.n_vocab - 1}."
            raise Refused(kind="bad_request", message=message, param=f"tokens[{place}]")
    return b"".join(map(model.shown_piece, tokens)).decode("utf-8", "replace")


def pieces_of(model, tokens: list[int]) -> dict[int, bytes]:
    """What each of the tokens stands for, each once."""
    return {token: model.shown_piece(token) for token in set(tokens)}

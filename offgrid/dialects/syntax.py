"""How a family of models writes tool calls and thoughts, as values: what the parser, the grammar and the prompts read.

Data only. A call is a sequence of pieces, so a new format is some lines in `formats.py` and no code.
What must stay true: in every form NAME comes before ARGUMENTS, and something that is no name comes right after NAME.
"""

import re
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Space:
    """White space that may be left out; `usual` is what is written where we write it ourselves."""

    usual: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """NAME or ARGUMENTS: what differs from call to call."""

    what: str


@dataclass(frozen=True, slots=True)
class Filler:
    """`low` to `high` letters that mean nothing to us, such as an id that the model makes up."""

    letters: str  # a range, "09"; or several, "azAZ09"
    low: int
    high: int
    usual: str


@dataclass(frozen=True, slots=True)
class Either:
    """Any one of these sequences; the first is written where we write it ourselves."""

    options: tuple[tuple["Piece", ...], ...]


Piece = str | Space | Field | Filler | Either
NAME, ARGUMENTS = Field("name"), Field("arguments")


@dataclass(frozen=True, slots=True)
class CallForm:
    """opening, call (separator, call)…, closing."""

    call: tuple[Piece, ...]
    opening: tuple[Piece, ...] = ()
    closing: tuple[Piece, ...] = ()
    separator: tuple[Piece, ...] | None = None  # None: one call only
    # The text with which the form begins, wherever it comes. None: it begins at the start of the answer only, and is
    # taken for calls when it has come as far as the end of the first name.
    trigger: str | None = None


@dataclass(frozen=True, slots=True)
class CallSyntax:
    """The forms in which a model may write its calls; in the first of them we write them."""

    forms: tuple[CallForm, ...]


@dataclass(frozen=True)
class Dialect:
    name: str
    calls: CallSyntax
    thinking: tuple[str, str] | None = None  # what its thoughts stand between
    resume: str = ""  # what has to stand between a thought's end and the answer
    # Texts that belong to no content and show nothing: they only divide the answer into parts.
    dividers: tuple[str, ...] = ()
    first: str = ""  # such a text, at the very beginning of the answer only
    is_native: bool = True  # whether the model's template teaches these calls; else the prompt must

    @property
    def cut_thinking(self) -> str:
        """What ends a thought that becomes too long, so that the answer follows."""
        return self.thinking[1] + self.resume if self.thinking else ""

    _CONTROL: ClassVar = re.compile(r"<\|?[^<>\s\"{}=]+\|?>|\[/?[A-Z_]+\]")

    @property
    def markers(self) -> tuple[str, ...]:
        """The texts that may be control tokens of a vocabulary, and that a parser must see nevertheless."""
        texts = [*(self.thinking or ()), *self.dividers]
        for form in self.calls.forms:
            texts += [
                text
                for part in (form.opening, form.call, form.separator or (), form.closing)
                for text in _literals(part)
            ]
        return tuple(dict.fromkeys(found for text in texts for found in self._CONTROL.findall(text)))


def _literals(pieces: tuple[Piece, ...]) -> list[str]:
    found = []
    for piece in pieces:
        if isinstance(piece, str):
            found.append(piece)
        elif isinstance(piece, Either):
            found += [text for option in piece.options for text in _literals(option)]
    return found

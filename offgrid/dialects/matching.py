"""Finding texts that may come in pieces: whether a text has them, does not have them, or may yet come to have them.

Pure, and without state: the parser holds back what is still open.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from offgrid.dialects.syntax import ARGUMENTS, NAME, CallForm, Either, Field, Filler, Piece, Space

WHITE_SPACE = " \t\r\n"
MOST_SPACE = 200  # characters of it beside markup that are the markup's; a model that repeats itself writes on and on
_SPACE = re.compile(f"[{WHITE_SPACE}]{{0,{MOST_SPACE}}}")
_NAME = re.compile(r"[A-Za-z0-9_.-]{0,64}")

Flat = tuple[str | Space | Field | Filler, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A sequence was found at the beginning of a text; all are places in it."""

    end: int
    name: tuple[int, int] = (0, 0)


def without_space(text: str) -> int:
    """How many characters of a text are certain not to be the white space before markup."""
    return max(len(text.rstrip(WHITE_SPACE)), len(text) - MOST_SPACE)


class Sequences:
    """Sequences of pieces of which a text may begin with one."""

    def __init__(self, pieces: list[Flat]):
        self._all = tuple(dict.fromkeys(pieces))

    def match(self, text: str) -> Found | None:
        """What the text begins with."""
        return next((found for flat in self._all if isinstance(found := _match(flat, text), Found)), None)

    def may_come(self, text: str) -> bool:
        """Whether the text is all too short to tell."""
        return any(_match(flat, text) is True for flat in self._all)


def _match(flat: Flat, text: str) -> Found | bool:
    """What was found; True: the text ends before it can be told; False: it begins otherwise."""
    at, name = 0, (0, 0)
    for piece in flat:
        if isinstance(piece, str):
            if not text.startswith(piece, at):
                return piece.startswith(text[at:])
            at += len(piece)
        elif isinstance(piece, Space):
            at = _SPACE.match(text, at).end()
        else:
            found = _letters(piece).match(text, at)
            if found.end() == len(text):
                return True  # more letters may come
            if len(found[0]) < (piece.low if isinstance(piece, Filler) else 1):
                return False
            if piece == NAME:
                name = found.span()
            at = found.end()
    return Found(at, name)


@lru_cache
def _letters(piece: Field | Filler) -> re.Pattern:
    if isinstance(piece, Field):
        return _NAME
    ranges = "".join(f"{a}-{b}" for a, b in zip(piece.letters[::2], piece.letters[1::2], strict=True))
    return re.compile(f"[{ranges}]{{0,{piece.high}}}")


def flat(pieces: tuple[Piece, ...]) -> list[Flat]:
    """The sequences that `pieces` stand for, without choices, neighbouring texts as one."""
    sequences: list[Flat] = [()]
    for piece in pieces:
        options = [end for option in piece.options for end in flat(option)] if isinstance(piece, Either) else [(piece,)]
        sequences = [_joined(begun, option) for begun in sequences for option in options]
    return sequences


def _joined(a: Flat, b: Flat) -> Flat:
    if a and b and isinstance(a[-1], str) and isinstance(b[0], str):
        return (*a[:-1], a[-1] + b[0], *b[1:])
    return a + b


@dataclass(frozen=True, slots=True)
class FormPatterns:
    """A form of calls, cut where the parser has something to tell: names and arguments."""

    begin: Sequences  # up to the first name and what ends it
    middle: Sequences  # from behind a name up to the brace of its arguments
    next: Sequences  # from behind arguments up to the next name and what ends it
    end: Sequences  # from behind the last arguments


@lru_cache
def patterns_of(form: CallForm) -> FormPatterns:
    at = form.call.index(ARGUMENTS)
    head, tail = form.call[:at], form.call[at + 1 :]
    nexts = [] if form.separator is None else flat((*tail, *form.separator, *head))
    return FormPatterns(
        begin=Sequences(list(map(_up_to_name, flat((*form.opening, *head))))),
        middle=Sequences([(*pieces[pieces.index(NAME) + 1 :], "{") for pieces in flat(head)]),
        next=Sequences(list(map(_up_to_name, nexts))),
        end=Sequences(flat((*tail, *form.closing))),
    )


def _up_to_name(pieces: Flat) -> Flat:
    """With the first character of what follows the name: only then it is known to be complete."""
    at = pieces.index(NAME) + 1
    n = next((i for i, piece in enumerate(pieces[at:], at) if isinstance(piece, str)), len(pieces))
    return (*pieces[:n], pieces[n][:1] if n < len(pieces) else "{")


class Literals:
    """Texts that are looked for anywhere. One search a text, however many there are."""

    def __init__(self, literals: tuple[str, ...]):
        self.is_empty = not literals
        by_length = sorted(set(literals), key=len, reverse=True)
        begun = sorted({text[:n] for text in by_length for n in range(1, len(text))}, key=len, reverse=True)
        whole = "|".join(map(re.escape, by_length)) or "(?!)"
        # What is only begun comes first: the longest literal holds, so one that may yet become longer has to wait.
        self.search = re.compile(rf"(?P<begun>(?:{'|'.join(map(re.escape, begun)) or '(?!)'})\Z)|{whole}").search
        self.search_whole = re.compile(whole).search

"""Regular expressions, as JSON Schema's `pattern` has them (ECMAScript), read into expressions over characters.

Covered: characters and escapes, classes, `.`, groups, `|`, the quantifiers (a lazy one means the same texts), `^` and
`$` at the ends of the pattern or of its outermost alternatives. Refused: look-around, back-references, `\\b`, `\\p{…}`,
flags. Where dialects differ about what a class holds, only what all of them agree on is taken: `\\d` is 0 to 9, and
`\\W`, `[^\\w]`, `\\D`, `[^\\d]` are ASCII.
"""

from dataclasses import dataclass

from offgrid.grammar.charset import ASCII, EVERY, join, others, without
from offgrid.grammar.syntax import EMPTY, Alt, Chars, Expr, Ranges, Repeat, alt, children, seq, times

MAX_REPEATS = 10_000
MAX_NESTING = 32
MAX_CHARACTERS = 4000  # in the pattern itself

_BEYOND_ASCII: Ranges = without(EVERY, ASCII)
_DIGIT: Ranges = ((48, 57),)
_WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Ranges = ((9, 13), (32, 32))
_ANY_SPACE = join(_SPACE, ((28, 31), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029)),
                  ((0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)))  # fmt: skip
_LINE_ENDS: Ranges = ((10, 10), (13, 13), (0x2028, 0x2029))
_NAMED = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v"}
_HEX = {"x": 2, "u": 4}


class PatternError(ValueError):
    """What cannot be read, and what would work."""


@dataclass(frozen=True, slots=True)
class Class:
    """What every dialect has in a class, and what any of them has."""

    inner: Ranges
    outer: Ranges

    def turned(self) -> "Class":
        return Class(others(self.outer), others(self.inner))


_SHORTHANDS = {
    "d": Class(_DIGIT, join(_DIGIT, _BEYOND_ASCII)),
    "w": Class(_WORD, join(_WORD, _BEYOND_ASCII)),
    "s": Class(_SPACE, _ANY_SPACE),
}
_SHORTHANDS |= {name.upper(): kind.turned() for name, kind in _SHORTHANDS.items()}
ANY_TEXT = Repeat(Chars(others(_LINE_ENDS)), 0, None)


def read(pattern: str) -> Expr:
    """The texts that a pattern is found in. Raises PatternError."""
    if len(pattern) > MAX_CHARACTERS:
        raise PatternError(f"it has more than {MAX_CHARACTERS} characters")
    return _Reader(pattern).read()


def lengths(expr: Expr) -> tuple[int, int | None]:
    """The shortest and the longest text in characters; None: without end."""
    if isinstance(expr, Chars):
        return 1, 1
    spans = [lengths(child) for child in children(expr)]
    lows, highs = [low for low, _ in spans], [high for _, high in spans]
    if isinstance(expr, Repeat):
        least = lows[0] * expr.low
        return least, None if expr.high is None or highs[0] is None else highs[0] * expr.high
    if isinstance(expr, Alt):
        return min(lows), None if None in highs else max(highs)
    return sum(lows), None if None in highs else sum(highs)


class _Reader:
    def __init__(self, pattern: str):
        self._pattern = pattern
        self._at = 0
        self._depth = 0

    def read(self) -> Expr:
        branches = [self._branch()]
        while self._take("|"):
            branches.append(self._branch())
        if self._at < len(self._pattern):
            raise PatternError("there is a ) without its (")
        return alt(*branches)

    def _branch(self) -> Expr:
        before = EMPTY if self._take("^") else ANY_TEXT
        body = self._sequence()
        after = EMPTY if self._take("$") else ANY_TEXT
        if self._char() not in ("", "|", ")"):
            raise PatternError("$ is understood at the end only")
        return seq(before, body, after)

    def _alternatives(self) -> Expr:
        options = [self._sequence()]
        while self._take("|"):
            options.append(self._sequence())
        return alt(*options)

    def _sequence(self) -> Expr:
        parts = []
        while self._char() not in ("", "|", ")", "$"):
            parts.append(self._quantified(self._atom()))
        return seq(*parts)

    def _atom(self) -> Expr:
        char = self._next()
        if char == "(":
            return self._group()
        if char == "[":
            return Chars(self._class())
        if char == ".":
            return Chars(others(_LINE_ENDS))
        if char == "\\":
            kind = self._escape()
            return Chars(kind.inner)
        if char == "^":
            raise PatternError("^ is understood at the beginning only; put it before the group")
        if char in "*+?{":
            raise PatternError(f"{char} has nothing before it; write \\{char} for the character")
        return _one(char)

    def _group(self) -> Expr:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise PatternError(f"groups are nested more than {MAX_NESTING} deep")
        if self._take("?"):
            name = self._pattern.find(">", self._at)
            if self._take("<") and self._char() not in "=!" and name > 0:
                self._at = name + 1
            elif not self._take(":"):
                raise PatternError("of the groups that begin with (? only (?:…) and (?<name>…) are understood")
        inner = self._alternatives()
        if self._char() == "$":
            raise PatternError("$ is understood at the end only; put it behind the group")
        if not self._take(")"):
            raise PatternError("a closing ) is missing")
        self._depth -= 1
        return inner

    def _quantified(self, item: Expr) -> Expr:
        counts = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(self._char())
        if counts:
            self._at += 1
        elif self._char() == "{":
            counts = self._counts()
        else:
            return item
        self._take("?")  # lazy: other captures, the same texts
        if self._char() in ("*", "+", "?", "{") and self._char():
            raise PatternError("two quantifiers follow each other")
        low, high = counts
        if high == 1 or lengths(item)[0] > 0:
            return times(item, low, high)
        if isinstance(item, Repeat) and item.high is None and item.low == 0:
            return item  # (a*)* is a*
        raise PatternError("something is repeated that can be empty; let it be at least one character")

    def _counts(self) -> tuple[int, int | None]:
        end = self._pattern.find("}", self._at)
        low, comma, high = self._pattern[self._at + 1 : end].partition(",")
        numbers = [n for n in (low, high) if n]
        if end < 0 or not low or not all(n.isascii() and n.isdigit() for n in numbers):
            raise PatternError("{ must be {n}, {n,} or {n,m}; write \\{ for the character")
        if any(len(n) > 9 or int(n) > MAX_REPEATS for n in numbers):
            raise PatternError(f"at most {MAX_REPEATS} repetitions are possible")
        if high and int(high) < int(low):
            raise PatternError(f"{{{low},{high}}} ends before it begins")
        self._at = end + 1
        return int(low), int(high) if high else None if comma else int(low)

    def _class(self) -> Ranges:
        is_turned = self._take("^")
        kinds = []
        while self._char() != "]":
            low = self._class_atom()
            if self._char() == "-" and self._char(1) not in ("]", ""):
                self._at += 1
                high = self._class_atom()
                if not _is_single(low) or not _is_single(high) or low.inner > high.inner:
                    raise PatternError("a range in [ ] must go from one character to a later one")
                span = ((low.inner[0][0], high.inner[0][0]),)
                low = Class(span, span)
            kinds.append(low)
        self._at += 1
        whole = Class(join(*(k.inner for k in kinds)), join(*(k.outer for k in kinds)))
        ranges = (whole.turned() if is_turned else whole).inner
        if not ranges:
            raise PatternError("a class in [ ] holds no character")
        return without(ranges, ((0xD800, 0xDFFF),))

    def _class_atom(self) -> Class:
        char = self._next()
        if char == "\\":
            if self._take("b"):
                return Class(((8, 8),), ((8, 8),))
            return self._escape()
        return Class(_one(char).ranges, _one(char).ranges)

    def _escape(self) -> Class:
        char = self._next()
        if char in _SHORTHANDS:
            return _SHORTHANDS[char]
        if char in _HEX:
            digits = self._hex_digits(char)
            try:
                char = chr(int(digits, 16))
            except (ValueError, OverflowError):
                raise PatternError(f"\\{char}{digits} is no character") from None
            if char == "\0" or "\ud800" <= char <= "\udfff":
                raise PatternError(f"\\u{digits} is no character that can be generated")
        elif char in _NAMED:
            char = _NAMED[char]
        elif char.isalnum():
            raise PatternError(f"\\{char} is not understood; write what it stands for as a class or as text")
        return Class(_one(char).ranges, _one(char).ranges)

    def _hex_digits(self, kind: str) -> str:
        if kind == "u" and self._take("{"):
            end = self._pattern.find("}", self._at)
            digits = self._pattern[self._at : end] if end > 0 else ""
            self._at = end + 1
            return digits[:9]
        digits = self._pattern[self._at : self._at + _HEX[kind]]
        self._at += len(digits)
        return digits if len(digits) == _HEX[kind] else ""

    def _next(self) -> str:
        char = self._char()
        if not char:
            raise PatternError("it ends in the middle")
        self._at += 1
        return char

    def _take(self, char: str) -> bool:
        is_there = self._char() == char
        self._at += is_there
        return is_there

    def _char(self, ahead: int = 0) -> str:
        return self._pattern[self._at + ahead : self._at + ahead + 1]


def _one(char: str) -> Chars:
    if char == "\0":
        raise PatternError("the character 0 cannot be generated")
    return Chars(((ord(char), ord(char)),))


def _is_single(kind: Class) -> bool:
    return len(kind.inner) == 1 and kind.inner == kind.outer and kind.inner[0][0] == kind.inner[0][1]

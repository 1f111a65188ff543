"""JSON strings: free ones, with a length, of a pattern, of a format; and how characters are spelled within them."""

from collections.abc import Callable

from offgrid.grammar import regex
from offgrid.grammar.charset import common, holds, without
from offgrid.grammar.syntax import (
    NEVER,
    Alt,
    Chars,
    Expr,
    Ranges,
    Ref,
    Repeat,
    Seq,
    Text,
    alt,
    chars,
    seq,
    times,
)

QUOTE = Text('"')
MAX_LENGTH = 10_000  # characters that can be counted
PLAIN: Ranges = ((32, 33), (35, 91), (93, 0xD7FF), (0xE000, 0x10FFFF))  # need no escape; all UTF-8 and nothing else
_SPELLED = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
_HEX = chars("09", "af", "AF")

# One character of a free string. A pair of surrogate escapes is one; half a pair is none, as it is no text.
CHARACTER = alt(
    Chars(PLAIN),
    seq(
        Text("\\"),
        alt(
            chars('"', "\\", "/", "b", "f", "n", "r", "t"),
            seq(
                Text("u"),
                alt(
                    seq(chars("09", "ac", "ef", "AC", "EF"), times(_HEX, 3, 3)),
                    seq(chars("d", "D"), chars("07"), times(_HEX, 2, 2)),
                    seq(chars("d", "D"), chars("89", "ab", "AB"), times(_HEX, 2, 2), Text("\\u"),
                        chars("d", "D"), chars("cf", "CF"), times(_HEX, 2, 2)),
                ),
            ),
        ),
    ),
)  # fmt: skip

_YEAR_DAYS = r"(((0[13578]|1[02])-(0[1-9]|[12]\d|3[01]))|((0[469]|11)-(0[1-9]|[12]\d|30))|02-(0[1-9]|1\d|2[0-8]))"
_LEAP_YEAR = r"([1-9]\d(0[48]|[2468][048]|[13579][26])|([2468][048]|[13579][26])00)"
_DATE = rf"([1-9]\d{{3}}-{_YEAR_DAYS}|{_LEAP_YEAR}-02-29)"
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_CLOCK = r"T(\d{1,4}H(\d{1,4}M(\d{1,4}S)?)?|\d{1,4}M(\d{1,4}S)?|\d{1,4}S)"
_LABEL = r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?"
_HOST = rf"{_LABEL}(\.{_LABEL}){{0,5}}"
_MAILBOX = r"[A-Za-z0-9_+-]{1,32}"
_WORDS = r"[A-Za-z0-9._~=&-]"
_BYTE = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
FORMATS = {
    "date": rf"^{_DATE}$",
    "time": rf"^{_TIME}$",
    "date-time": rf"^{_DATE}T{_TIME}$",
    "duration": rf"^P(\d{{1,4}}W|\d{{1,4}}D({_CLOCK})?|{_CLOCK})$",
    "uuid": r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
    "email": rf"^{_MAILBOX}(\.{_MAILBOX}){{0,3}}@{_LABEL}(\.[a-z]{{2,12}}){{1,3}}$",
    "hostname": rf"^{_HOST}$",
    "ipv4": rf"^{_BYTE}(\.{_BYTE}){{3}}$",
    "ipv6": r"^[0-9a-f]{1,4}(:[0-9a-f]{1,4}){7}$",
    "uri": rf"^[a-z][a-z0-9+.-]{{1,15}}://{_HOST}(:[1-9]\d{{0,3}})?(/{_WORDS}{{0,64}}){{0,16}}(\?{_WORDS}{{0,200}})?$",
}


def characters(expr: Expr) -> Expr:
    """An expression over characters, as it is spelled within a JSON string: always the shortest way."""
    match expr:
        case Chars(ranges):
            plain = common(ranges, PLAIN)
            special = [_spelled(c) for c in range(1, 93) if holds(ranges, c) and not holds(PLAIN, c)]
            return alt(*([Chars(plain)] if plain else []), *(Text(text) for text in special))
        case Seq(parts):
            return seq(*map(characters, parts))
        case Alt(options):
            return alt(*map(characters, options))
        case Repeat(item, low, high):
            return Repeat(characters(item), low, high)
    raise TypeError(f"no expression over characters: {expr!r}")


def _spelled(point: int) -> str:
    return _SPELLED.get(point) or f"\\u{point:04x}"


def bounded(expr: Expr, low: int, high: int | None) -> Expr | None:
    """The texts of `expr` with `low` to `high` characters; None where that cannot be written.

    It can when all have such a length, and when only one part, a repetition of parts of one length, decides about it.
    """
    least, most = regex.lengths(expr)
    if least >= low and (high is None or (most is not None and most <= high)):
        return expr
    parts = list(expr.parts) if isinstance(expr, Seq) else [expr]
    loose = [i for i, part in enumerate(parts) if len(set(regex.lengths(part))) > 1]
    if len(loose) != 1 or not isinstance(parts[loose[0]], Repeat):
        return None
    part = parts[loose[0]]
    size, same = regex.lengths(part.item)
    if size != same or not size:
        return None
    n_others = sum(regex.lengths(other)[0] for i, other in enumerate(parts) if i != loose[0])
    lowest = max(part.low, -(-(low - n_others) // size))
    highest = part.high if high is None else (high - n_others) // size
    highest = highest if part.high is None else min(part.high, highest)
    if highest is not None and highest < lowest:
        return NEVER
    parts[loose[0]] = times(part.item, lowest, highest)
    return seq(*parts)


def other_names(names: list[str], rule: Callable[[str, Expr], Ref]) -> Expr:
    """A JSON string that is none of `names`. Without escapes, so that none of them is met by a detour.

    `rule` makes a rule of an expression.
    """
    rest = rule("name-rest", seq(Repeat(Chars(PLAIN), 0, None), QUOTE))

    def after(prefix: str, longer: list[str]) -> Expr:
        """What may follow `prefix`, up to the closing quote; `longer` are the names that begin with it."""
        at = len(prefix)
        nexts = sorted({name[at] for name in longer if len(name) > at})
        options: list[Expr] = [] if prefix in longer else [QUOTE]
        options.append(seq(Chars(without(PLAIN, tuple((ord(c), ord(c)) for c in nexts))), rest))
        for char in nexts:
            if holds(PLAIN, ord(char)):  # a name with another cannot be written at all here
                named = [name for name in longer if name[at : at + 1] == char]
                options.append(seq(Text(char), rule("name-part", after(prefix + char, named))))
        return alt(*options)

    return seq(QUOTE, after("", names))

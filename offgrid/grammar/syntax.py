"""Grammars as values: what a rule may consist of, and how rules are written as GBNF, llama.cpp's notation.

Knows nothing of JSON or schemas. A grammar is a dict of rules, name → expression; its text begins at "root". Names are
letters, digits and "-", as llama.cpp has it. Characters are always listed, never excluded: llama.cpp lets an excluding
class pass bytes that are no UTF-8.
"""

from dataclasses import dataclass

Ranges = tuple[tuple[int, int], ...]  # code points, both ends included, ascending


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Chars:
    """Any one of these characters."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Ref:
    name: str


@dataclass(frozen=True, slots=True)
class Seq:
    parts: tuple["Expr", ...]


@dataclass(frozen=True, slots=True)
class Alt:
    options: tuple["Expr", ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    item: "Expr"
    low: int
    high: int | None  # None: any number of times


Expr = Text | Chars | Ref | Seq | Alt | Repeat
Rules = dict[str, Expr]
EMPTY = Seq(())  # the empty text
NEVER = Alt(())  # no text at all


def seq(*parts: Expr) -> Expr:
    """One after the other; neighbouring texts become one."""
    flat: list[Expr] = []
    for part in parts:
        for piece in part.parts if isinstance(part, Seq) else (part,):
            if isinstance(piece, Text) and flat and isinstance(flat[-1], Text):
                flat[-1] = Text(flat[-1].text + piece.text)
            else:
                flat.append(piece)
    return flat[0] if len(flat) == 1 else Seq(tuple(flat))


def alt(*options: Expr) -> Expr:
    """Any one of them, each named once."""
    flat = dict.fromkeys(
        piece for option in options for piece in (option.options if isinstance(option, Alt) else (option,))
    )
    return next(iter(flat)) if len(flat) == 1 else Alt(tuple(flat))


def optional(item: Expr) -> Expr:
    return item if item == EMPTY else Repeat(item, 0, 1)


def times(item: Expr, low: int, high: int | None) -> Expr:
    if (low, high) == (1, 1):
        return item
    return EMPTY if high == 0 else Repeat(item, low, high)


def chars(*ranges: str) -> Chars:
    """`chars("az", "_")`: a to z, and the underscore."""
    return Chars(tuple(sorted((ord(r[0]), ord(r[-1])) for r in ranges)))


def children(expr: Expr) -> tuple[Expr, ...]:
    match expr:
        case Seq(parts):
            return parts
        case Alt(options):
            return options
        case Repeat(item):
            return (item,)
    return ()


def to_text(rules: Rules) -> str:
    return "".join(f"{name} ::= {_text(rule)}\n" for name, rule in rules.items())


def _text(expr: Expr, *, is_part: bool = False, is_repeated: bool = False) -> str:
    match expr:
        case Text(text):
            return '"' + "".join(map(_in_text, text)) + '"'
        case Chars(ranges):
            return "[" + "".join(_in_class(a) if a == b else f"{_in_class(a)}-{_in_class(b)}" for a, b in ranges) + "]"
        case Ref(name):
            return name
        case Seq(parts):
            text = " ".join(_text(part, is_part=True) for part in parts) or '""'
            return f"({text})" if is_repeated else text
        case Alt(options):
            text = " | ".join(map(_text, options))
            return f"({text})" if is_part or is_repeated else text
        case Repeat(item, low, high):
            text = _text(item, is_repeated=True) + _count(low, high)
            return f"({text})" if is_repeated else text
    raise TypeError(f"no expression: {expr!r}")


def _count(low: int, high: int | None) -> str:
    usual = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((low, high))
    if usual:
        return usual
    most = "" if high is None else high
    return f"{{{low}}}" if low == high else f"{{{low},{most}}}"


_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _in_text(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return _NAMED.get(char) or (_numbered(ord(char)) if ord(char) < 32 or ord(char) == 127 else char)


def _in_class(point: int) -> str:
    char = chr(point)
    if char in "[]\\-":
        return "\\" + char
    if char == "^":  # as the first of a class it would mean all others
        return "\\x5E"
    return _NAMED.get(char) or (char if 32 <= point < 127 else _numbered(point))


def _numbered(point: int) -> str:
    if point < 256:
        return f"\\x{point:02X}"
    return f"\\u{point:04X}" if point < 0x10000 else f"\\U{point:08X}"

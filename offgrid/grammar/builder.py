"""The rules of one grammar while it is being made, and the parts of JSON that all grammars share.

White space between the parts is what models usually write, and bounded, so that none pads for ever: nothing, one space,
or a new line with up to 20 spaces; after a colon at most one space. Values of any form nest at most MAX_DEPTH deep.
What repeats is written so that llama.cpp takes it: short, and each time by name.
"""

import json
import re

from offgrid.errors import BadRequest
from offgrid.grammar import numbers, strings
from offgrid.grammar.soundness import check, prune
from offgrid.grammar.syntax import (
    NEVER,
    Alt,
    Chars,
    Expr,
    Ref,
    Repeat,
    Rules,
    Seq,
    Text,
    alt,
    optional,
    seq,
    times,
    to_text,
)

MAX_DEPTH = 8  # of values of which nothing is said
MAX_BYTES = 256 * 1024
MAX_RULES = 10_000
BLOCK = 1000  # repetitions in one rule; llama.cpp takes 2,000
COLON = seq(Text(":"), optional(Text(" ")))
_SPACES = alt(seq(), Text(" "), seq(Text("\n"), times(Text(" "), 0, 20)))


class Builder:
    """`path` is the field at fault when the grammar as a whole cannot be."""

    def __init__(self, path: str):
        self._path = path
        self.rules: Rules = {"root": NEVER}
        self._by_expr: dict[Expr, Ref] = {}
        self._values: dict[int, Ref] = {}
        self._n_made = 0
        self.dead_ends: list[str] = []  # why something has no value: what is said when nothing is left

    def reserve(self, hint: str) -> Ref:
        """A rule that is given its meaning later, by `rules[ref.name]`."""
        if len(self.rules) >= MAX_RULES:
            raise BadRequest(f"{self._path} needs more than {MAX_RULES} rules. Make it smaller.", param=self._path)
        self._n_made += 1
        name = re.sub(r"[^a-zA-Z0-9]+", "-", hint).strip("-")[-32:].strip("-") or "rule"
        ref = Ref(f"{name}-{self._n_made}")
        self.rules[ref.name] = NEVER
        return ref

    def rule(self, hint: str, expr: Expr) -> Ref:
        """The rule for an expression; the same one for an equal expression."""
        if expr not in self._by_expr:
            ref = self.reserve(hint)
            self.rules[ref.name] = expr
            self._by_expr[expr] = ref
        return self._by_expr[expr]

    def never(self, reason: str) -> Expr:
        self.dead_ends.append(reason)
        return NEVER

    # --- parts of JSON ---

    @property
    def space(self) -> Expr:
        return self.rule("space", _SPACES)

    def comma(self) -> Expr:
        return seq(Text(","), self.space)

    def enclosed(self, opening: str, content: Expr, closing: str) -> Expr:
        """A list or an object with something in it."""
        return seq(Text(opening), self.space, content, self.space, Text(closing))

    def string(self) -> Expr:
        return self.rule("string", seq(strings.QUOTE, Repeat(self.character(), 0, None), strings.QUOTE))

    def character(self) -> Expr:
        return self.rule("character", strings.CHARACTER)

    def scalar(self, type_: str) -> Expr:
        match type_:
            case "null":
                return Text("null")
            case "boolean":
                return alt(Text("true"), Text("false"))
            case "integer":
                return self.rule("integer", numbers.INTEGER)
            case "number":
                return self.rule("number", numbers.NUMBER)
        return self.string()

    def value(self, depth: int = MAX_DEPTH) -> Expr:
        """Any JSON value."""
        if depth in self._values:
            return self._values[depth]
        options = [self.scalar(type_) for type_ in ("string", "number", "boolean", "null")]
        if depth > 0:
            options += [self.any_object(depth), self.any_list(depth)]
        self._values[depth] = self.rule(f"value-{depth}", alt(*options))
        return self._values[depth]

    def any_object(self, depth: int = MAX_DEPTH) -> Expr:
        member = self.rule(f"member-{depth}", seq(self.string(), COLON, self.value(depth - 1)))
        return self.rule(f"object-{depth}", alt(Text("{}"), self.enclosed("{", self.some(member), "}")))

    def any_list(self, depth: int = MAX_DEPTH) -> Expr:
        return self.rule(f"list-{depth}", alt(Text("[]"), self.enclosed("[", self.some(self.value(depth - 1)), "]")))

    def some(self, item: Expr, low: int = 1, high: int | None = None) -> Expr:
        """`low` (at least 1) to `high` items with commas between them."""
        more = self.rule("more", seq(self.comma(), item))
        return seq(item, times(more, low - 1, None if high is None else high - 1))

    # --- the whole ---

    def text(self) -> str:
        """The grammar. Raises BadRequest when it has no text, or is too large for a model to be held to it."""
        self.rules = prune(self.rules)
        if "root" not in self.rules:
            reason = "; ".join(dict.fromkeys(self.dead_ends[:3])) or "it asks for values that contain themselves"
            raise BadRequest(f"{self._path}: no JSON value fits: {reason}.", param=self._path)
        for name in list(self.rules):
            self.rules[name] = self._lowered(self.rules[name])
        hint = "Fewer optional properties or alternatives would do"
        check(self.rules, lambda message, _: BadRequest(f"{self._path}: {message}. {hint}.", param=self._path))
        text = to_text(self.rules)
        if len(text.encode()) > MAX_BYTES:
            message = f"{self._path} makes a grammar of more than {MAX_BYTES} bytes ({len(text.encode())}). Shorten it."
            raise BadRequest(message, param=self._path)
        return text

    def _lowered(self, expr: Expr) -> Expr:
        match expr:
            case Seq(parts):
                return seq(*map(self._lowered, parts))
            case Alt(options):
                return alt(*map(self._lowered, options))
            case Repeat(item, low, high):
                item = self._lowered(item)
                if max(low, high or 0) > 1 and not isinstance(item, Ref | Chars | Text):
                    item = self.rule("part", item)
                return self._counted(item, low, high)
        return expr

    def _counted(self, item: Expr, low: int, high: int | None) -> Expr:
        """A repetition in blocks, so that no rule grows without bound and at most two ways are open at a time."""
        if max(low, high or 0) <= BLOCK:
            return Repeat(item, low, high)
        block = self.rule("block", Repeat(item, BLOCK, BLOCK))
        n_blocks, n_single = divmod(low, BLOCK)
        fixed = seq(times(block, n_blocks, n_blocks), times(item, n_single, n_single))
        if high is None:
            return seq(fixed, Repeat(item, 0, None))
        few = self.rule("few", Repeat(item, 0, BLOCK - 1))
        n_blocks, n_single = divmod(high - low, BLOCK)
        upto: Expr = times(item, 0, n_single)
        for _ in range(n_blocks):
            upto = self.rule("upto", alt(few, seq(block, upto)))
        return seq(fixed, upto)


def literal(value: object) -> Text:
    """A JSON value as it is written here: compact, and without needless escapes."""
    return Text(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))


def choice(builder: Builder, texts: list[str]) -> Expr:
    """One of many texts, so that what several begin with is written once: llama.cpp keeps every way to begin apart."""
    groups: dict[str, list[str]] = {}
    for text in sorted(set(texts)):
        groups.setdefault(text[:1], []).append(text)
    options = []
    for first, group in groups.items():
        if len(group) == 1 or not first:
            options.append(Text(group[0]) if first else seq())
            continue
        pairs = enumerate(zip(group[0], group[-1], strict=False))  # the first and the last of what is sorted
        n_common = next((i for i, (a, b) in pairs if a != b), len(group[0]))
        rests = choice(builder, [text[n_common:] for text in group])
        options.append(seq(Text(group[0][:n_common]), builder.rule("choice", rests)))
    return alt(*options)

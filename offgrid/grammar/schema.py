"""JSON Schema → GBNF: a text that follows the grammar is JSON that validates against the schema.

What cannot be expressed is refused with its path, never left out. The grammar may be narrower than the schema: members
come in the order of `properties`, names that are not listed only where `additionalProperties` is given, one spelling
for each value of an enum. docs/structured-output.md says all of it.

A schema is compiled place by place: a rule for each set of places that hold together, made when it is first needed, so
recursion and shared definitions cost nothing more.
"""

import json
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

from offgrid.grammar import numbers
from offgrid.grammar.builder import Builder
from offgrid.grammar.containers import counts, list_expr, object_expr, read_pattern, values_expr
from offgrid.grammar.expand import Document, written_types
from offgrid.grammar.plain import EVERY_TYPE, FRACTION, All, Located, Plain, refuse, type_of
from offgrid.grammar.strings import FORMATS, QUOTE, bounded, characters
from offgrid.grammar.syntax import NEVER, Expr, Ref, alt, seq, times

MAX_SCHEMA_BYTES = 128 * 1024
_OBJECT = {"type": "object"}


def schema_grammar(schema: object, path: str) -> str:
    """The GBNF of a JSON Schema; `path` is its name in messages. Raises BadRequest; `param` is the place at fault."""
    builder = Builder(path)
    builder.rules["root"] = schema_expr(builder, schema, path)
    return builder.text()


def schema_expr(builder: Builder, schema: object, path: str, *, is_object: bool = False) -> Expr:
    """The values of a JSON Schema, as a part of the grammar in `builder`; `is_object`: only the objects among them.

    Raises BadRequest; `param` is the place at fault.
    """
    _check_size(schema, path)
    return _Compiler(builder, Located(schema, path)).expr(is_object=is_object)


def _check_size(schema: object, path: str) -> None:
    try:
        size = len(json.dumps(schema, ensure_ascii=False, allow_nan=False).encode())
    except UnicodeEncodeError:
        raise refuse(path, "it holds half of a surrogate pair, which is no character") from None
    except (ValueError, RecursionError):
        raise refuse(path, "it holds NaN or an infinity, or is nested too deep") from None
    if size > MAX_SCHEMA_BYTES:
        raise refuse(path, f"a schema may have {MAX_SCHEMA_BYTES} bytes; this one has {size}")


def object_grammar() -> str:
    """The GBNF of any JSON object."""
    builder = Builder("response_format")
    builder.rules["root"] = builder.any_object()
    return builder.text()


class _Compiler:
    def __init__(self, builder: Builder, root: Located):
        self.builder = builder
        self.document = Document(root)
        self._root = root
        self._made: dict[tuple[str, ...], Ref] = {}
        self._open: list[tuple[Ref, All]] = []

    def expr(self, *, is_object: bool) -> Expr:
        is_said = isinstance(self._root.value, dict) and self._root.value.get("type") == "object"
        parts = (self._root,) if is_said or not is_object else (self._root, Located(_OBJECT, "(an object)"))
        expr = self.ref(parts, "value")
        while self._open:
            ref, parts = self._open.pop()
            self.builder.rules[ref.name] = self._body(parts)
        return expr

    def ref(self, parts: All, hint: str) -> Expr:
        """The rule for values of which all parts hold. It is made later, as schemas may nest deep and recur."""
        targets = {target.path: target for target in map(self.document.target, parts) if target.value is not True}
        if not targets:
            return self.builder.value()
        key = tuple(sorted(targets))
        if key not in self._made:
            self._made[key] = self.builder.reserve(hint)
            self._open.append((self._made[key], tuple(targets.values())))
        return self._made[key]

    def _body(self, parts: All) -> Expr:
        if len(parts) == 1 and (options := self.document.alternatives(parts[0])):
            return alt(*(self.ref((option,), "option") for option in options))
        plains = self.document.expand(parts)
        if not plains:
            return self.builder.never(f"{parts[0].path} allows none")
        return alt(*map(self._plain, plains))

    def _plain(self, plain: Plain) -> Expr:
        if plain.values is not None:
            values = self.allowed_values(plain)
            return values_expr(self.builder, values) if values else self.builder.never(f"no value of {plain.path} fits")
        types = written_types(plain)
        if types == EVERY_TYPE and not plain.themes():
            return self.builder.value()
        options: list[Expr] = [self.builder.scalar(type_) for type_ in ("null", "boolean") if type_ in types]
        if "integer" in types or FRACTION in types:
            options.append(self._number(plain, is_whole=FRACTION not in types))
        if "string" in types:
            options.append(self._string(plain))
        if "array" in types:
            options.append(list_expr(self, plain))
        if "object" in types:
            options.append(object_expr(self, plain))
        return alt(*options) if options else self.builder.never(f"no type is left at {plain.path}")

    def allowed_values(self, plain: Plain) -> list:
        """Those of an enum or const that the other keywords allow."""
        types = plain.types or EVERY_TYPE
        return [value for value in plain.values if type_of(value) in types and self._allows(plain, value)]

    def _allows(self, plain: Plain, value: object) -> bool:
        theme = {"integer": "number", FRACTION: "number"}.get(type_of(value), type_of(value))
        if theme not in plain.themes():
            return True
        if theme == "number":
            low, low_open, high, high_open = _bounds(plain)
            exact = _decimal(value)
            return (
                (low is None or exact > low or (exact == low and not low_open))
                and (high is None or exact < high or (exact == high and not high_open))
                and ("multipleOf" not in plain.words or _is_multiple(exact, plain.words["multipleOf"].value))
            )
        if theme == "string" and not {"pattern", "format"} & plain.words.keys():
            low, high = counts(plain, "minLength", "maxLength")
            return low <= len(value) and (high is None or len(value) <= high)
        raise refuse(plain.path, f"enum or const beside other keywords about a value of type {theme}; keep the values")

    def _string(self, plain: Plain) -> Expr:
        low, high = counts(plain, "minLength", "maxLength")
        words = plain.words
        if high is not None and low > high:
            return self.builder.never(f"{plain.path} has minLength above maxLength")
        if "pattern" not in words and "format" not in words:
            if (low, high) == (0, None):
                return self.builder.string()
            return seq(QUOTE, times(self.builder.character(), low, high), QUOTE)
        if "pattern" in words and "format" in words:
            raise refuse(words["pattern"].path, "a pattern beside a format; keep one of them")
        if "format" in words:
            path = words["format"].path
            if words["format"].value not in FORMATS:
                raise refuse(path, f"this format is unknown; there are {', '.join(FORMATS)}. Or give a pattern")
            expr = read_pattern(FORMATS[words["format"].value], path)
        else:
            path = words["pattern"].path
            expr = read_pattern(words["pattern"].value, path)
        within = bounded(expr, low, high)
        if within is None:
            raise refuse(path, "its length cannot be held between minLength and maxLength; say it in the pattern")
        if within == NEVER:
            return self.builder.never(f"{path} is never as long as minLength and maxLength want it")
        return seq(QUOTE, characters(within), QUOTE)

    def _number(self, plain: Plain, *, is_whole: bool) -> Expr:
        low, low_open, high, high_open = _bounds(plain)
        step = plain.words.get("multipleOf")
        if step is None and not is_whole:
            expr = numbers.between(low, low_open, high, high_open)
            if expr is None:
                path = next(part.path for word, part in plain.words.items() if "imum" in word)
                raise refuse(path, f"bounds of numbers have up to {numbers.MOST_DIGITS - 1} digits in all")
            return self._or_never(expr, plain)
        size = 1 if step is None else step.value
        if is_whole or float(size).is_integer():
            if not float(size).is_integer():
                return self._refuse_step(step)
            first = None if low is None else floor(low) + 1 if low_open else ceil(low)
            last = None if high is None else ceil(high) - 1 if high_open else floor(high)
            expr = numbers.multiples(int(size), first, last)
        elif (Decimal(size) * 1024) % 1 == 0:
            if low_open or high_open:
                raise refuse(step.path, "beside exclusive bounds; use minimum and maximum")
            expr = numbers.fractions_of(size, low, high)
        else:
            return self._refuse_step(step)
        if expr is None:
            message = f"give minimum and maximum with at most {numbers.MOST_VALUES} multiples between them"
            raise refuse(step.path, message)
        return self._or_never(expr, plain)

    def _or_never(self, expr: Expr, plain: Plain) -> Expr:
        return self.builder.never(f"no number lies within the bounds of {plain.path}") if expr == NEVER else expr

    def _refuse_step(self, step: Located) -> Expr:
        message = (
            "steps that floats do not hold exactly are judged differently by validators; use a whole number "
            "(cents instead of 0.01), a step such as 0.5 or 0.25, or a string with a pattern"
        )
        raise refuse(step.path, message)


def _bounds(plain: Plain) -> tuple[Decimal | None, bool, Decimal | None, bool]:
    """(lowest, whether itself is out, highest, whether itself is out)."""
    low, low_open = _tighter(plain, "minimum", "exclusiveMinimum", max)
    high, high_open = _tighter(plain, "maximum", "exclusiveMaximum", min)
    return low, low_open, high, high_open


def _tighter(plain: Plain, closed: str, open_: str, tightest) -> tuple[Decimal | None, bool]:
    given = {word: _decimal(plain.words[word].value) for word in (closed, open_) if word in plain.words}
    if not given:
        return None, False
    bound = tightest(given.values())
    return bound, given.get(open_) == bound


def _is_multiple(value: Decimal, step: float) -> bool:
    """Exactly: a Decimal's own remainder fails where the quotient has more than its 28 digits."""
    return Fraction(value) % Fraction(_decimal(step)) == 0


def _decimal(value: float | int) -> Decimal:
    """As it is written, not as a float holds it: 0.1 is a tenth."""
    return Decimal(repr(value))

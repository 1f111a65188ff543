"""Objects and lists: which members follow each other, how many there are, and what they are.

`compiler` is `schema.py`'s: its `ref` gives the rule for what stands within.
"""

from offgrid.grammar import regex
from offgrid.grammar.builder import COLON, Builder, choice, literal
from offgrid.grammar.plain import Located, Plain, refuse, value_key
from offgrid.grammar.strings import QUOTE, characters, other_names
from offgrid.grammar.syntax import EMPTY, NEVER, Expr, Text, alt, optional, seq, times

MAX_STATES = 6000
_A_STRING = Located({"type": "string"}, "(a name)")


def object_expr(compiler, plain: Plain) -> Expr:
    builder: Builder = compiler.builder
    low, high = counts(plain, "minProperties", "maxProperties")
    if not plain.themes():
        return builder.any_object()
    listed = {**dict.fromkeys(plain.required, plain.others or ()), **plain.properties}
    order = [*plain.properties, *(name for name in plain.required if name not in plain.properties)]
    members = [(seq(literal(name), COLON, compiler.ref(listed[name], name)), name in plain.required) for name in order]
    extra = _extra_member(compiler, plain, order)
    if extra is not None and low > len(members) + 1:
        raise refuse(plain.words["minProperties"].path, "more than 1 needs properties with names of their own")
    options: list[Expr] = [Text("{}")] if low == 0 and not plain.required else []
    if high != 0:
        content = selection(builder, plain.path, members, max(low, 1), high, extra)
        options.append(builder.enclosed("{", content, "}"))
    if high is not None and low > high:
        return builder.never(f"{plain.path} has minProperties above maxProperties")
    return alt(*options)


def _extra_member(compiler, plain: Plain, listed: list[str]) -> Expr | None:
    """A member with a name that is not listed; None where none is written."""
    builder: Builder = compiler.builder
    if plain.patterns is not None or plain.names:
        if listed:
            path = plain.patterns.path if plain.patterns else plain.names[0].path
            raise refuse(path, "it cannot stand beside properties or required; list all names as properties")
        if plain.patterns is not None:
            return _patterned_member(compiler, plain)
        name = compiler.ref((*plain.names, _A_STRING), "name")
    elif plain.others is None and listed:
        return None  # JSON Schema would allow more; a model that may invent names does
    elif listed:
        name = other_names(listed, builder.rule)
    else:
        name = builder.string()
    return builder.rule("member", seq(name, COLON, compiler.ref(plain.others or (), "other")))


def _patterned_member(compiler, plain: Plain) -> Expr:
    path = plain.patterns.path
    closed = plain.others is None or all(part.value is False for part in plain.others)
    if len(plain.patterns.value) > 1 or not closed or plain.names:
        message = "one pattern for all names is possible, without other additionalProperties or propertyNames"
        raise refuse(path, message)
    [(pattern, value)] = plain.patterns.value.items()
    name = seq(QUOTE, characters(read_pattern(pattern, f"{path}.{pattern}")), QUOTE)
    return compiler.builder.rule("member", seq(name, COLON, compiler.ref((Located(value, f"{path}.{pattern}"),), "of")))


def read_pattern(pattern: str, path: str) -> Expr:
    try:
        return regex.read(pattern)
    except regex.PatternError as error:
        raise refuse(path, f"this pattern cannot be followed: {error}") from None


def selection(
    builder: Builder, path: str, members: list[tuple[Expr, bool]], low: int, high: int | None, extra: Expr | None
) -> Expr:
    """Members (what, whether required) in their order with commas between, `low` (at least 1) to `high` of them.

    `extra` may follow them any number of times; as extras may repeat a name, all of them count as one towards `low`.
    """
    most = low if high is None else high  # counted up to here; without `high` that is enough
    if (len(members) + 1) * (most + 1) > MAX_STATES and members:
        raise refuse(
            path,
            f"properties times how many are counted come to more than {MAX_STATES}; list fewer, or give no maximum",
        )
    comma = builder.comma()
    states: dict[tuple[int, int], Expr] = {}
    for i in range(len(members), -1, -1):
        for n in range(min(i, most) + 1):
            if i == len(members):
                states[i, n] = _extras(builder, n, low, high, extra)
                continue
            member, is_required = members[i]
            options = [] if is_required else [states[i + 1, n]]
            if high is None or n < high:
                with_it = seq(comma if n else EMPTY, member, states[i + 1, min(n + 1, most)])
                options.insert(0, with_it)
            states[i, n] = builder.rule(f"members-{i}-{n}", alt(*options))
    return states[0, 0]


def _extras(builder: Builder, n: int, low: int, high: int | None, extra: Expr | None) -> Expr:
    """What ends an object that has `n` members with names of their own."""
    room = None if high is None else high - n
    if extra is None or room == 0:
        return EMPTY if n >= low else NEVER
    if low - n > 1:
        return NEVER
    more = builder.rule("more", seq(builder.comma(), extra))
    if n:
        return times(more, max(low - n, 0), room)
    return seq(extra, times(more, 0, None if room is None else room - 1))


def list_expr(compiler, plain: Plain) -> Expr:
    builder: Builder = compiler.builder
    low, high = counts(plain, "minItems", "maxItems")
    if "uniqueItems" in plain.words and high != 1 and high != 0:
        return _set_expr(compiler, plain, low, high)
    if not plain.themes():
        return builder.any_list()
    item: Expr | None = None
    if plain.items is not None or not plain.prefix:
        item = compiler.ref(plain.items or (), "item")
    if high is not None and low > high:
        return builder.never(f"{plain.path} has minItems above maxItems")
    if item is None and low > len(plain.prefix):
        raise refuse(plain.words["minItems"].path, "more items than prefixItems lists; say in items what they are")
    options: list[Expr] = [Text("[]")] if low == 0 else []
    if high != 0:
        options.append(builder.enclosed("[", _items(compiler, plain, item, max(low, 1), high), "]"))
    return alt(*options)


def _items(compiler, plain: Plain, item: Expr | None, low: int, high: int | None) -> Expr:
    """`low` (at least 1) to `high` items: those of the prefix in their places, then `item`."""
    builder: Builder = compiler.builder
    if not plain.prefix:
        return builder.some(item, low, high)
    n = len(plain.prefix)
    tail: Expr = EMPTY
    if item is not None and (high is None or high > n):
        more = builder.rule("more", seq(builder.comma(), item))
        tail = times(more, max(low - n, 0), None if high is None else high - n)
    for i in range(n - 1, -1, -1):
        if high is not None and i >= high:
            continue
        place = compiler.ref(plain.prefix[i], f"item-{i}")
        tail = builder.rule(f"from-{i}", seq(builder.comma() if i else EMPTY, place, tail))
        if i >= low:
            tail = optional(tail)
    return tail


def _set_expr(compiler, plain: Plain, low: int, high: int | None) -> Expr:
    """A list without repetition: possible where all values are listed; each comes at most once, in their order."""
    plains = compiler.document.expand(plain.items) if plain.items and not plain.prefix else [plain]
    if any(option.values is None for option in plains):
        message = "lists without repetition can be held to only where items is an enum; leave uniqueItems out"
        raise refuse(plain.words["uniqueItems"].path, message)
    values = {value_key(value): value for option in plains for value in compiler.allowed_values(option)}
    builder: Builder = compiler.builder
    options: list[Expr] = [Text("[]")] if low == 0 else []
    if high != 0 and values:
        members = [(literal(value), False) for value in values.values()]
        content = selection(builder, plain.path, members, max(low, 1), high, None)
        options.append(builder.enclosed("[", content, "]"))
    return alt(*options) if high is None or low <= high else builder.never(f"{plain.path} wants too many items")


def counts(plain: Plain, low: str, high: str) -> tuple[int, int | None]:
    return (
        plain.words[low].value if low in plain.words else 0,
        plain.words[high].value if high in plain.words else None,
    )


def values_expr(builder: Builder, values: list) -> Expr:
    return choice(builder, [literal(value).text for value in values])

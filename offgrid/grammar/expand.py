"""References and combinations resolved: a schema becomes the list of plain ones of which a value must be one.

Only the schema itself is looked at, not those within it, so recursion through properties and items ends here.
"""

from urllib.parse import unquote

from offgrid.grammar.keywords import is_annotation
from offgrid.grammar.plain import EVERY_TYPE, All, Located, Plain, merge, refuse, type_of, value_key
from offgrid.grammar.reader import check_words, child, read

MAX_ALTERNATIVES = 200


class Document:
    """A whole schema, which references point into."""

    def __init__(self, root: Located):
        self._root = root

    def resolve(self, ref: Located) -> Located:
        """What a `$ref` points to."""
        if not isinstance(ref.value, str) or not ref.value.startswith("#"):
            raise refuse(ref.path, "only references within the schema are followed, such as #/$defs/name")
        pointer = unquote(ref.value[1:])
        if pointer and not pointer.startswith("/"):
            raise refuse(ref.path, "anchors are not followed; write the way to it, such as #/$defs/name")
        place = self._root
        for token in pointer.split("/")[1:]:
            key: str | int = token.replace("~1", "/").replace("~0", "~")
            if isinstance(place.value, list) and key.isascii() and key.isdigit():
                key = int(key)
            try:
                place = child(place, key)
            except (KeyError, IndexError, TypeError):
                raise refuse(ref.path, f"there is nothing at {ref.value}") from None
        return place

    def target(self, schema: Located) -> Located:
        """The schema itself, or where it leads when it is nothing but a reference."""
        seen: list[str] = []
        while (words := _words(schema)) == ["$ref"] or (words == ["allOf"] and _is_single(schema)):
            if schema.path in seen:
                raise refuse(schema.path, "this reference only leads back to itself")
            seen.append(schema.path)
            schema = self.resolve(child(schema, "$ref")) if words == ["$ref"] else child(schema, "allOf", 0)
        return schema

    def alternatives(self, schema: Located) -> list[Located] | None:
        """The schemas of an anyOf that says nothing besides; None for others."""
        if _words(schema) != ["anyOf"]:
            return None
        check_words(schema)
        return _list(schema, "anyOf")

    def expand(self, parts: All, seen: tuple[str, ...] = ()) -> list[Plain]:
        """The plain schemas of which a value must be one when all of `parts` hold."""
        plains = [Plain(parts[0].path if parts else "")]
        for part in parts:
            plains = _product(plains, self._expand(part, seen), part.path)
        return plains

    def _expand(self, schema: Located, seen: tuple[str, ...]) -> list[Plain]:
        if schema.value is True:
            return [Plain(schema.path)]
        if schema.value is False:
            return []
        if schema.path in seen:
            raise refuse(schema.path, "this schema refers to itself outside of any property or item")
        seen = (*seen, schema.path)
        plains = [read(schema)]
        if "$id" in schema.value and schema.path != self._root.path and "$ref" in str(schema.value):
            raise refuse(f"{schema.path}.$id", "an $id within a schema changes what references mean; leave it out")
        if "$ref" in schema.value:
            plains = _product(plains, self._expand(self.resolve(child(schema, "$ref")), seen), schema.path)
        for part in _list(schema, "allOf"):
            plains = _product(plains, self._expand(part, seen), schema.path)
        if options := _list(schema, "anyOf"):
            plains = _product(plains, [p for option in options for p in self._expand(option, seen)], schema.path)
        if options := _list(schema, "oneOf"):
            branches = [_product(plains, self._expand(option, seen), schema.path) for option in options]
            self._check_apart(branches, f"{schema.path}.oneOf", seen)
            plains = [plain for branch in branches for plain in branch]
        return plains

    def _check_apart(self, branches: list[list[Plain]], path: str, seen: tuple[str, ...]) -> None:
        """oneOf forbids values of two of its schemas: refuse it unless none can be written."""
        for i, branch in enumerate(branches):
            for j, other in enumerate(branches):
                if i != j and not all(self._apart(a, b, seen) for a in branch for b in other):
                    message = (
                        f"a value might fit both {path}[{min(i, j)}] and [{max(i, j)}]; use anyOf, "
                        "or tell them apart by type or by a required property with a const of its own"
                    )
                    raise refuse(path, message)

    def _apart(self, a: Plain, b: Plain, seen: tuple[str, ...]) -> bool:
        """Whether no value that is written for `a` fits `b`. Says no when it cannot tell."""
        if a.values is not None:
            return all(not _might_fit(value, b) for value in a.values if _might_fit(value, a))
        both = written_types(a) & (b.types or EVERY_TYPE)
        if b.values is not None:
            return all(type_of(value) not in both for value in b.values)
        return not both or (both == {"object"} and self._objects_apart(a, b, seen))

    def _objects_apart(self, a: Plain, b: Plain, seen: tuple[str, ...]) -> bool:
        if a.patterns or b.patterns:
            return False
        if any(name not in a.properties and not _is_open(a) and name not in a.required for name in b.required):
            return True
        closed = b.others is not None and any(part.value is False for part in b.others)
        if closed and any(name not in b.properties for name in a.required):
            return True
        return any(
            self._apart(x, y, seen)
            for name in a.required
            if name in a.properties and name in b.properties and len(seen) < 8
            for xs, ys in [(self.expand(a.properties[name], seen), self.expand(b.properties[name], seen))]
            for x, y in [(xs[0], ys[0])]
            if len(xs) == len(ys) == 1
        )


def written_types(plain: Plain) -> frozenset[str]:
    """The types of the values that are written: those named, else those about which something is said, else all.

    A schema without `type` allows values of all others as well; they are left out, as nobody means them.
    """
    if plain.values is not None:
        return frozenset(map(type_of, plain.values)) & (plain.types or EVERY_TYPE)
    if plain.types is not None:
        return plain.types
    themes = plain.themes()
    return frozenset(themes | {"integer", "fraction"} if "number" in themes else themes) & EVERY_TYPE or EVERY_TYPE


def _is_open(plain: Plain) -> bool:
    """Whether names are written that are not listed."""
    return plain.others is not None or plain.patterns is not None or not (plain.properties or plain.required)


def _might_fit(value: object, plain: Plain) -> bool:
    if plain.types is not None and type_of(value) not in plain.types:
        return False
    return plain.values is None or value_key(value) in map(value_key, plain.values)


def _product(some: list[Plain], others: list[Plain], path: str) -> list[Plain]:
    if len(some) * len(others) > MAX_ALTERNATIVES:
        raise refuse(path, f"this comes to more than {MAX_ALTERNATIVES} alternatives; write fewer")
    return [merge(a, b) for a in some for b in others]


def _words(schema: Located) -> list[str] | None:
    """The keywords that say something."""
    return [w for w in schema.value if not is_annotation(w)] if isinstance(schema.value, dict) else None


def _is_single(schema: Located) -> bool:
    return len(_list(schema, "allOf")) == 1


def _list(schema: Located, word: str) -> list[Located]:
    if word not in schema.value:
        return []
    part = child(schema, word)
    if not isinstance(part.value, list) or not part.value:
        raise refuse(part.path, "it must be a list of at least one schema")
    return [child(part, i) for i in range(len(part.value))]

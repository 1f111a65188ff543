"""Schemas as people and programs write them, made from a seed, each with values that are valid for it.

Everything that a current client may send is among them: bounds, references and recursion, unions, patterns and
formats, enums with quotes and line ends, optional members in any combination, merged schemas.
"""

import random
from typing import Any

TEXTS = [
    'say "hi"',
    "two\nlines",
    "back\\slash",
    "tab\there",
    "größer",
    "日本語",
    "🙂 smile",
    "",
    " ",
    "a/b",
    "{}[],:",
    "it's",
]
PATTERNS = {
    r"^[A-Z]{2}\d{3}$": ["AB123", "ZZ000"],
    r"^(red|green|\"blue\")$": ["red", '"blue"'],
    r"^\+?[0-9]{3,10}$": ["+12345", "000"],
    r"^[a-z_][a-z0-9_]*$": ["x", "snake_case_1"],
    r"\d+": ["7", "a1b"],
    r"^\S+@\S+\.[a-z]{2,}$": ["a@b.de"],
    r"^(?:v)?\d+\.\d+(?:\.\d+)?$": ["1.2", "v1.22.3"],
    r"^[^\"\\\n]{1,5}$": ["abc", "é!"],
    r"^.{0,3}$": ["", '\t"\\'],
    r"^a|b$": ["abc", "xb"],
    r"^\w{1,8}$": ["Word_1"],
    r"^[^\s]+$": ["no-space"],
}
FORMATS = {
    "date": ["2024-02-29", "1999-12-31"],
    "time": ["23:59:59Z", "00:00:00.5+01:00"],
    "date-time": ["2000-02-29T12:00:00Z"],
    "uuid": ["123e4567-e89b-12d3-a456-426614174000"],
    "email": ["someone.else@mail.example.org"],
    "ipv4": ["192.168.0.255"],
    "uri": ["https://example.org/a/b?x=1"],
    "duration": ["P3DT4H", "PT5M"],
}
NAMES = [
    "name",
    "age",
    "a b",
    'quo"te',
    "ünï",
    "id",
    "items",
    "$ref",
    "type",
    "next",
    "x-y",
    "street",
    "zip",
    "new\nline",
]
REFUSABLE = [  # what programs send now and then and no grammar can hold
    {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    {"type": "number", "multipleOf": 0.01},
    {"type": "string", "pattern": r"^(?=.*\d).+$"},
    {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 3},
]

Made = tuple[dict, list[Any]]  # a schema, values that are valid for it


class Maker:
    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.definitions: dict[str, Any] = {}

    def document(self) -> Made:
        """A whole schema."""
        schema, values = self._object(3) if self.random.random() < 0.7 else self._schema(3)
        if self.random.random() < 0.3:
            schema, values = self._recursive(schema, values)
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Made", **schema}
        if self.definitions:
            schema["$defs"] = self.definitions
        return schema, values

    def _schema(self, depth: int) -> Made:
        leaves = [self._integer, self._number, self._string, self._patterned, self._formatted, self._enum, self._const]
        leaves += [self._scalar, self._types]
        if self.random.random() < 0.009:
            return self.random.choice(REFUSABLE), []
        if depth > 0 and self.random.random() < 0.5:
            nested = [self._object, self._object, self._list, self._tuple, self._union, self._tagged, self._reference]
            nested += [self._merged, self._map]
            return self.random.choice(nested)(depth - 1)
        return self.random.choice(leaves)()

    def _pick(self, values: list) -> list:
        return self.random.sample(values, min(len(values), 2))

    # --- leaves ---

    def _integer(self) -> Made:
        low, high = sorted((self._whole(), self._whole()))
        words = self._some({"minimum": low, "maximum": high})
        if self.random.random() < 0.2:
            low, high = low - 3, high + 3
            words = {"exclusiveMinimum": low - 1, "exclusiveMaximum": high + 1}
        elif self.random.random() < 0.2:
            step = self.random.choice([1, 2, 5, 10, 25, 100])
            return {"type": "integer", "multipleOf": step}, [0, step * 7, -step]
        return {"type": "integer", **words}, [low, high]

    def _whole(self) -> int:
        return self.random.randint(-(10 ** self.random.randint(0, 9)), 10 ** self.random.randint(0, 12))

    def _number(self) -> Made:
        if self.random.random() < 0.2:
            return {"type": "number", "minimum": 0, "maximum": 5, "multipleOf": 0.5}, [0, 2.5, 5]
        low, high = sorted(round(self._whole() / 10 ** self.random.randint(0, 3), 3) for _ in "ab")
        if low == high:
            high += 1
        inclusive = self._some({"minimum": low, "maximum": high})
        if self.random.random() < 0.3:
            middle = round((low + high) / 2, 4)
            return {"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": high}, [middle]
        return {"type": "number", **inclusive}, [v for v in (low, high) if abs(v) < 1e14]

    def _string(self) -> Made:
        low = self.random.randint(0, 4)
        high = low + self.random.choice([0, 1, 10, 1500])
        words = self._some({"minLength": low, "maxLength": high})
        return {"type": "string", **words}, ["x" * low, "ä" * min(high, 12)]

    def _patterned(self) -> Made:
        pattern, values = self.random.choice(list(PATTERNS.items()))
        return {"type": "string", "pattern": pattern}, self._pick(values)

    def _formatted(self) -> Made:
        name, values = self.random.choice(list(FORMATS.items()))
        return {"type": "string", "format": name}, self._pick(values)

    def _enum(self) -> Made:
        values = self.random.sample([*TEXTS, 1, -2.5, True, None, [1, "x"], {"k": 'v"'}], self.random.randint(1, 7))
        return {"enum": values}, self._pick(values)

    def _const(self) -> Made:
        value = self.random.choice([*TEXTS, 7, False])
        return {"const": value}, [value]

    def _scalar(self) -> Made:
        return self.random.choice([({"type": "boolean"}, [True]), ({"type": "null"}, [None]), ({}, [1, "x", [{}]])])

    def _types(self) -> Made:
        return {"type": ["string", "null"], "maxLength": 9, "description": "or nothing"}, ["abc", None]

    # --- what holds others ---

    def _object(self, depth: int) -> Made:
        names = self.random.sample(NAMES, self.random.randint(1, 5))
        made = {name: self._schema(depth) for name in names}
        required = [name for name in names if self.random.random() < 0.6]
        schema: dict[str, Any] = {"type": "object", "properties": {name: m[0] for name, m in made.items()}}
        if required or self.random.random() < 0.5:
            schema["required"] = required
        if not all(m[1] for m in made.values()):
            return schema, []
        full, least = {n: made[n][1][0] for n in names}, {n: made[n][1][-1] for n in required}
        values = [full, least]
        kind = self.random.random()
        if kind < 0.5:
            schema["additionalProperties"] = False
        elif kind < 0.65:
            schema["additionalProperties"] = {"type": "integer"}
            values.append({**full, "extra": 5})
        if self.random.random() < 0.1:
            schema["maxProperties"] = len(names)
            values = [full, least]
        return schema, values

    def _map(self, depth: int) -> Made:
        inner, values = self._schema(depth)
        kind = self.random.randrange(3)
        if kind == 0:
            return {"type": "object", "additionalProperties": inner}, [{}, *({"any": v} for v in values[:1])]
        if kind == 1:
            schema = {"type": "object", "patternProperties": {"^[a-z]{1,3}$": inner}, "additionalProperties": False}
            return schema, [{}, *({"abc": v} for v in values[:1])]
        schema = {"type": "object", "propertyNames": {"enum": ["p", 'q"']}, "additionalProperties": inner}
        return {**schema, "minProperties": 1}, [{'q"': v} for v in values[:1]]

    def _list(self, depth: int) -> Made:
        if self.random.random() < 0.2:
            schema = {"type": "array", "items": {"enum": ["a", 'b"', "c\n"]}, "uniqueItems": True, "minItems": 1}
            return schema, [["a", "c\n"]]
        inner, values = self._schema(depth)
        low, high = self.random.randint(0, 2), self.random.randint(2, 30)
        words = self._some({"minItems": low, "maxItems": high})
        return {"type": "array", "items": inner, **words}, [values[:1] * 2] if values else []

    def _tuple(self, depth: int) -> Made:
        made = [self._schema(depth) for _ in range(self.random.randint(1, 3))]
        schema = {"type": "array", "prefixItems": [m[0] for m in made], "minItems": len(made), "maxItems": len(made)}
        return schema, [[m[1][0] for m in made]] if all(m[1] for m in made) else []

    def _union(self, depth: int) -> Made:
        made = [self._schema(depth) for _ in range(self.random.randint(2, 3))]
        return {"anyOf": [*(m[0] for m in made), {"type": "null"}]}, [None, *(v for m in made for v in m[1][:1])]

    def _tagged(self, depth: int) -> Made:
        options, values = [], []
        for tag in self.random.sample(["cat", 'd"og', "f\nish"], 2):
            inner, samples = self._schema(depth)
            properties = {"kind": {"const": tag}, "of": inner}
            options.append({"type": "object", "properties": properties, "required": ["kind", "of"]})
            values += [{"kind": tag, "of": v} for v in samples[:1]]
        return {"oneOf": options, "discriminator": {"propertyName": "kind"}}, values

    def _reference(self, depth: int) -> Made:
        name = self.random.choice(["Thing", "string", "a/b", "per%cent", "object-1", "ünï", "root"])
        pointer = "#/$defs/" + name.replace("/", "~1").replace("%", "%25")
        if name not in self.definitions:
            self.definitions[name] = False  # taken, while its own parts are made
            self.definitions[name], values = self._schema(depth)
            return {"$ref": pointer, "description": "by name"}, values
        return {"anyOf": [{"$ref": pointer}, {"type": "null"}]}, [None]

    def _merged(self, depth: int) -> Made:
        inner, values = self._schema(depth)
        base = {"type": "object", "properties": {"base": {"type": "integer", "minimum": 1}}, "required": ["base"]}
        more = {"properties": {"base": {"type": "integer", "maximum": 9}, "more": inner}, "required": ["more"]}
        return {"allOf": [base, more]}, [{"base": 9, "more": v} for v in values[:1]]

    def _recursive(self, schema: dict, values: list) -> Made:
        self.definitions["Node"] = {
            "type": "object",
            "properties": {
                "value": schema,
                "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
                "parent": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
            },
            "required": ["value", "children"],
        }
        nodes = [{"value": v, "children": [{"value": v, "children": [], "parent": None}]} for v in values[:1]]
        return {"$ref": "#/$defs/Node"}, nodes

    def _some(self, words: dict) -> dict:
        return {word: value for word, value in words.items() if self.random.random() < 0.7}


def made(seed: int) -> Made:
    return Maker(seed).document()

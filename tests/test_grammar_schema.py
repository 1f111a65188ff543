"""What each keyword does to a grammar, and what is refused: by its path, with what would work."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
from grammar_acceptor import Acceptor, Deriver
from test_grammar_properties import written

from offgrid.errors import BadRequest
from offgrid.grammar.keywords import ANNOTATIONS, HONOURED, REFUSED
from offgrid.grammar.schema import MAX_SCHEMA_BYTES, schema_grammar
from offgrid.grammar.strings import FORMATS

DOCS = Path(__file__).resolve().parent.parent / "docs" / "structured-output.md"


def person(**words) -> dict:
    return {"type": "object", "properties": {"a": {"type": "integer"}, "b": {}, "c": {"type": "null"}}, **words}


A, B = {"type": "object", "properties": {"a": True}, "required": ["a"]}, {"properties": {"b": True}, "required": ["b"]}
NODE = {"v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}
CASES = [  # schema, values that are accepted, texts that are not
    (True, [1, "x", None, [[{}]]], ["x", ""]),
    ({"type": ["integer", "null"]}, [5, -5, None], ["1.5", '"x"']),
    ({"type": "string", "nullable": True}, ["x"], ["1"]),
    ({"enum": ['a"b', "a\nb", "a", 1, None, {"k": ["v"]}]}, ['a"b', "a\nb", "a", 1, None, {"k": ["v"]}],
     ['"a\nb"', "2"]),
    ({"type": "string", "enum": ["a", 1]}, ["a"], ["1"]),
    ({"const": "x", "enum": ["x", "y"]}, ["x"], ['"y"']),
    ({"enum": [1, 5, 12], "minimum": 2, "maximum": 10}, [5], ["1", "12"]),
    ({"type": "integer", "minimum": -12, "exclusiveMaximum": 105}, [-12, -1, 0, 99, 104], ["-13", "105", "00", "-0"]),
    ({"type": "integer", "minimum": 0.5, "maximum": 2.5}, [1, 2], ["0", "3"]),
    ({"minimum": 0, "maximum": 1}, [0, 0.5, 1, 0.123456], ["1.1", "-0.1", "1e0", ".5"]),
    ({"type": "number", "exclusiveMinimum": 0.1}, [0.11, 0.2, 1, 100], ["0.1", "0.10", "0", "-1"]),
    ({"type": "number", "minimum": -1.5, "maximum": -0.25}, [-1.5, -1, -0.25], ["-0.2", "-1.51", "0"]),
    ({"type": "number", "maximum": 1e300}, [1, -2.5, 1e50], []),
    ({"type": "integer", "multipleOf": 25}, [0, 75, -25, 1000], ["30", "1"]),
    ({"enum": [10**40, 3 * 10**40], "multipleOf": 3}, [3 * 10**40], ["1" + "0" * 40]),
    ({"type": "integer", "multipleOf": 1000, "minimum": 0}, [0, 1000, 20000], ["000", "0000", "1", "-1000"]),
    ({"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 30}, [7, 28], ["0", "35", "8"]),
    ({"type": "number", "multipleOf": 0.25}, [0, 1, 0.25, -3.75], ["0.3", "0.1"]),
    ({"type": "integer", "format": "int32"}, [-(2**31), 2**31 - 1], [str(2**31)]),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "äöü", '"\\', "🙂🙂"], ['"a"', '"abcd"']),
    ({"type": "string", "pattern": "^[a-z]+$", "maxLength": 3}, ["a", "abc"], ['"abcd"', '""']),
    ({"type": "string", "pattern": "b+"}, ["b", "abc"], ['"ac"']),
    ({"type": "string", "pattern": '^["\\\\]\\n?$'}, ['"', "\\", '"\n'], ['"x"']),
    ({"type": "string", "format": "date"}, ["2024-02-29", "2000-02-29"],
     ['"2023-02-29"', '"1900-02-29"', '"2024-04-31"']),
    ({"type": "string", "format": "uuid", "minLength": 36}, ["123e4567-e89b-12d3-a456-426614174000"], ['"1"']),
    (person(), [{}, {"a": 1}, {"a": 1, "c": None}, {"b": 1, "c": None}], ['{"c":null,"a":1}', '{"a":1,}', '{"d":1}']),
    (person(required=["b"]), [{"b": 1}, {"a": 1, "b": 2, "c": None}], ["{}", '{"a":1}']),
    (person(minProperties=2), [{"a": 1, "c": None}], ["{}", '{"a":1}']),
    (person(maxProperties=1), [{}, {"c": None}], ['{"a":1,"c":null}']),
    (person(additionalProperties={"type": "null"}), [{"a": 1, "d": None, "ab": None, "": None}],
     ['{"d":1}', '{"a":null}']),
    (person(required=["d"]), [{"d": 1}, {"a": 1, "d": "x"}], ["{}"]),
    ({"type": "object"}, [{}, {"x": [1]}], ["[]"]),
    ({"type": "object", "additionalProperties": False}, [{}], ['{"a":1}']),
    ({"additionalProperties": {"type": "integer"}, "minProperties": 1}, [{"x": 1}, {"x": 1, "y": 2}], ["{}"]),
    ({"patternProperties": {"^x-": {"type": "integer"}}}, [{}, {"x-a": 1}], ['{"y":1}', '{"x-a":"1"}']),
    ({"propertyNames": {"enum": ["p", 'q"']}, "type": "object"}, [{}, {"p": 1, 'q"': 2}], ['{"r":1}']),
    ({"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 2}, [[None], [None] * 2],
     ["[]", "[null,null,null]"]),
    ({"prefixItems": [{"type": "integer"}, {"type": "null"}]}, [[], [1], [1, None]], ["[null]", "[1,null,1]"]),
    ({"prefixItems": [{"const": 1}], "items": {"const": 2}, "minItems": 2}, [[1, 2], [1, 2, 2]], ["[1]", "[2,2]"]),
    ({"type": "array", "items": [{"const": 1}], "additionalItems": False}, [[], [1]], ["[1,1]"]),
    ({"uniqueItems": True, "items": {"enum": ["a", "b", "c"]}, "maxItems": 2}, [[], ["a", "c"]],
     ['["a","a"]', '["a","b","c"]']),
    ({"type": "array", "items": {"type": "null"}, "uniqueItems": False}, [[None, None]], ["[1]"]),
    ({"$ref": "#/$defs/string", "$defs": {"string": {"type": "integer"}}}, [1], ['"x"']),
    ({"$ref": "#/definitions/a~1b%25", "definitions": {"a/b%": {"const": 5}}}, [5], ["6"]),
    ({"$ref": "#/$defs/n", "minimum": 3, "$defs": {"n": {"type": "integer", "maximum": 4}}}, [3, 4], ["2", "5"]),
    ({"type": "object", "properties": NODE, "required": ["v", "next"]}, [{"v": 1, "next": {"v": 2, "next": None}}],
     ["{}"]),
    ({"anyOf": [{"type": "integer"}, {"type": "string"}], "enum": [1, "x", None]}, [1, "x"], ["null"]),
    ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, [1, "x"], ["null"]),
    ({"oneOf": [A, {"type": "null"}]}, [{"a": 1}, None], ["{}"]),
    ({"oneOf": [{**A, "additionalProperties": False}, {**B, "additionalProperties": False}]}, [{"a": 1}, {"b": 1}],
     ["{}"]),
    ({"allOf": [A, B]}, [{"a": 1, "b": 2}], ['{"a":1}', '{"b":1}']),
    ({"type": "object", "properties": {"a": True, "b": True}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
     [{"a": 1}, {"b": 1}, {"a": 1, "b": 1}], ["{}"]),
    ({"anyOf": [{"type": "integer", "minimum": 9, "maximum": 1}, {"type": "null"}]}, [None], ["5"]),
    (person(properties={"a": False, "b": {"type": "null"}}), [{}, {"b": None}], ['{"a":1}']),
    ({"title": "t", "x-note": 1, "default": 5, "deprecated": True, "type": "integer"}, [1], ["null"]),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "values", "others"), CASES, ids=[json.dumps(row[0])[:60] for row in CASES])
def test_a_keyword_is_honoured(schema, values, others):
    grammar = schema_grammar(schema, "schema")
    acceptor, deriver = Acceptor(grammar), Deriver(grammar, 7)
    assert [value for value in values if not acceptor.accepts(written(value))] == []
    assert [text for text in others if acceptor.accepts(text)] == []
    is_old = isinstance(schema, dict) and isinstance(schema.get("items"), list)
    validator = (jsonschema.Draft7Validator if is_old else jsonschema.Draft202012Validator)(schema)
    is_nullable = isinstance(schema, dict) and "nullable" in schema  # OpenAPI's word, which no validator knows
    for _ in range(20):
        value = json.loads(deriver.text(60))
        assert validator.is_valid(value) or (is_nullable and value is None), value


IN = "schema.properties.x"
REFUSALS = [  # schema at properties.x, where it is at fault below it, what the message says
    ({"type": "integer", "multipleOf": 7}, ".multipleOf", "minimum and maximum"),
    ({"type": "number", "multipleOf": 0.01}, ".multipleOf", "cents"),
    ({"type": "integer", "multipleOf": 0}, ".multipleOf", "more than 0"),
    ({"type": "number", "minimum": "1"}, ".minimum", "a number"),
    ({"type": "number", "exclusiveMinimum": True, "minimum": 1}, ".exclusiveMinimum", "draft 4"),
    ({"type": "number", "minimum": 0.12345678901234567}, ".minimum", "digits"),
    ({"type": "integer", "minimum": 10**40}, ".minimum", "30 digits"),
    ({"type": "number", "maximum": -(10**400)}, ".maximum", "30 digits"),
    ({"type": "string", "minLength": -1}, ".minLength", "0 to 10000"),
    ({"type": "string", "maxLength": 10**6}, ".maxLength", "leave it out"),
    ({"type": "string", "pattern": "(?=a)"}, ".pattern", "(?:…)"),
    ({"type": "string", "pattern": "a" * 4001}, ".pattern", "4000 characters"),
    ({"type": "string", "pattern": "\\p{L}"}, ".pattern", "\\p"),
    ({"type": "string", "pattern": "(a?)*"}, ".pattern", "can be empty"),
    ({"type": "string", "pattern": "^(a+|b+)$", "maxLength": 3}, ".pattern", "in the pattern"),
    ({"type": "string", "pattern": "a", "format": "date"}, ".pattern", "keep one"),
    ({"type": "string", "format": "iri"}, ".format", "date-time"),
    ({"type": "text"}, ".type", "string"),
    ({"enum": []}, ".enum", "at least one"),
    ({"enum": ["x"], "pattern": "x"}, "", "keep the values"),
    ({"not": {"type": "null"}}, ".not", "say what"),
    ({"if": {}}, ".if", "anyOf"),
    ({"contains": {}}, ".contains", "prefixItems"),
    ({"dependentRequired": {}}, ".dependentRequired", "anyOf"),
    ({"unevaluatedProperties": False}, ".unevaluatedProperties", "additionalProperties"),
    ({"minimun": 1}, ".minimun", "no keyword"),
    ({"type": "array", "uniqueItems": True}, ".uniqueItems", "enum"),
    ({"type": "array", "prefixItems": [{}], "minItems": 2}, ".minItems", "prefixItems lists"),
    ({"type": "object", "minProperties": 2}, ".minProperties", "more than 1"),
    ({"properties": {"a": {}}, "patternProperties": {"b": {}}}, ".patternProperties", "list all names"),
    ({"patternProperties": {"a": {}, "b": {}}}, ".patternProperties", "one pattern"),
    ({"required": "a"}, ".required", "list of names"),
    ({"properties": []}, ".properties", "object of schemas"),
    ({"items": 5}, ".items", "true or false"),
    ({"anyOf": []}, ".anyOf", "at least one"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, ".oneOf", "anyOf"),
    ({"oneOf": [A, {**A, "required": ["a", "b"]}]}, ".oneOf", "anyOf"),
    ({"$ref": "http://x/y"}, ".$ref", "#/$defs/name"),
    ({"$ref": "#anchor"}, ".$ref", "#/$defs/name"),
    ({"$ref": "#/nowhere"}, ".$ref", "nothing at"),
    ({"$ref": "#/properties/x"}, "", "back to itself"),
    ({"allOf": [{"pattern": "a"}, {"pattern": "b"}]}, ".allOf[1].pattern", "one for both"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "place", "reason"), REFUSALS, ids=[json.dumps(row[0])[:60] for row in REFUSALS])
def test_what_cannot_be_held_to_is_refused_with_its_place(part, place, reason):
    with pytest.raises(BadRequest) as caught:
        schema_grammar({"type": "object", "properties": {"x": part}, "required": ["x"]}, "schema")
    assert caught.value.param == IN + place
    assert caught.value.message.startswith(IN + place)
    assert reason in caught.value.message


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (False, "schema allows none"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "bounds of schema"),
        ({"type": "string", "minLength": 5, "maxLength": 3}, "minLength above maxLength"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "no type is left"),
        ({"allOf": [{"const": 1}, {"const": 2}]}, "no value of schema"),
        ({"type": "object", "properties": {"x": {"$ref": "#"}}, "required": ["x"]}, "contain themselves"),
        ({"allOf": [{"anyOf": [{"minimum": i} for i in range(15)]}] * 2}, "200 alternatives"),
        ({"anyOf": [{"$ref": "#"}, {"type": "null"}], "title": "x", "type": ["null"]}, "refers to itself"),
        ({"enum": ["\ud800"]}, "surrogate"),
        ({"enum": [float("nan")]}, "NaN"),
        ({"description": "x" * MAX_SCHEMA_BYTES}, "bytes"),
        ([], "true or false"),
    ],
)
def test_a_schema_without_any_value_or_end_is_refused(schema, reason):
    with pytest.raises(BadRequest, match=reason) as caught:
        schema_grammar(schema, "schema")
    assert caught.value.param == "schema"


def test_a_schema_that_asks_for_too_much_is_refused_with_the_number():
    deep: dict = {"type": "integer"}
    for _ in range(200):
        deep = {"type": "object", "properties": {"x": deep}, "required": ["x"]}
    schema_grammar(deep, "schema")  # deep alone is no harm
    names = {f"{i:04d}" * 4: {"type": "string", "maxLength": i} for i in range(1900)}
    with pytest.raises(BadRequest, match="10000 rules"):
        schema_grammar({"type": "object", "properties": names, "additionalProperties": True}, "schema")
    counted = {f"p{i}": {} for i in range(200)}
    with pytest.raises(BadRequest, match="6000"):
        schema_grammar({"type": "object", "properties": counted, "maxProperties": 100}, "schema")


def test_the_docs_list_the_keywords_and_formats_of_the_code():
    text = DOCS.read_text(encoding="utf-8")
    sections = dict(zip(*[iter(re.split(r"^## (.*)\n", text, flags=re.M)[1:])] * 2, strict=True))

    def listed(section: str, column: int) -> set[str]:
        rows = [row.split("|") for row in sections[section].splitlines() if row.startswith("| `")]
        return {word for row in rows for word in re.findall(r"`([^`]+)`", row[column])}

    assert listed("Keywords", 1) == {word for words in HONOURED.values() for word in words}
    assert listed("Refused", 1) == set(REFUSED)
    assert listed("Formats", 1) == set(FORMATS)
    assert set(re.findall(r"`([^`]+)`", sections["Without effect"])) == {*ANNOTATIONS, "x-"}
